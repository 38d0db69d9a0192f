"""Which molecules are explained: the test part of a run's own table, or a table that is given; drawn where many.

n molecules, t targets.
    ExplainConfig  ->  Subject: model, molecules (n), labels (n, t) with NaN where there is none, predictions (n, t),
                       the training molecules that they are compared with, a sentence about where they come from
A run's predictions.csv holds its table, so the table itself is not needed, and cannot have changed since.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int
from numpy.typing import NDArray
from omegaconf import OmegaConf

from finetune.config import Task
from finetune.explain.config import FEWEST, ExplainConfig
from finetune.model import FineTuned
from finetune.tasks import column_names, read_label, reasons_in_words, table_rows
from pretrain.device import choose_device
from sharding.errors import UserError, did_you_mean
from sharding.featurize import Featurized

PREDICTIONS = "predictions.csv"


@dataclass(frozen=True, eq=False)
class Subject:
    """Shapes in the module's head; `rows` (n,) are those of the table, the first after its header is 0."""

    model: FineTuned
    rows: Int[NDArray, " n"]
    molecules: Featurized
    labels: Float64[NDArray, "n t"]
    predicted: Float64[NDArray, "n t"]
    background: Featurized
    told: str

    def target(self, name: str) -> int:
        """Where a target of the model stands."""
        return self.model.design.targets.index(name)


@dataclass(frozen=True)
class _Source:
    """A table's SMILES and labels, and which of its rows may be explained, and which were trained on."""

    smiles: list[str]
    labels: Float64[NDArray, "r t"]
    allowed: list[int]
    train: list[int]
    told: str


def subject(config: ExplainConfig) -> Subject:
    """Read and choose. Raises `UserError` for whatever a user can get wrong."""
    model = FineTuned.load(Path(config.finetuned)).to(choose_device(config.device))
    targets = model.design.targets
    for name in config.targets:
        if name not in targets:
            raise UserError(
                f"targets: the model has no target '{name}'.{did_you_mean(name, targets)} It has: {', '.join(targets)}."
            )
    source = _of_table(config, model) if config.table else _of_run(config, model)
    if beyond := [row for row in config.rows if row >= len(source.smiles)]:
        raise UserError(
            f"rows: there is no row {beyond[0]}; the table has rows 0 to {len(source.smiles) - 1}."
        )
    chosen = _draw(source.allowed, config.at_most, config.seed, config.rows)
    molecules, rejected = model.molecules([source.smiles[row] for row in chosen])
    for place, reason in rejected.items():
        if chosen[place] in config.rows:
            raise UserError(
                f"rows: row {chosen[place]} ({source.smiles[chosen[place]]}) is {reasons_in_words({reason: 1})}."
            )
    if len(molecules.molecules) < FEWEST:
        raise UserError(
            f"{len(molecules.molecules)} molecules can be read of {source.told}; an explanation needs {FEWEST}."
        )
    rows = np.array(chosen)[molecules.molecules.line]
    train = _draw(source.train, config.at_most, config.seed, [])
    background = model.molecules([source.smiles[row] for row in train])[0] if train else molecules
    total, explained = len(source.allowed), len(rows)
    drawn = f", {explained:,} explained" if explained < total else ""
    return Subject(
        model=model,
        rows=rows,
        molecules=molecules,
        labels=source.labels[rows],
        predicted=model.predict(molecules),
        background=background if len(background.molecules) else molecules,
        told=f"{source.told} ({total:,} molecules{drawn})",
    )


def _of_run(config: ExplainConfig, model: FineTuned) -> _Source:
    """The run's own table."""
    folder = Path(config.finetuned)
    file, settings = folder / PREDICTIONS, folder / "config.yaml"
    if not (file.is_file() and settings.is_file()):
        raise UserError(
            f"{folder} is a model without its run, so there is no test part to explain. Give table=... as well, or the "
            "run's folder."
        )
    smiles = str(OmegaConf.load(settings).smiles)
    header, rows = _read(file)
    part = [row[header.index("split")] for row in rows]
    return _Source(
        smiles=[row[header.index(smiles)] for row in rows],
        labels=_labels(file, header, rows, model),
        allowed=[row for row, name in enumerate(part) if name == "test"],
        train=[row for row, name in enumerate(part) if name == "train"],
        told=f"the test part of {folder.name}",
    )


def _of_table(config: ExplainConfig, model: FineTuned) -> _Source:
    """The table that is given."""
    file = Path(config.table)
    if not file.is_file():
        raise UserError(f"table={file} does not exist.")
    column_names(file)
    header, rows = _read(file)
    if config.smiles not in header:
        raise UserError(
            f"column '{config.smiles}' is not in {file}.{did_you_mean(config.smiles, header)} "
            f"It has: {', '.join(header)}. Name it: smiles=..."
        )
    return _Source(
        smiles=[row[header.index(config.smiles)] for row in rows],
        labels=_labels(file, header, rows, model),
        allowed=list(range(len(rows))),
        train=[],
        told=file.name,
    )


def _read(file: Path) -> tuple[list[str], list[list[str]]]:
    header, *rows = (fields for _, fields in table_rows(file))
    return header, rows


def _labels(
    file: Path, header: list[str], rows: list[list[str]], model: FineTuned
) -> Float64[NDArray, "r t"]:
    """NaN for a target that is no column."""
    labels = np.full((len(rows), len(model.design.targets)), np.nan)
    for place, target in enumerate(model.design.targets):
        if target in header:
            column, where = header.index(target), f"target '{target}' of {file}, row"
            task = Task(model.design.task)
            labels[:, place] = [
                read_label(row[column], task, f"{where} {number},") for number, row in enumerate(rows)
            ]
    return labels


def _draw(allowed: list[int], count: int, seed: int, wanted: list[int]) -> list[int]:
    """`count` rows at most, in their order, and those that are wanted in any case."""
    if len(allowed) > count:
        allowed = np.random.default_rng(seed).choice(allowed, count, replace=False).tolist()
    return sorted({*allowed, *wanted})
