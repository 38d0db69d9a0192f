"""SMILES as Python hands them over, and what is said of those that are no molecules.

any sequence of strings  ->  list of str, or TypeError
{position: reason}       ->  nothing, or `InvalidSmiles` with the positions
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from sharding.errors import UserError
from sharding.molecule import REASONS

NAMED = 5
"""Positions that a message names."""


class InvalidSmiles(UserError, ValueError):
    """Some strings are no molecules; the message names their positions."""

    rejected: dict[int, str]
    """{position: reason}, keys of `sharding.molecule.REASONS`."""


def as_strings(smiles: Iterable[str]) -> list[str]:
    """A list, an array, a column of a table. One string is no sequence here: its letters would pass for molecules."""
    if isinstance(smiles, str | bytes):
        raise TypeError(f"one {type(smiles).__name__} where a sequence of SMILES is expected: give [smiles].")
    strings = list(smiles)
    for place, each in enumerate(strings):
        if not isinstance(each, str):
            raise TypeError(f"position {place} holds {each!r}, not a SMILES string.")
    return strings


def refuse(smiles: Sequence[str], rejected: Mapping[int, str]) -> None:
    """Raise `InvalidSmiles` if any was rejected."""
    if not rejected:
        return
    named = [
        f"position {place} '{smiles[place]}' ({REASONS[reason]})"
        for place, reason in islice(sorted(rejected.items()), NAMED)
    ]
    more = [f"{len(rejected) - NAMED:,} more"] if len(rejected) > NAMED else []
    error = InvalidSmiles(
        f"{len(rejected):,} of {len(smiles):,} SMILES cannot be read: {', '.join(named + more)}. "
        "Mend them or leave them out."
    )
    error.rejected = dict(rejected)
    raise error
