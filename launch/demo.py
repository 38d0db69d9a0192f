"""The whole job on small real data: shards, pretraining, an encoder, fine-tuning on two tables, a report.

    python launch/demo.py output=runs/demo
    python launch/demo.py output=runs/demo only=report      make the report again, run nothing
    python launch/demo.py output=runs/long steps=2000 seeds=5

Calls the doorways as you would type them, and prints each line. Leaves report.html, pictures/, shards/,
pretrain/, encoder/, finetune/, logs/ and stages.json. Run again, it goes on from what is complete.
"""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

if not __package__:  # run as a file: Python put launch/ first on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from launch.config import DemoConfig, Only
from launch.entry import doorway
from sharding.errors import UserError

STAGES = {
    "shard": "SMILES to shards",
    "pretrain": "contrastive pretraining, both streams",
    "export": "the checkpoint as an encoder",
    "finetune": "two MoleculeNet tables, with and without pretraining",
    "report": "pictures and report.html",
}


def run(config: DemoConfig) -> None:
    """The stages in order, then the report."""
    from launch.journal import Journal

    if find_spec("matplotlib") is None:  # before minutes of work, not after
        raise UserError("the report needs matplotlib. Install it: pip install 'molparallax[report]'")
    if config.only is Only.all:
        _run_stages(config)
    journal = Journal.open(Path(config.output))
    _headline("report")
    from launch.reporting.demo.report import make_report

    print(f"report {make_report(Path(config.output), journal)}")


def _run_stages(config: DemoConfig) -> None:
    from launch.commands import Plan
    from launch.journal import Journal, this_machine
    from launch.stages import CommandError, run_stage

    machine = this_machine()
    stages = Plan(config, machine).stages()
    journal = Journal.begin(Path(config.output), machine)
    journal.check(command for commands in stages.values() for command in commands)
    for stage, commands in stages.items():
        _headline(stage)
        try:
            run_stage(commands, journal, config.side_by_side if stage == "finetune" else 1)
        except CommandError as failure:
            print(f"error: {failure}", file=sys.stderr)
            raise SystemExit(failure.code) from failure


def _headline(stage: str) -> None:
    number = list(STAGES).index(stage) + 1
    print(f"\n== {number} of {len(STAGES)}  {stage}: {STAGES[stage]}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The doorway's exit code."""
    return doorway("demo", DemoConfig, run, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
