"""What the demo can be told. Light on purpose: `--help` imports this, and no torch."""

from dataclasses import dataclass
from enum import StrEnum

from omegaconf import MISSING

from sharding.config import Executor
from sharding.errors import UserError


class Only(StrEnum):
    """How much of the demo is done."""

    all = "all"
    report = "report"


@dataclass(kw_only=True)
class DemoConfig:
    """The whole job on small real data, and a report."""

    output: str = MISSING
    """Folder of the demo; made when absent, continued when it holds the same demo."""
    only: Only = Only.all
    """all, or report: make the report again from what the folder holds, and run nothing."""
    molecules: str = ""
    """File of molecules to pretrain on, as for launch/shard.py; empty takes the project's 5,000 of ZINC."""
    executor: Executor = Executor.ray
    """Where sharding runs: serial, processes or ray."""
    steps: int = 120
    """Pretraining steps."""
    batch: int = 128
    """Molecules a pretraining step over all ranks."""
    learning_rate: float = 1e-3
    """Peak of pretraining."""
    warmup_steps: int = 40
    """Steps of linear warm-up."""
    evaluate_every: int = 20
    """Steps between evaluations on the held-out molecules."""
    held_out: int = 512
    """Molecules that pretraining never sees."""
    seeds: int = 3
    """Fine-tuning runs per table, with and without pretraining: seeds 0, 1, ..."""
    side_by_side: int = 2
    """Fine-tuning runs at a time."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "evaluate_every", "held_out", "seeds", "side_by_side"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}={getattr(self, name)}: give at least 1.")
