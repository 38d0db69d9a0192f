"""Molecules that stand in a table more than once: found, counted, and left out where the user asks for it.

n molecules that could be read, t targets.
    canonical SMILES (n), labels (n, t)  ->  Repeated: the places of each such molecule, and which of them conflict
Two rows are one molecule when their canonical SMILES are equal, as the encoder reads them. They conflict where both
have a label of a target and the labels differ: another class, or another number.

The public sets hold such rows and the published protocols keep them, so `keep` is the default here. Averages are not
made: a test score must follow from the table's own labels, which is all that a doubter has.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from finetune.config import Duplicates
from sharding.errors import UserError


@dataclass(frozen=True)
class Repeated:
    """Places among the n molecules, a sorted list for each molecule that has more than one."""

    groups: list[list[int]]
    conflicting: list[list[int]]
    """Those of `groups` whose labels differ."""


def find_repeated(smiles: Sequence[str], labels: Float64[NDArray, "n t"]) -> Repeated:
    """In the order in which the molecules come first."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, text in enumerate(smiles):
        places[text].append(place)
    groups = [group for group in places.values() if len(group) > 1]
    return Repeated(groups, [group for group in groups if _differ(labels[group])])


def used(repeated: Repeated, n: int, choice: Duplicates) -> NDArray[np.int64]:
    """The places that may train, validate or test, sorted."""
    unused: list[int] = []
    if choice is not Duplicates.keep:
        unused += [place for group in repeated.groups for place in group[1:]]
    if choice is Duplicates.agreeing:
        unused += [group[0] for group in repeated.conflicting]
    return np.setdiff1d(np.arange(n), unused)


def check_allowed(repeated: Repeated, rows: NDArray[np.int64], smiles: Sequence[str], table: str) -> None:
    """Raise `UserError` when a molecule stands twice, with one that conflicts if there is any."""
    if repeated.groups:
        example = (repeated.conflicting or repeated.groups)[0]
        where = ", ".join(str(rows[place]) for place in example)
        raise UserError(
            f"{table}: molecules that stand more than once: {len(repeated.groups):,}; of these with labels that "
            f"differ: {len(repeated.conflicting):,}; for example {smiles[example[0]]} in rows {where} (the first is "
            "0). Mend the table, or say duplicates=keep, first or agreeing."
        )


def _differ(labels: Float64[NDArray, "k t"]) -> bool:
    return any(len(np.unique(column[~np.isnan(column)])) > 1 for column in labels.T)
