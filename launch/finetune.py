"""Fine-tune an encoder on a table of labelled molecules, and test it on molecules that it has not seen.

    python launch/finetune.py encoder=runs/encoder table=esol.csv targets=[logS] task=regression run=runs/esol
    python launch/finetune.py encoder=runs/encoder dataset=bbbp table=FOLDER run=runs/bbbp    a set of MoleculeNet
    python launch/finetune.py encoder=runs/encoder table=tox21.csv.gz targets=[NR-AR,SR-p53] split=random ...
    python launch/finetune.py ... freeze=false                            trains the encoder with the head
    python launch/finetune.py ... split=file split_file=mine.json         your own train, valid and test rows

Leaves metrics.json (test scores beside the training-mean baseline, the split's SHA-256), predictions.csv (the
table's rows in order), split.json, history.jsonl, config.yaml and model/, which launch/predict.py reads.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # run as a file: Python put launch/ first, where `finetune` is this script
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from finetune.config import FinetuneConfig
from launch.entry import doorway


def run(config: FinetuneConfig) -> None:
    """Fine-tune, then print the account."""
    from finetune.job import finetune, summary

    print(summary(config, finetune(config)))


def main(arguments: Sequence[str] | None = None) -> int:
    """The doorway's exit code."""
    return doorway("finetune", FinetuneConfig, run, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
