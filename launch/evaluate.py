"""Evaluate an encoder: many sets, models and seeds on the same splits, beside baselines, in one table.

    python launch/evaluate.py encoder=runs/encoder data=FOLDER output=runs/evaluation
    python launch/evaluate.py ... datasets=[bbbp,esol] seeds=5 baselines=[ecfp_forest,chemprop]
    python launch/evaluate.py ... models.graph.modalities=[graph] models.unfrozen.freeze=false common.epochs=20
    python launch/evaluate.py ... pretraining=runs/shards        scores without what pretraining has met, too
    python launch/evaluate.py ... executor=ray                   the runs spread over a cluster

Leaves table.csv, table.json and report.html in the output folder, and every run with its split and predictions
below runs/. The same command run again makes what is missing.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # run as a file: Python put launch/ first
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from finetune.evaluation.config import EvaluateConfig
from launch.entry import doorway


def run(config: EvaluateConfig) -> None:
    """Run what is missing, then write and print the table."""
    from finetune.evaluation.grid import cells, run_all
    from finetune.evaluation.leakage import Workers, met
    from finetune.evaluation.table import make_table
    from launch.reporting.evaluation import summary, write_report

    grid = cells(config)
    run_all(config, grid)
    seen = None
    if config.pretraining:
        seen = met(Path(config.pretraining), Path(config.output), Workers(config.executor, config.workers))
    table = make_table(config, grid, seen)
    page = write_report(table, Path(config.output))
    print(summary(table))
    print(f"table {Path(config.output) / 'table.csv'}, report {page}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The doorway's exit code."""
    return doorway("evaluate", EvaluateConfig, run, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
