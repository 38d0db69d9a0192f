"""What the demo and a supervised run can be told. Light on purpose: `--help` imports this, and no torch."""

from dataclasses import dataclass, field, fields
from enum import StrEnum

from omegaconf import MISSING

from pretrain.config import PretrainConfig
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


@dataclass(kw_only=True)
class SupervisionConfig:
    """The ranks of one machine as children of one command; see launch/supervise.py."""

    ranks: int = 0
    """Ranks to start on this machine and to watch: one a GPU, or a few on CPUs. 0 starts none: this command is the
    only rank, or one of a launcher's."""
    restarts: int = 3
    """Restarts in all, each from the newest checkpoint, after a rank crashed, was killed or hung. A mistake of the
    user, bad numbers and a signal to stop are never restarted."""
    pause_s: float = 2.0
    """Seconds before a restart; doubled, to a minute at most, with each that got no further than the one before."""
    grace_s: float = 60.0
    """Seconds that ranks have to save and leave after a signal; then they are killed."""

    def __post_init__(self) -> None:
        for name in ("ranks", "restarts", "pause_s", "grace_s"):
            if getattr(self, name) < 0:
                raise UserError(f"supervise.{name}={getattr(self, name)} is negative.")


@dataclass(kw_only=True)
class PretrainCommand(PretrainConfig):
    """What launch/pretrain.py can be told: a run, and who looks after its processes."""

    supervise: SupervisionConfig = field(default_factory=SupervisionConfig)

    @property
    def of_the_run(self) -> PretrainConfig:
        """Without the supervision, which is none of the run's mathematics: what config.yaml keeps."""
        return PretrainConfig(**{each.name: getattr(self, each.name) for each in fields(PretrainConfig)})
