"""The third sentence: functional groups, counted.

    Structure, Whole  ->  "It bears one ester and two primary alcohols."

Which groups there are, and the rule that keeps one atom from being told twice, is `FunctionalGroup`'s. Of
the 144 patterns, those are matched whose stars (see `surroundings`) are all in the molecule: half a dozen.
"""

from collections import Counter
from functools import lru_cache

from rdkit import Chem

from sharding.chemistry_names import FUNCTIONAL_GROUPS, FunctionalGroup, counted, element, listed
from sharding.structure import Structure
from sharding.surroundings import Whole, compiled, needed_stars

MATCHES = 1 << 20
"""RDKit stops at 1,000 matches by default, and then undercounts."""
TOLD_BY_GROUPS = frozenset((1, 6, 7, 8, 9, 16, 17, 35, 53))
"""Elements that need no mention of their own."""


@lru_cache(maxsize=1 << 14)
def _possible_groups(stars: int) -> tuple[tuple[FunctionalGroup, Chem.Mol], ...]:
    """In the table's order, with their compiled patterns."""
    return tuple(
        (group, compiled(group.pattern))
        for group, needed in zip(FUNCTIONAL_GROUPS, needed_stars(), strict=True)
        if stars & needed == needed
    )


def count_groups(structure: Structure, whole: Whole) -> dict[FunctionalGroup, int]:
    """Functional groups in the table's order, by the rule of `FunctionalGroup`."""
    used: set[int] = set()
    counts = {}
    for group, query in _possible_groups(whole.stars):
        matches = structure.molecule.GetSubstructMatches(query, maxMatches=MATCHES)
        if not matches:
            continue
        found = [match for match in matches if used.isdisjoint(match[: group.identity])]
        if found:
            counts[group] = len({frozenset(match[: group.identity]) for match in found})
            used.update(atom for match in found for atom in match[: group.uses])
    return counts


def groups_sentence(structure: Structure, whole: Whole, seed: int) -> str:
    """`seed` chooses the opening."""
    parts = [group.counted(count) for group, count in count_groups(structure, whole).items()]
    if not TOLD_BY_GROUPS.issuperset(structure.numbers):
        others = Counter(number for number in structure.numbers if number not in TOLD_BY_GROUPS)
        for number, count in sorted(others.items()):
            name = element(number)
            parts.append(counted(count, name if number == 0 else f"{name} atom"))
    if not parts:
        return "No functional group outside the rings is named."
    openings = ("Functional groups:", "It bears", "Its groups are", "Present are")
    return f"{openings[seed % 4]} {listed(parts)}."
