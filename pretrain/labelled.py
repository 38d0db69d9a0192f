"""A table of labelled molecules for a probe, and every way in which it can give no score.

    evaluation.probe, shards  ->  Labelled: molecules (m) as the shards would hold them, labels (m)
Molecules are made by the shards' own tokenizers and record settings (of shards whose texts a language model wrote,
with the describer's texts). This is the one part of pretraining that needs RDKit, and only when it is asked for.
"""

import math
from collections import Counter
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pretrain.config import EvaluationConfig
from sharding.columns import Molecules
from sharding.config import record_config
from sharding.errors import UserError
from sharding.read import Shards

FEWEST = 10
"""Molecules, of each class where there are classes: a fold of five then has two of each."""
MOST = 5_000
"""Molecules of a larger table, drawn: the fit is beside the training, and its time grows with them."""
SEED = 0
MISSING = frozenset({"", "nan", "na", "n/a", "null", "none"})
"""Labels that are none, case ignored."""


@dataclass(frozen=True)
class Labelled:
    """A table's molecules, as the shards would hold them, and their labels."""

    molecules: Molecules
    labels: NDArray[np.float64]
    about: str
    """What was taken and what was left out, for the user."""

    @property
    def classes(self) -> bool:
        """Whether the labels are 0 and 1."""
        return set(np.unique(self.labels)) == {0.0, 1.0}


def read_labelled(config: EvaluationConfig, shards: Shards) -> Labelled | None:
    """The table of evaluation.probe; None when none is asked for. Raises `UserError` for one that gives no score."""
    if not config.probe:
        return None
    if not config.probe_target:
        raise UserError("evaluation.probe needs evaluation.probe_target=COLUMN: the labels to predict.")
    missing = [package for package in ("rdkit", "sklearn") if find_spec(package) is None]
    if missing:
        raise UserError(
            f"evaluation.probe needs {' and '.join(missing)}, which is not installed here. Install it, or leave "
            "evaluation.probe empty."
        )
    from sharding.featurize import featurize_strings

    smiles, labels, left_out = _rows(config)
    drawn = np.sort(np.random.default_rng(SEED).permutation(len(smiles))[:MOST])
    left_out["beyond the first drawn"] = len(smiles) - len(drawn)
    record = record_config(shards.manifest["settings"]["record"])
    made, reasons = featurize_strings([smiles[row] for row in drawn], shards.tokenizers, record)
    left_out.update(Counter(f"rejected as {reason}" for reason in reasons.values()))
    _, first = np.unique(made.molecules.ids, return_index=True)
    rows = np.sort(first)
    left_out["of a molecule that is there already"] = len(made.molecules) - len(rows)
    molecules = made.molecules.take(rows)
    told = ", ".join(f"{count:,} {why}" for why, count in left_out.items() if count)
    found = Labelled(
        molecules,
        np.array(labels)[drawn][molecules.line],
        f"probe {Path(config.probe).name}: {len(rows):,} molecules with {config.probe_target}"
        + (f"; left out: {told}" if told else ""),
    )
    _check(found, config)
    return found


def _rows(config: EvaluationConfig) -> tuple[list[str], list[float], Counter[str]]:
    """SMILES and labels of the rows that have one."""
    from sharding.sources import Columns, find, read, survey

    columns = Columns(smiles=config.probe_smiles, id=config.probe_target)
    sources = find(config.probe)
    if len(sources) > 1 or sources[0].kind == "words":
        raise UserError(f"evaluation.probe={config.probe} is no table. Give one .csv, .tsv or .parquet.")
    found = survey(sources[0], columns)
    smiles, labels, left_out = [], [], Counter[str]()
    for row in read(sources[0], found, 0, found.rows, columns):
        text = row.id.strip()
        if text.lower() in MISSING:
            left_out["without a label"] += 1
            continue
        smiles.append(row.smiles)
        labels.append(_number(text, f"evaluation.probe={config.probe}, line {row.line}"))
    if not smiles:
        raise UserError(f"evaluation.probe={config.probe} has no row with a label in {config.probe_target}.")
    return smiles, labels, left_out


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.inf
    if not math.isfinite(value):
        raise UserError(
            f"{where}: the label is '{text}'. Expected a number, 0 or 1, or nothing where it is missing."
        )
    return value


def _check(found: Labelled, config: EvaluationConfig) -> None:
    where = f"evaluation.probe={config.probe}, column {config.probe_target}:"
    values, counts = np.unique(found.labels, return_counts=True)
    if len(values) == 1:
        raise UserError(
            f"{where} every label is {values[0]:g}, so there is nothing to predict. Choose another."
        )
    fewest = counts.min() if found.classes else len(found.labels)
    if fewest < FEWEST:
        of_a_class = " of a class" if found.classes else ""
        raise UserError(
            f"{where} {fewest} valid molecules{of_a_class}, where a score needs {FEWEST}. ({found.about}.)"
        )
