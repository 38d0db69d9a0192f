"""Predict with a fine-tuned model: a file of molecules becomes the same rows with answers, and what they are worth.

    python launch/predict.py finetuned=runs/esol table=library.csv output=runs/library_predicted.csv
    python launch/predict.py finetuned=runs/esol/model table=molecules.parquet output=runs/predicted.parquet level=0.8

Each target gets `<target>_predicted`, and at the level `<target>_low` and `<target>_high` (regression) or
`<target>_set` (classification); each molecule, how near the training molecules are. Rows keep their order, of any
number. A SMILES that cannot be read keeps its row, with the reason under `error`. A run that was killed goes on when
it is started again. What the columns mean: docs/predicting.md.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # run as a file: Python put launch/ first, and the room's names are looked up beside it
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from finetune.config import PredictConfig
from launch.entry import doorway


def run(config: PredictConfig) -> None:
    """Predict, then print the account."""
    from finetune.predict import predict, summary

    print(summary(config, predict(config)))


def main(arguments: Sequence[str] | None = None) -> int:
    """The doorway's exit code."""
    return doorway("predict", PredictConfig, run, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
