"""The third sentence: functional groups, counted.

    Structures of m molecules, m seeds  ->  m times "It bears one ester and two primary alcohols."

Which groups there are, and the rule that keeps one atom from being told twice, is `FunctionalGroup`'s.
"""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import numpy as np

from sharding.structure import Structures
from sharding.text.chemistry_names import FUNCTIONAL_GROUPS, counted, element, listed
from sharding.text.patterns import count_groups

TOLD_BY_GROUPS = np.zeros(256, np.bool_)
TOLD_BY_GROUPS[[1, 6, 7, 8, 9, 16, 17, 35, 53]] = True
"""Elements that need no mention of their own."""
OPENINGS = ("Functional groups:", "It bears", "Its groups are", "Present are")


def groups_sentences(structures: Structures, seeds: Sequence[int]) -> list[str]:
    """A seed chooses the opening."""
    counts = count_groups(structures)
    rows, groups = np.nonzero(counts)
    told = [_told(*pair) for pair in zip(groups.tolist(), counts[rows, groups].tolist(), strict=True)]
    bounds = np.searchsorted(rows, np.arange(len(structures) + 1)).tolist()
    parts = [told[first:last] for first, last in pairwise(bounds)]
    for k, others in _other_elements(structures).items():
        parts[k] += others
    return [_sentence(*pair) for pair in zip(parts, seeds, strict=True)]


def _sentence(parts: list[str], seed: int) -> str:
    if not parts:
        return "No functional group outside the rings is named."
    return f"{OPENINGS[seed % 4]} {listed(parts)}."


@cache
def _told(group: int, count: int) -> str:
    return FUNCTIONAL_GROUPS[group].counted(count)


def _other_elements(structures: Structures) -> dict[int, list[str]]:
    """Of the few molecules that have any, by their place."""
    graphs = structures.graphs
    numbers = graphs.atoms & 255
    places = np.flatnonzero(~TOLD_BY_GROUPS[numbers])
    molecules = np.searchsorted(graphs.atom_start, places, side="right") - 1
    found: dict[int, Counter[int]] = {}
    for k, number in zip(molecules.tolist(), numbers[places].tolist(), strict=True):
        found.setdefault(k, Counter())[number] += 1
    return {
        k: [
            counted(count, f"{element(number)} atom" if number else element(number))
            for number, count in sorted(elements.items())
        ]
        for k, elements in found.items()
    }
