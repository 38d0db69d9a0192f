"""Predict with a fine-tuned model: a table of molecules becomes the same table with a column per target.

    python launch/predict.py finetuned=runs/esol table=library.csv output=runs/library_predicted.csv
    python launch/predict.py finetuned=runs/esol/model table=molecules.smi.gz output=runs/predicted.csv

Rows keep their order. A SMILES that cannot be read keeps its row, with the reason under `error`.
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
