"""Everything that the report of a run tells, read from its folder; nothing is drawn or worded here.

    run/{config.yaml, environment.json, *.jsonl, checkpoints/}  ->  RunFindings
A run that lives or was killed ends in a torn line, and one of an older version lacks numbers: what cannot be read is
counted, what is not there stays away.
"""

import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from launch.reporting.panel import Marks
from launch.reporting.run.options import Option, changed, read_config
from sharding.errors import UserError
from sharding.files import read_json

Line = dict[str, Any]
LINES = ("metrics", "evaluation", "histograms", "skipped", "changes")
PROBES = {"r2": "R²", "roc_auc": "ROC-AUC"}
PATIENCE_S = 120.0
"""Silence after which a run may be taken for stopped, however short its steps."""
PATIENCE_LINES = 5
"""... or this many times the time between two of its lines, when that is longer."""


class Saved(NamedTuple):
    """A folder of checkpoints/."""

    name: str
    step: int
    bytes: int
    files: int
    published: bool
    """Whether it has its manifest; one without counts for nothing."""


@dataclass(frozen=True)
class RunFindings:
    """One run, as its folder is now."""

    folder: Path
    config: dict[str, Any]
    """By option, as `train.batch`; defaults where the run's version did not know the option."""
    options: list[Option]
    environment: dict[str, Any]
    lines: dict[str, list[Line]]
    torn: dict[str, int]
    """Lines that cannot be read, by file."""
    checkpoints: list[Saved]
    silent_s: float
    """Seconds since anything was written."""

    @property
    def metrics(self) -> list[Line]:
        """At least one."""
        return self.lines["metrics"]

    @property
    def evaluation(self) -> list[Line]:
        """None, where the run ended before its first."""
        return self.lines["evaluation"]

    @property
    def total(self) -> int:
        """Steps that were asked for."""
        return int(self.config["train.steps"])

    @property
    def step(self) -> int:
        """The last one of which there is a line or a checkpoint."""
        told = [line["step"] for line in (*self.metrics, *self.evaluation)]
        return max(*told, *(checkpoint.step for checkpoint in self.published))

    @property
    def published(self) -> list[Saved]:
        """Checkpoints that a resume would look at, ascending."""
        return [checkpoint for checkpoint in self.checkpoints if checkpoint.published]

    @property
    def done(self) -> bool:
        """All steps, and the last one saved."""
        return bool(self.published) and self.published[-1].step >= self.total

    @property
    def quiet(self) -> bool:
        """Whether so long nothing was written that the run may be taken for stopped."""
        rates = sorted(value for _, value in series(self.metrics, "molecules_per_s") if value > 0)
        molecules = self.config["train.batch"] * self.config["train.log_every"]
        between = molecules / rates[len(rates) // 2] if rates else 0.0
        return self.silent_s > max(PATIENCE_S, PATIENCE_LINES * between)

    @property
    def streams(self) -> list[str]:
        """Streams that were trained."""
        return [stream for stream in ("graph", "text") if f"{stream}_loss" in self.metrics[-1]]

    @property
    def marks(self) -> Marks:
        """Where the curves were resumed and where steps were skipped."""
        resumed = {int(start["step"]) for start in self.starts} - {0}
        return Marks(sorted(resumed), sorted({line["step"] for line in self.lines["skipped"]}))

    @property
    def starts(self) -> list[Line]:
        """Each start of the run that led here, the first at step 0; none where the version kept no list."""
        return list(self.environment.get("starts", []))

    @property
    def probe_metric(self) -> str:
        """As a reader knows it."""
        name = str(
            next((line["probe_metric"] for line in self.evaluation if "probe_metric" in line), "score")
        )
        return PROBES.get(name, name)


def read_run(folder: Path) -> RunFindings:
    """Read what is there. Raises `UserError` for a folder that is no run, or has no line of metrics yet."""
    config = read_config(folder)
    read = {name: _read(folder / f"{name}.jsonl") for name in LINES}
    if not read["metrics"][0]:
        raise UserError(
            f"{folder} has no metrics yet: the first line is written after train.log_every="
            f"{config['train.log_every']} steps. Try again then."
        )
    files = [file for file in (folder / f"{name}.jsonl" for name in LINES) if file.is_file()]
    try:
        environment = read_json(folder / "environment.json")
    except (OSError, ValueError):
        environment = {}
    return RunFindings(
        folder=folder,
        config=config,
        options=changed(config),
        environment=environment,
        lines={name: lines for name, (lines, _) in read.items()},
        torn={f"{name}.jsonl": torn for name, (_, torn) in read.items() if torn},
        checkpoints=sorted(_checkpoints(folder / "checkpoints"), key=lambda saved: saved.step),
        silent_s=max(0.0, time.time() - max(file.stat().st_mtime for file in files)),
    )


def series(lines: Iterable[Mapping[str, Any]], key: str) -> list[tuple[int, float]]:
    """(step, value) of the lines that have the key with a finite number."""
    found = [(line["step"], float(line[key])) for line in lines if key in line]
    return [(step, value) for step, value in found if math.isfinite(value)]


def values_of(lines: Iterable[Mapping[str, Any]], key: str) -> list[float]:
    """Those of the lines that have the key, finite or not."""
    return [float(line[key]) for line in lines if key in line]


def _read(file: Path) -> tuple[list[Line], int]:
    """The lines by step, the last one of a step, and how many could not be read. null: it was not finite."""
    if not file.is_file():
        return [], 0
    whole, torn = [], 0
    for text in file.read_bytes().splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            line = None
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            whole.append({key: math.nan if value is None else value for key, value in line.items()})
        else:
            torn += 1
    if file.stem in ("metrics", "evaluation", "histograms"):  # of one step there is one
        whole = list({line["step"]: line for line in whole}.values())
    return sorted(whole, key=lambda line: line["step"]), torn


def _checkpoints(folder: Path) -> Iterator[Saved]:
    for path in folder.glob("*-*"):
        number = path.name.partition("-")[2]
        if path.is_dir() and number.isdecimal():
            sizes = list(_sizes(path))
            published = path.name.startswith("step-") and (path / "MANIFEST.json").is_file()
            yield Saved(path.name, int(number), sum(sizes), len(sizes), published)


def _sizes(folder: Path) -> Iterator[int]:
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):  # a run that goes on removes old ones meanwhile
            if file.is_file():
                yield file.stat().st_size


def last(lines: Sequence[Line], key: str) -> float | None:
    """The newest value of a key."""
    found = series(lines, key)
    return found[-1][1] if found else None
