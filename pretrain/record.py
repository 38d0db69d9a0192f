"""A run's folder: what was asked, where it ran, and what came out, line by line.

    config.yaml  environment.json  uncommitted.patch     written at every start, see pretrain/environment.py
    metrics.jsonl       step, losses, speed, memory, what was skipped      a line every train.log_every steps
    evaluation.jsonl    step, recall, cosines, rank, probe                 a line an evaluation
    histograms.jsonl    step, edges (65), counts (64) of the cosines       a line an evaluation
    skipped.jsonl  skipped/                                                a line a step that changed nothing
    changes.jsonl       what a resume changed, see pretrain/drift.py
    tensorboard/  checkpoints/  wandb.json
Only rank 0 writes. A number that does not exist is absent; one that is not finite is null, because JSON has no
NaN. A run that resumes cuts the lines after its checkpoint, so a step stands once. Secrets are redacted.
"""

import json
import math
import secrets
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pretrain.config import PretrainConfig
from pretrain.drift import differences, note_changes
from pretrain.environment import without_home, write_environment
from pretrain.redact import redact
from pretrain.trackers import TensorBoard, Tracker, WeightsAndBiases
from sharding.files import read_json, write_bytes, write_json

WHERE = ("data", "run", "resume", "mode")
"""Options that say where and how a run is started, and not which run it is."""
LINES = ("metrics", "evaluation", "histograms", "skipped")


class Record:
    """The open files of a run, on rank 0; elsewhere a mute."""

    def __init__(self, folder: Path, *, enabled: bool) -> None:
        self.folder, self.enabled = folder, enabled
        self.seconds = 0.0
        """In training until the step that the run goes on from."""
        self._trackers: list[Tracker] = []

    def begin(self, config: PretrainConfig, about: dict[str, Any], step: int) -> list[str]:
        """Write configuration and environment; drop what came after `step`. What to tell of it, a line each."""
        if not self.enabled:
            return []
        (self.folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        file = self.folder / "config.yaml"
        told = _told(OmegaConf.structured(PretrainConfig), config, "default")
        if step and file.is_file():
            told += _told(OmegaConf.load(file), config, "before")
            note_changes(config, step)
        known = OmegaConf.create(redact(OmegaConf.to_container(OmegaConf.structured(config))))
        write_bytes(file, OmegaConf.to_yaml(known).encode())
        write_environment(self.folder, config, about, step)
        for name in LINES:
            self._cut(self.folder / f"{name}.jsonl", step)
        for file in (self.folder / "skipped").glob("step-*.csv"):
            if int(file.stem.removeprefix("step-")) > step:
                file.unlink()
        self._trackers = [TensorBoard(self.folder / "tensorboard", step)]
        if config.wandb:
            shown = without_home(OmegaConf.to_container(known, enum_to_str=True))
            self._trackers.append(WeightsAndBiases(known.wandb, self.folder, self._identity(), shown))
        return told

    def write(self, name: str, values: dict[str, Any]) -> None:
        """One line of `<name>.jsonl`, and its numbers to the trackers."""
        if not self.enabled:
            return
        with (self.folder / f"{name}.jsonl").open("a") as stream:
            stream.write(json.dumps(strict(values), allow_nan=False) + "\n")
        step = values["step"]
        numbers = {key: value for key, value in values.items() if isinstance(value, int | float)}
        numbers.pop("step")
        for tracker in self._trackers:
            tracker.numbers(name, step, numbers)
            for key, counts in values.items() if "edges" in values else ():
                if isinstance(counts, list) and key != "edges":
                    tracker.histogram(f"{name}/{key}", step, values["edges"], counts)

    def close(self) -> None:
        """Flush the trackers."""
        for tracker in self._trackers:
            tracker.close()

    def _cut(self, file: Path, step: int) -> None:
        """Keep the whole lines up to `step`; of a run that begins anew, none. A torn one breaks nothing."""
        if not file.is_file():
            return
        kept = []
        for line in file.read_bytes().splitlines(keepends=True):
            values = _line(line)
            if step and values is not None and values["step"] <= step:
                kept.append(line)
                if file.stem == "metrics":
                    self.seconds = values.get("seconds", self.seconds)
        write_bytes(file, b"".join(kept))

    def _identity(self) -> str:
        """Of the run at a tracking service: made once, so that a resumed run goes on there as well."""
        file = self.folder / "wandb.json"
        if not file.is_file():
            write_json(file, {"id": secrets.token_hex(8)})
        return str(read_json(file)["id"])


def _told(other: Any, config: PretrainConfig, name: str) -> list[str]:
    """`train.batch = 512 (default 1024)` for every option that the other configuration has otherwise."""
    changes = [change for change in differences(other, config) if change.name not in WHERE]
    return [f"{change.name} = {_shown(change.new)} ({name} {_shown(change.old)})" for change in changes]


def _shown(value: Any) -> str:
    return "nothing" if value in ("", None) else str(value)


def strict(values: Any) -> Any:
    """The same numbers as JSON has them: one that is not finite is null, and `skipped` says why there is none."""
    if isinstance(values, dict):
        return {key: strict(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [strict(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


def _line(text: bytes) -> dict[str, Any] | None:
    """What a line says; None for one that a run could not finish."""
    try:
        values = json.loads(text) if text.endswith(b"\n") else None
    except ValueError:
        return None
    return values if isinstance(values, dict) and isinstance(values.get("step"), int) else None
