"""The first sentence: ring systems by name, how they are joined, stereocentres and components.

    Structures of m molecules, m seeds  ->  m times "It contains one benzene and one pyridine; joined by an amide."

The scaffold is Murcko's (rings and what joins them), read from ring information instead of RDKit's scaffold
molecule, which costs more and forgets which atom was which. A molecule without rings is described by its
longest carbon chain. Names of ring systems come from `chemistry_names`.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from rdkit.Chem import rdMolDescriptors

from sharding.structure import Structures
from sharding.text.chemistry_names import (
    LINKERS,
    counted,
    element,
    in_words,
    listed,
    name_ring_system,
    symbol_of,
)
from sharding.text.links import BRANCHED, CHAIN, DIRECT, SPIRO
from sharding.text.rings import find_rings
from sharding.text.skeleton import Skeletons, find_skeletons

NAMED_PARTS = 6  # a list of ring systems or links longer than this is summed up
DOUBLY_BONDED = {8: "O", 16: "S"}
MOST = 1 << 16  # names that are remembered of systems, and of links
OPENINGS = ("The scaffold holds", "Its ring systems are", "The core is built from", "It contains")


class _Name(NamedTuple):
    """Of a ring system."""

    singular: str
    plural: str
    pattern: str
    """Substitution of a benzene: "para-disubstituted \""""
    short: str
    """For the links"""


class _Systems(dict[bytes, _Name]):
    """Names by what `rings` says of a system. Emptied when full."""

    def __missing__(self, found: bytes) -> _Name:
        if len(self) == MOST:
            self.clear()
        return self.setdefault(found, _name_system(found))


class _Links(dict[bytes, str]):
    """Names by what `rings` says of a link. Emptied when full."""

    def __missing__(self, found: bytes) -> str:
        if len(self) == MOST:
            self.clear()
        return self.setdefault(found, _name_link(found))


_SYSTEMS, _LINKS = _Systems(), _Links()


def _name_system(found: bytes) -> _Name:
    words = memoryview(found).cast("H").tolist()
    ring_atoms, atoms, bonds, substituted = words[:4]
    numbers, words = words[4 : 4 + atoms], words[4 + atoms :]
    flat, sizes = words[: 3 * bonds], words[3 * bonds :]
    orders = [order / 2 for order in flat[2::3]]
    singular, plural, short = name_ring_system(
        tuple(numbers), tuple(zip(flat[::3], flat[1::3], orders, strict=True)), ring_atoms, tuple(sizes)
    )
    places = [place for place in range(6) if substituted >> place & 1]
    pattern = BENZENE_PATTERNS.get(_gaps(places), "") if singular == "benzene" else ""
    return _Name(singular, plural, pattern, short)


BENZENE_PATTERNS = {
    (1, 5): "ortho-disubstituted ",
    (2, 4): "meta-disubstituted ",
    (3, 3): "para-disubstituted ",
    (1, 1, 4): "vicinally trisubstituted ",
    (1, 2, 3): "unsymmetrically trisubstituted ",
    (2, 2, 2): "symmetrically trisubstituted ",
    (1, 1, 1, 3): "tetrasubstituted ",
    (1, 1, 2, 2): "tetrasubstituted ",
    (1, 1, 1, 1, 2): "pentasubstituted ",
    (1, 1, 1, 1, 1, 1): "hexasubstituted ",
}
"""Sorted distances round the ring from each substituted carbon to the next."""


def _gaps(substituted: list[int]) -> tuple[int, ...]:
    following = substituted[1:] + [place + 6 for place in substituted[:1]]
    return tuple(sorted(after - place for place, after in zip(substituted, following, strict=True)))


def _name_link(found: bytes) -> str:
    kind, *words = memoryview(found).cast("H").tolist()
    if kind == SPIRO:
        return "a spiro atom"
    if kind == DIRECT:
        return "a direct bond"
    if kind == BRANCHED:
        return f"a branched linker of {counted(words[0], 'atom')}"
    numbers, doubles, outer = words[1::3], words[2::3], words[3::3]
    if kind == CHAIN:
        tokens = tuple(map(_linker_token, numbers, doubles, outer))
        if known := LINKERS.get(tokens) or LINKERS.get(tokens[::-1]):
            return known
    hetero = Counter(number for number in numbers if number != 6)
    parts = listed(counted(count, element(number)) for number, count in sorted(hetero.items()))
    length = f"{in_words(len(numbers))}-{'atom' if parts else 'carbon'} chain"
    article = "an" if length.startswith("eight") else "a"
    return f"{article} {length} with {parts}" if parts else f"{article} {length}"


def _linker_token(number: int, doubles: int, outer: int) -> str:
    """`C`, `CO`, `SO2`, ...: the atom, and what it holds by double bonds outside the chain."""
    symbol = symbol_of(number)
    if not doubles:
        return symbol
    return f"{symbol}{DOUBLY_BONDED.get(outer, '?')}{doubles if doubles > 1 else ''}"


def scaffold_sentences(structures: Structures, seeds: Sequence[int]) -> list[str]:
    """A seed chooses the opening."""
    rings = find_rings(structures)
    systems = [_SYSTEMS[system] for system in rings.systems]
    links = [
        (_LINKS[link], [systems[system].short for system in ends])
        for link, ends in zip(rings.links, rings.ends, strict=True)
    ]
    bounds = zip(pairwise(rings.system_start), pairwise(rings.link_start), strict=True)
    rest = _whole_clauses(structures, find_skeletons(structures))
    return [
        f"{_rings_clause(systems[first:last], links[first_link:last_link], seed)}{clauses}."
        for ((first, last), (first_link, last_link)), clauses, seed in zip(bounds, rest, seeds, strict=True)
    ]


def _rings_clause(systems: list[_Name], links: list[tuple[str, list[str]]], seed: int) -> str:
    """Nothing for a molecule without rings."""
    if not systems:
        return ""
    if len(systems) == 1:
        one, _, pattern, _ = systems[0]
        return f"{OPENINGS[seed % 4]} one {pattern}{one}"
    kinds = sorted(Counter([system[:3] for system in systems]).items())
    parts = [counted(n, pattern + one, pattern + many) for (one, many, pattern), n in kinds]
    if len(parts) > NAMED_PARTS:
        parts = [*parts[:NAMED_PARTS], "further ring systems"]
    clause = f"{OPENINGS[seed % 4]} {listed(parts)}"
    return f"{clause}; {_links_clause(links)}" if links else clause  # none between components


def _links_clause(links: list[tuple[str, list[str]]]) -> str:
    """`joined by an amide`; with more links than one, each with its ends."""
    if len(links) == 1:
        return f"joined by {links[0][0]}"
    found = Counter([f"{listed(sorted(ends))} by {link}" for link, ends in links])
    parts = [part if n == 1 else f"{in_words(n)} times {part}" for part, n in sorted(found.items())]
    return f"joined are {', '.join(parts[:NAMED_PARTS])}{' and others' if len(parts) > NAMED_PARTS else ''}"


def _whole_clauses(structures: Structures, skeletons: Skeletons) -> Iterator[str]:
    """Of each molecule what belongs to no ring: a chain if it has none, stereochemistry, components."""
    rings = structures.graphs.ring_start.tolist()
    columns = (*(column.tolist() for column in skeletons), structures.centres, structures.molecules)
    for k, (components, e_bonds, z_bonds, longest, branches, centres, molecule) in enumerate(
        zip(*columns, strict=True)
    ):
        clauses = _acyclic_clause(longest, branches) if rings[k] == rings[k + 1] else ""
        if centres:
            undefined = rdMolDescriptors.CalcNumUnspecifiedAtomStereoCenters(molecule)
            clauses += f"; {counted(centres, 'stereocentre')}"
            if undefined:
                clauses += " (undefined)" if undefined == centres else f" ({in_words(undefined)} undefined)"
        if e_bonds:
            clauses += f"; {counted(e_bonds, 'E double bond')}"
        if z_bonds:
            clauses += f"; {counted(z_bonds, 'Z double bond')}"
        if components > 1:
            clauses += f"; {in_words(components)} separate components"
        yield clauses


def _acyclic_clause(longest: int, branches: int) -> str:
    if not longest:
        return "An acyclic structure without carbon"
    chain = f"An acyclic structure whose longest carbon chain has {counted(longest, 'atom')}"
    return (
        f"{chain}, with {counted(branches, 'branching atom')}" if branches else f"{chain}, without branches"
    )
