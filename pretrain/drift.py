"""What a resumed run may change: every option is in one class, and a difference is said, allowed or refused.

    the run folder's config.yaml, the configuration now  ->  Changes, or a `UserError` that lists them by class

    safe      where things are and how often something is written: the mathematics is the same
    changes   the mathematics is another, but the weights and the held-out molecules fit: needs resume=changed
    refused   the weights would not fit, or held-out molecules would be trained on: needs a new run
Longer runs are safe: more train.steps stretch the cosine, which is what a user asks for; fewer are a change.
Whether the shards are the same is asked of the checkpoint, which has their fingerprint: pretrain/checkpoint/restore.py.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pretrain.config import PretrainConfig, Resume
from pretrain.redact import redact
from sharding.errors import UserError


class Drift(StrEnum):
    """What the change of an option does to a run that has begun."""

    safe = "safe"
    changes = "changes"
    refused = "refused"


CLASSES = {
    Drift.safe: [
        "mode",
        "data",
        "run",
        "resume",
        "wandb",
        "train.steps",
        "train.chunk",
        "train.zero_stage",
        "train.prefetch",
        "train.log_every",
        "train.evaluate_every",
        "train.save_every",
        "train.keep",
        "train.keep_every",
        "train.background_save",
        "train.stop_after_bad",
        "train.hang_s",
        "evaluation.probe",
        "evaluation.probe_smiles",
        "evaluation.probe_target",
    ],
    Drift.changes: [
        "model.dropout",
        "loss.temperature",
        "loss.negatives",
        "loss.same_molecule",
        "train.batch",
        "train.lanes",
        "train.learning_rate",
        "train.warmup_steps",
        "train.weight_decay",
        "train.gradient_clipping",
        "train.precision",
        "train.head_start",
        "train.spike",
        "train.seed",
    ],
    Drift.refused: [
        "model.graph_hidden",
        "model.local_layers",
        "model.local_readout_steps",
        "model.global_layers",
        "model.global_heads",
        "model.bond_bias",
        "model.text_hidden",
        "model.text_layers",
        "model.text_heads",
        "model.text_feedforward",
        "model.projection",
        "loss.learn_temperature",
        "loss.streams",
        "evaluation.held_out",
    ],
}
HEADINGS = {
    Drift.changes: "these change its mathematics",
    Drift.refused: "with these, its weights or its held-out molecules would not fit",
}


@dataclass(frozen=True)
class Change:
    """One option that a run has otherwise than its folder."""

    name: str
    old: Any
    new: Any

    @property
    def drift(self) -> Drift:
        """Its class. What this version does not know is refused."""
        if self.name == "train.steps":
            return Drift.safe if self.new > self.old else Drift.changes
        return next((drift for drift, names in CLASSES.items() if self.name in names), Drift.refused)

    def __str__(self) -> str:
        return f"{self.name}: {self.old}, now {self.new}"


def check_folder(config: PretrainConfig) -> None:
    """Raise `UserError` unless this run may use its folder: new, empty, or the same run."""
    folder, file = Path(config.run), Path(config.run) / "config.yaml"
    if folder.exists() and not folder.is_dir():
        raise UserError(f"run {folder} is a file. Give a folder.")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not file.is_file() or not (folder / "checkpoints").is_dir():
        raise UserError(f"run folder {folder} holds something else. Give a new folder.")
    if config.resume is Resume.never:
        raise UserError(
            f"run folder {folder} holds a run and resume=never. Give a new folder, or resume=auto."
        )
    _refuse(folder, differences(OmegaConf.load(file), config), allowed=config.resume is Resume.changed)


def differences(old: Any, config: PretrainConfig) -> list[Change]:
    """Every option that differs from a run's config.yaml. One that is newer than the run had its default."""
    defaults: Any = OmegaConf.to_container(OmegaConf.structured(PretrainConfig), enum_to_str=True)
    now: Any = OmegaConf.to_container(OmegaConf.structured(config), enum_to_str=True)
    begun: Any = OmegaConf.to_container(old, enum_to_str=True)
    before, after = _flat(defaults) | _flat(begun), _flat(redact(now))
    return [
        Change(name, before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def note_changes(config: PretrainConfig, step: int) -> None:
    """A line of changes.jsonl: after which step a run was another one. On rank 0, before config.yaml is renewed."""
    folder, file = Path(config.run), Path(config.run) / "config.yaml"
    changes = differences(OmegaConf.load(file), config) if file.is_file() else []
    told = {change.name: [change.old, change.new] for change in changes if change.name != "resume"}
    if told:
        with (folder / "changes.jsonl").open("a") as stream:
            stream.write(json.dumps({"step": step, "changes": told}) + "\n")
            stream.flush()
            os.fsync(stream.fileno())


def _refuse(folder: Path, changes: list[Change], *, allowed: bool) -> None:
    """One line: the differences by class, and what to do."""
    groups = {
        drift: [str(change) for change in changes if change.drift is drift]
        for drift in (Drift.refused, *(() if allowed else (Drift.changes,)))
    }
    told = [f"{HEADINGS[drift]}: {'; '.join(group)}" for drift, group in groups.items() if group]
    if told:
        way = "Give a new run=..., or its options"
        if not groups[Drift.refused]:
            way = "Give resume=changed to go on with them, a new run=..., or its options"
        raise UserError(f"{folder} is a run of another configuration; {'. And '.join(told)}. {way}.")


def _flat(tree: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found
