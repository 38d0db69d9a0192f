"""The first sentence: ring systems by name, how they are joined, stereocentres and components.

    Structure  ->  "It contains one benzene and one pyridine; joined by an amide."

The scaffold is Murcko's (rings and what joins them), read from ring information instead of RDKit's scaffold
molecule, which costs more and forgets which atom was which. A molecule without rings is described by its
longest carbon chain. Names of ring systems come from `chemistry_names`.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rdkit import Chem
from rdkit.Chem import rdMolDescriptors

from sharding.chemistry_names import LINKERS, counted, element, in_words, listed, name_ring_system, symbol_of
from sharding.structure import BONDS, Structure

NAMED_PARTS = 6  # a list of ring systems or links longer than this is summed up


@dataclass(slots=True)
class _RingSystem:
    atoms: set[int]
    rings: list[Sequence[int]]
    name: tuple[str, str, str] = ("", "", "")  # singular, plural, and short for the links
    pattern: str = ""  # substitution of a benzene: "para-disubstituted "


def _ring_systems(structure: Structure) -> list[_RingSystem]:
    """Rings merged when they share a bond; a spiro atom belongs to two systems."""
    owner: dict[int, int] = {}
    root = list(range(len(structure.rings)))
    for number, edges in enumerate(structure.ring_edges):
        for edge in edges:
            other = owner.setdefault(edge, number)
            if other != number:
                old, new = root[other], root[number]
                if old != new:
                    root = [new if label == old else label for label in root]
    systems: dict[int, _RingSystem] = {}
    for number, ring in enumerate(structure.rings):
        system = systems.setdefault(root[number], _RingSystem(set(), []))
        system.atoms.update(ring)
        system.rings.append(ring)
    for system in systems.values():
        _name(structure, system)
    return list(systems.values())


def _name(structure: Structure, system: _RingSystem) -> None:
    atoms = system.rings[0] if len(system.rings) == 1 else sorted(system.atoms)
    place = {atom: index for index, atom in enumerate(atoms)}
    numbers = [structure.numbers[atom] for atom in atoms]
    bonds = []
    substituted = []
    for index, atom in enumerate(atoms):
        for neighbour, order in structure.neighbours[atom]:
            other = place.get(neighbour)
            if other is not None:
                if index < other:
                    bonds.append((index, other, order))
                continue
            if order == 2.0 and neighbour not in structure.ring_atoms:
                bonds.append((index, len(numbers), order))
                numbers.append(structure.numbers[neighbour])
            if structure.numbers[neighbour] != 1:
                substituted.append(index)
    sizes = tuple(sorted(map(len, system.rings)))
    system.name = name_ring_system(tuple(numbers), tuple(bonds), len(atoms), sizes)
    if system.name[0] == "benzene":
        system.pattern = BENZENE_PATTERNS.get(_gaps(substituted), "")


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


def _links(structure: Structure, systems: list[_RingSystem]) -> Iterator[tuple[str, list[str]]]:
    """How ring systems hang together (a shared atom, a bond, the chain between them), and which ones."""
    owners: dict[int, list[int]] = {}
    for number, system in enumerate(systems):
        for atom in system.atoms:
            owners.setdefault(atom, []).append(number)
    name = [system.name[2] for system in systems]
    for holders in owners.values():
        if len(holders) > 1:
            yield "a spiro atom", sorted(name[number] for number in holders)
    for atom, holders in owners.items():
        for neighbour, _ in structure.neighbours[atom]:
            if atom < neighbour and neighbour in owners and not set(holders) & set(owners[neighbour]):
                yield "a direct bond", sorted((name[holders[0]], name[owners[neighbour][0]]))
    for chain in _chains(structure):
        touched = [
            (atom, name[owners[neighbour][0]])
            for atom in chain
            for neighbour, _ in structure.neighbours[atom]
            if neighbour in owners
        ]
        ends = sorted(end for _, end in touched)
        if len(ends) == 2:
            yield _chain_name(structure, chain, touched[0][0]), ends
        else:
            yield f"a branched linker of {counted(len(chain), 'atom')}", ends


def _chains(structure: Structure) -> Iterator[list[int]]:
    """Connected atoms outside rings that lie between ring systems: what is left after pruning the ends."""
    degree = {
        atom: len(ends) for atom, ends in enumerate(structure.neighbours) if atom not in structure.ring_atoms
    }
    leaves = [atom for atom, count in degree.items() if count < 2]
    while leaves:
        atom = leaves.pop()
        if degree.pop(atom, None) is None:
            continue
        for neighbour, _ in structure.neighbours[atom]:
            if neighbour in degree:
                degree[neighbour] -= 1
                if degree[neighbour] == 1:
                    leaves.append(neighbour)
    while degree:
        start, _ = degree.popitem()
        chain = [start]
        for atom in chain:  # grows while it is read
            for neighbour, _ in structure.neighbours[atom]:
                if degree.pop(neighbour, None) is not None:
                    chain.append(neighbour)
        yield chain


def _chain_name(structure: Structure, chain: list[int], start: int) -> str:
    path, inside = [start], set(chain) - {start}
    while inside:
        path.append(next(atom for atom, _ in structure.neighbours[path[-1]] if atom in inside))
        inside.discard(path[-1])
    tokens = tuple(_linker_token(structure, atom, inside=set(chain)) for atom in path)
    if all(_order(structure, a, b) == 1.0 for a, b in pairwise(path)):
        known = LINKERS.get(tokens) or LINKERS.get(tokens[::-1])
        if known:
            return known
    hetero = Counter(structure.numbers[atom] for atom in path)
    del hetero[6]
    parts = listed(counted(count, element(number)) for number, count in sorted(hetero.items()))
    length = f"{in_words(len(path))}-{'atom' if parts else 'carbon'} chain"
    article = "an" if length.startswith("eight") else "a"
    return f"{article} {length} with {parts}" if parts else f"{article} {length}"


def _order(structure: Structure, first: int, second: int) -> float:
    return next(order for neighbour, order in structure.neighbours[first] if neighbour == second)


def _linker_token(structure: Structure, atom: int, inside: set[int]) -> str:
    """`C`, `CO`, `SO2`, ...: the atom, and what it holds by double bonds outside the chain."""
    symbol = symbol_of(structure.numbers[atom])
    double = [
        structure.numbers[neighbour]
        for neighbour, order in structure.neighbours[atom]
        if order == 2.0 and neighbour not in inside
    ]
    if not double:
        return symbol
    outer = {8: "O", 16: "S"}.get(double[0], "?") if len(set(double)) == 1 else "?"
    return f"{symbol}{outer}{len(double) if len(double) > 1 else ''}"


def scaffold_sentence(structure: Structure, seed: int) -> str:
    """`seed` chooses the opening."""
    systems = _ring_systems(structure)
    clauses = [] if systems else [_acyclic_clause(structure)]
    if systems:
        kinds = Counter((*system.name[:2], system.pattern) for system in systems).items()
        parts = [counted(n, pattern + one, pattern + many) for (one, many, pattern), n in sorted(kinds)]
        if len(parts) > NAMED_PARTS:
            parts = [*parts[:NAMED_PARTS], "further ring systems"]
        opening = ("The scaffold holds", "Its ring systems are", "The core is built from", "It contains")[
            seed % 4
        ]
        clauses.append(f"{opening} {listed(parts)}")
        if len(systems) > 1:
            clauses.append(_links_clause(list(_links(structure, systems))))
    clauses += _whole_clauses(structure)
    return "; ".join(clauses) + "."


def _links_clause(links: list[tuple[str, list[str]]]) -> str:
    """`joined by an amide`; with more links than one, each with its ends."""
    if len(links) == 1:
        return f"joined by {links[0][0]}"
    found = Counter(f"{listed(ends)} by {link}" for link, ends in links)
    parts = [part if n == 1 else f"{in_words(n)} times {part}" for part, n in sorted(found.items())]
    return f"joined are {', '.join(parts[:NAMED_PARTS])}{' and others' if len(parts) > NAMED_PARTS else ''}"


def _acyclic_clause(structure: Structure) -> str:
    carbons = {atom for atom, number in enumerate(structure.numbers) if number == 6}
    if not carbons:
        return "An acyclic structure without carbon"
    longest = 0
    unseen = set(carbons)
    while unseen:
        reached = _walk(structure, next(iter(unseen)), carbons)
        unseen -= reached.keys()
        longest = max(
            longest, 1 + max(_walk(structure, max(reached, key=reached.__getitem__), carbons).values())
        )
    heavy = [sum(structure.numbers[a] != 1 for a, _ in ends) for ends in structure.neighbours]
    branches = sum(count > 2 for count in heavy)
    chain = f"An acyclic structure whose longest carbon chain has {counted(longest, 'atom')}"
    return (
        f"{chain}, with {counted(branches, 'branching atom')}" if branches else f"{chain}, without branches"
    )


def _walk(structure: Structure, start: int, allowed: set[int]) -> dict[int, int]:
    """Bonds from `start` to every allowed atom in reach. In a tree, two walks give the diameter."""
    distance = {start: 0}
    queue = [start]
    for atom in queue:
        for neighbour, _ in structure.neighbours[atom]:
            if neighbour in allowed and neighbour not in distance:
                distance[neighbour] = distance[atom] + 1
                queue.append(neighbour)
    return distance


GEOMETRY = {"E": int(Chem.BondStereo.STEREOE), "Z": int(Chem.BondStereo.STEREOZ)}


def _whole_clauses(structure: Structure) -> Iterator[str]:
    """Stereochemistry and components: what belongs to no single ring."""
    molecule = structure.molecule
    centres = rdMolDescriptors.CalcNumAtomStereoCenters(molecule)
    if centres:
        undefined = rdMolDescriptors.CalcNumUnspecifiedAtomStereoCenters(molecule)
        which = (
            ""
            if not undefined
            else " (undefined)"
            if undefined == centres
            else f" ({in_words(undefined)} undefined)"
        )
        yield counted(centres, "stereocentre") + which
    stereo = Counter(BONDS.values[bond.kind].stereo for bond in structure.bonds)
    for label in ("E", "Z"):
        if count := stereo[GEOMETRY[label]]:
            yield counted(count, f"{label} double bond")
    components = len(Chem.GetMolFrags(molecule))
    if components > 1:
        yield f"{in_words(components)} separate components"
