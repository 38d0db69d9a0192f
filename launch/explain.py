"""Explain a fine-tuned model: which modality decides, which atoms, what the fingerprint reads, a map of its molecules.

    python launch/explain.py finetuned=runs/bbbp output=runs/explained        the test part of the run's own table
    python launch/explain.py finetuned=runs/bbbp table=mine.csv smiles=structure output=runs/explained
    python launch/explain.py finetuned=runs/tox21 targets=[NR-AR,SR-p53] rows=[17,230] output=runs/explained
    python launch/explain.py ... at_most=1000                                 more molecules than 200; minutes

Leaves report.html with its pictures/, and their numbers: shares.csv, molecules.csv, atoms.jsonl, attention.jsonl,
explanation.json. What each picture means, and what it does not: docs/explaining.md.
"""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

if not __package__:  # run as a file: Python put launch/ first
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from finetune.explain.config import ExplainConfig
from launch.entry import doorway
from sharding.errors import UserError


def run(config: ExplainConfig) -> None:
    """Explain, then write the page and say in short what it says."""
    if find_spec("matplotlib") is None:  # before minutes of work, not after
        raise UserError("the report needs matplotlib. Install it: pip install 'molparallax[report]'")
    from finetune.explain.job import explain
    from launch.reporting.explain import in_short, write_report

    made = explain(config)
    page = write_report(made, Path(config.output))
    print(f"explained {made.subject.told}")
    for sentence in in_short(made):
        print(f"  {sentence}")
    print(f"report {page}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The doorway's exit code."""
    return doorway("explain", ExplainConfig, run, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
