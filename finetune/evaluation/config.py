"""What an evaluation can be told. Light on purpose: `--help` imports this, and no torch."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from omegaconf import MISSING

from finetune.config import Device, SplitKind
from sharding.config import Executor
from sharding.errors import UserError


class Baseline(StrEnum):
    """What anybody has, on the same splits."""

    ecfp_forest = "ecfp_forest"
    chemprop = "chemprop"


@dataclass(kw_only=True)
class EvaluateConfig:
    """An encoder and a folder of MoleculeNet's sets -> one table."""

    encoder: str = MISSING
    """Folder of the encoder, made by launch/export.py."""
    data: str = MISSING
    """Folder of the sets' CSVs in their public form; nothing is downloaded."""
    output: str = MISSING
    """Folder of the evaluation; made when absent. What is complete in it is not run again."""
    datasets: list[str] = field(
        default_factory=lambda: ["bbbp", "bace", "sider", "tox21", "esol", "freesolv"]
    )
    """Sets by name, see launch/finetune.py dataset=."""
    models: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {"pretrained": {}, "scratch": {"pretrained": "none"}}
    )
    """Name -> options of launch/finetune.py that differ from the defaults: models.unfrozen.freeze=false adds one. The
    first is the one that the others are compared with."""
    baselines: list[Baseline] = field(default_factory=lambda: [Baseline.ecfp_forest])
    """ecfp_forest (500 trees on Morgan fingerprints, radius 2, 2,048 bits) and chemprop (its defaults, 50 epochs; where
    it is installed)."""
    seeds: int = 3
    """Runs a set and model: seeds 0, 1, ..."""
    split: SplitKind = SplitKind.scaffold
    """The split of every set; scaffold is the deterministic one. Seeded kinds take the run's seed, so that each seed is
    another split."""
    common: dict[str, Any] = field(default_factory=dict)
    """Options of launch/finetune.py for every model, as common.epochs=20."""
    pretraining: str = ""
    """Folder of the shards that the encoder was pretrained on: scores without the test molecules that are in it stand
    beside the others. Empty: overlap is not looked for."""
    executor: Executor = Executor.serial
    """Where runs happen: serial, processes or ray."""
    workers: int = 0
    """Runs at a time; 0 takes one a core."""
    attempts: int = 2
    """Tries of a run that fails, before it is set aside and the others go on."""
    task_memory_gb: float = 2.0
    """Memory that Ray sets aside for a run."""
    device: Device = Device.auto
    """auto, cpu or cuda."""

    def __post_init__(self) -> None:
        if self.seeds < 1 or self.attempts < 1 or self.workers < 0:
            raise UserError("seeds and attempts are at least 1, workers at least 0.")
        for name in ("datasets", "baselines"):
            given = getattr(self, name)
            if len(set(given)) < len(given):
                raise UserError(f"{name}=[{','.join(given)}] names one twice. Name each once.")
        if not self.datasets or not self.models:
            raise UserError("an evaluation needs at least one of datasets and one of models.")
        taken = set(self.models) & set(Baseline)
        if taken:
            raise UserError(f"models.{taken.pop()} has the name of a baseline. Give it another name.")
        if self.split in (SplitKind.file, SplitKind.time, SplitKind.column):
            raise UserError(
                f"split={self.split} is for one table. Give scaffold, balanced_scaffold, cluster or random."
            )
