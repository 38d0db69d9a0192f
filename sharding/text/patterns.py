"""Functional groups counted in many molecules at once, by the patterns and the rule of `FunctionalGroup`.

    Structures of m molecules  ->  counts (m, groups)

RDKit says which atoms and bonds a pattern's atoms and bonds match, once for each kind of atom (what it is, its
degree, its rings, its neighbours that are hydrogens) and each kind of bond; that is all that the table's
patterns ask about. The search for whole patterns is the same as RDKit's, without a Python call each:
neighbour by neighbour, in ascending order, of mappings onto the same atoms the first.
"""

from collections.abc import Callable
from functools import cache
from threading import Lock
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from rdkit import Chem

from sharding.structure import ATOM_BITS, BOND_BITS, Graphs, Ints, Structures
from sharding.text.chemistry_names import FUNCTIONAL_GROUPS

MOST = 8
"""Atoms that a pattern may have."""
ROOM = 1024
"""Mappings onto different sets of atoms that one first atom may have: beyond what valences allow."""
ATOM, PARENT, BOND, CLOSING, CLOSING_BOND = range(5)


class Patterns(NamedTuple):
    """The g patterns of the table, one after the other, with p atoms in all."""

    start: Ints
    """(g + 1,)"""
    steps: Ints
    """(p, 5) for each atom: which of the distinct atom queries; the earlier atom of the pattern that it is
    bonded to, and which bond query; another such atom or -1, and that bond"""
    identity: Ints
    """(g,) see `FunctionalGroup`"""
    uses: Ints


@cache
def _compiled() -> tuple[Patterns, list[Chem.QueryAtom], list[Chem.QueryBond], list[Chem.Mol]]:
    """The table, the queries behind its numbers, and their molecules, which RDKit's bonds do not keep alive.

    All in one: threads that meet here at first use make one each, and the bonds of each need its own molecules.
    """
    molecules = [Chem.MolFromSmarts(group.pattern) for group in FUNCTIONAL_GROUPS]
    queries: dict[str, tuple[int, Chem.QueryAtom]] = {}
    bond_queries: dict[str, tuple[int, Chem.QueryBond]] = {}
    rows, sizes = [], []
    for group, pattern in zip(FUNCTIONAL_GROUPS, molecules, strict=True):
        sizes.append(pattern.GetNumAtoms())
        can_follow = sizes[-1] <= MOST
        for atom in pattern.GetAtoms():
            query, _ = queries.setdefault(atom.GetSmarts(), (len(queries), atom))
            joints = []
            for bond in atom.GetBonds():
                if (other := bond.GetOtherAtomIdx(atom.GetIdx())) < atom.GetIdx():
                    number, _ = bond_queries.setdefault(bond.GetSmarts(), (len(bond_queries), bond))
                    joints.append((other, number))
            first, second = [*joints, (-1, 0), (-1, 0)][:2]
            can_follow &= len(joints) <= 2 and (first[0] < 0) == (atom.GetIdx() == 0)
            rows.append((query, *first, *second))
        if not can_follow:
            raise ValueError(f"the search cannot follow {group.pattern}")
    patterns = Patterns(
        start=np.cumsum([0, *sizes]),
        steps=np.array(rows, np.int64),
        identity=np.array([group.identity for group in FUNCTIONAL_GROUPS]),
        uses=np.array([group.uses for group in FUNCTIONAL_GROUPS]),
    )
    atoms, bonds = ([query for _, query in found.values()] for found in (queries, bond_queries))
    return patterns, atoms, bonds, molecules


class _Kinds:
    """Kinds met so far, ascending, and which queries each matches (kinds, queries)."""

    def __init__(self) -> None:
        self.codes, self.matches = np.empty(0, np.int64), np.empty((0, 0), np.bool_)

    def look_up(self, codes: Ints, ask: Callable[[int], list[bool]]) -> Ints:
        """The row of each code; `ask` says, for the index of a code that is new, what it matches."""
        distinct, first, index = np.unique(codes, return_index=True, return_inverse=True)
        new = ~np.isin(distinct, self.codes, assume_unique=True)
        if new.any():
            matches = np.array([ask(place) for place in first[new].tolist()], np.bool_)
            places = np.searchsorted(self.codes, distinct[new])
            self.matches = np.insert(self.matches.reshape(-1, matches.shape[1]), places, matches, axis=0)
            self.codes = np.insert(self.codes, places, distinct[new])
        return np.searchsorted(self.codes, distinct)[index]


_atoms, _bonds = _Kinds(), _Kinds()
_lock = Lock()
"""The kinds become more: one thread at a time may look at them."""


def count_groups(structures: Structures) -> NDArray[np.int32]:
    """How many of each group of the table every molecule has."""
    patterns, atom_queries, bond_queries, _alive = _compiled()
    graphs = structures.graphs

    def ask_atom(place: int) -> list[bool]:
        k = int(np.searchsorted(graphs.atom_start, place, side="right")) - 1
        atom = structures.molecules[k].GetAtomWithIdx(place - int(graphs.atom_start[k]))
        return [query.Match(atom) for query in atom_queries]

    def ask_bond(place: int) -> list[bool]:
        k = int(np.searchsorted(graphs.bond_start, place, side="right")) - 1
        bond = structures.molecules[k].GetBondWithIdx(place - int(graphs.bond_start[k]))
        return [query.Match(bond) for query in bond_queries]

    bond_codes = graphs.bonds | graphs.in_ring.astype(np.int64) << BOND_BITS
    with _lock:
        atom_kinds = _atoms.look_up(_atom_codes(graphs), ask_atom)
        bond_kinds = _bonds.look_up(bond_codes, ask_bond)
        matches = _atoms.matches, _bonds.matches
    return _count(
        *(graphs.atom_start, graphs.around_start, graphs.around, bond_kinds[graphs.around_bonds]),
        *(atom_kinds, *matches, patterns),
    )


@njit(cache=True, nogil=True)
def _atom_codes(graphs: Graphs):  # type: ignore[no-untyped-def]
    """What RDKit's answer to an atom query of the table depends on."""
    codes = graphs.atoms.copy()
    for atom in range(len(codes)):
        first, last = graphs.around_start[atom], graphs.around_start[atom + 1]
        hydrogens = 0
        for place in range(first, last):
            hydrogens += graphs.atoms[graphs.around[place]] & 255 == 1
        codes[atom] |= min(last - first, 31) << ATOM_BITS | np.int64(graphs.ring_bits[atom]) << ATOM_BITS + 5
        codes[atom] |= min(hydrogens, 31) << ATOM_BITS + 7
    return codes


@njit(cache=True, nogil=True)
def _count(  # type: ignore[no-untyped-def]
    atom_start, around_start, around, around_kinds, atom_kinds, atom_matches, bond_matches, patterns: Patterns
):
    """Every pattern in every molecule, in the table's order."""
    steps, starts, identity, uses = patterns.steps, patterns.start, patterns.identity, patterns.uses
    molecules, groups = len(atom_start) - 1, len(identity)
    counts = np.zeros((molecules, groups), np.int32)
    used = np.zeros(len(atom_kinds), np.bool_)
    mappings, mapped, place = (
        np.empty((2 * ROOM, MOST), np.int64),
        np.empty(MOST, np.int64),
        np.empty(MOST, np.int64),
    )
    present = np.empty(atom_matches.shape[1], np.bool_)
    for k in range(molecules):
        for query in range(len(present)):
            present[query] = False
        for atom in range(atom_start[k], atom_start[k + 1]):
            for query in range(len(present)):
                present[query] |= atom_matches[atom_kinds[atom], query]
        for group in range(groups):
            possible = True
            for step in range(starts[group], starts[group + 1]):
                possible &= present[steps[step, ATOM]]
            if not possible:
                continue
            first = steps[starts[group], ATOM]
            found = 0
            for root in range(atom_start[k], atom_start[k + 1]):
                if atom_matches[atom_kinds[root], first]:
                    if found + ROOM > len(mappings):
                        mappings = _longer(mappings)
                    mapped[0] = root
                    found = _map(
                        around_start, around, around_kinds, atom_kinds, atom_matches, bond_matches,
                        steps[starts[group] : starts[group + 1]], mapped, place, mappings, found,
                    )  # fmt: skip
            if found:
                counts[k, group] = _take(mappings, found, used, identity[group], uses[group])
    return counts


@njit(cache=True, nogil=True)
def _longer(rows):  # type: ignore[no-untyped-def]
    """The same rows, and as many unused ones."""
    longer = np.empty((2 * len(rows), rows.shape[1]), rows.dtype)
    for row in range(len(rows)):
        for column in range(rows.shape[1]):
            longer[row, column] = rows[row, column]
    return longer


@njit(cache=True, nogil=True)
def _map(  # type: ignore[no-untyped-def]
    around_start, around, around_kinds, atom_kinds, atom_matches, bond_matches, steps, mapped, place, mappings, found
):  # fmt: skip
    """Mappings of one pattern onto one first atom join those found; one for each set of atoms."""
    size, depth = len(steps), 1  # atoms that are mapped
    place[1] = around_start[mapped[0]]
    while depth > 0:
        if depth == size:
            if found < len(mappings) and not _among(mappings, found, mapped, size):
                for step in range(size):
                    mappings[found, step] = mapped[step]
                found += 1
            depth -= 1
            continue
        fits = False
        last = around_start[mapped[steps[depth, PARENT]] + 1]
        while not fits and place[depth] < last:
            here = place[depth]
            place[depth] += 1
            atom = around[here]
            fits = (
                atom_matches[atom_kinds[atom], steps[depth, ATOM]]
                and bond_matches[around_kinds[here], steps[depth, BOND]]
            )
            for earlier in range(depth):
                fits &= mapped[earlier] != atom
            if fits and steps[depth, CLOSING] >= 0:
                fits = False
                for other in range(around_start[atom], around_start[atom + 1]):
                    if around[other] == mapped[steps[depth, CLOSING]]:
                        fits = bond_matches[around_kinds[other], steps[depth, CLOSING_BOND]]
            mapped[depth] = atom
        if not fits:
            depth -= 1
            continue
        depth += 1
        if depth < size:
            place[depth] = around_start[mapped[steps[depth, PARENT]]]
    return found


@njit(cache=True, nogil=True)
def _take(mappings, found, used, identity, uses):  # type: ignore[no-untyped-def]
    """How many of the group there are; the atoms that they use are added to `used`."""
    free = 0
    for row in range(found):
        taken = False
        for place in range(identity):
            taken |= used[mappings[row, place]]
        if not taken:
            for place in range(mappings.shape[1]):
                mappings[free, place] = mappings[row, place]
            free += 1
    count = 0
    for row in range(free):
        count += not _among(mappings, row, mappings[row], identity)
        for place in range(uses):
            used[mappings[row, place]] = True
    return count


@njit(cache=True, nogil=True)
def _among(mappings, rows, mapping, size):  # type: ignore[no-untyped-def]
    """Whether one of the first rows has the same first `size` atoms, in any order."""
    for row in range(rows):
        shared = 0
        for one in range(size):
            for other in range(size):
                shared += mappings[row, one] == mapping[other]
        if shared == size:
            return True
    return False
