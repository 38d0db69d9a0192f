"""Many SMARTS patterns as one tree of steps, so that what they have in common is searched for once.

    n SMARTS, k molecules  ->  (k, n) how often each pattern is there, counted up to what was asked for

A pattern becomes a list of steps: an atom to begin with, then in each step a bond from an atom that the pattern
already has to a new one, and sometimes a bond that closes a ring. Lists that begin alike share those steps.
What an atom or a bond must be stays RDKit's own query; its answers are kept by kind of atom and of bond, so
queries may ask for what `structure.Atom` and `structure.Bond` know, for ring membership and for hydrogens, and
for nothing else: no degrees, sizes of rings, recursion or chirality.
"""

from collections.abc import Callable, Sequence
from functools import cache
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem

from sharding.fingerprint.search import (
    BELOW,
    CHILD,
    COMPLETE,
    FIELDS,
    LABEL,
    PARENT,
    RING,
    RING_LABEL,
    SIBLING,
    SOURCE,
    find,
)
from sharding.structure import ATOM_BITS, BOND_BITS, NUMBER, Graphs, Structures

PROBES = (
    "CCCc1nn(C)c2c1nc([nH]c2=O)-c1cc(ccc1OCC)S(=O)(=O)N1CCN(C)CC1",
    "CC(C)(C)NCC(O)c1cc(Cl)c(N)c(Cl)c1",
    "CC(=O)OC1CC(O)CCC1C=CC(=O)NC(Cc1ccccc1)C(=O)O",
)
"""Ordinary molecules, to tell which atom of a pattern is rare: the search begins there."""

MOST = 1 << 16
"""Kinds that are remembered, before all are forgotten: 5 MB."""

Step = tuple[int, int, int, int]
"""From which atom of the pattern, over an edge with which label; then, for a ring, to which atom of the pattern
and over which edge, or -1 and -1. A first step is (-1, query of the atom, -1, -1)."""

ANY = -1
"""The query of an atom of which nothing is asked."""


class Patterns:
    """Compiled once for a process. `wanted` says up to which number the places of a pattern are counted.

    Two places are different if their atoms are.
    """

    def __init__(self, smarts: Sequence[str], wanted: Sequence[int] | None = None) -> None:
        self._atoms, self._bonds = _Queries(), _Queries()
        self._labels: dict[tuple[int, int], int] = {}  # queries of an edge: its bond, the atom it leads to
        self._alive = [Chem.MolFromSmarts(one) for one in smarts]  # RDKit's atoms do not keep their molecule
        lists = [self._steps(one) for one in self._alive]
        distinct = {steps: number for number, steps in enumerate(dict.fromkeys(lists))}
        self._column = np.array([distinct[steps] for steps in lists])
        self._wanted = np.ones(len(distinct), np.int32)
        np.maximum.at(self._wanted, self._column, wanted or [1] * len(lists))
        self._tree, self._longest = _tree(list(distinct)), max(map(len, lists))

    def count(self, structures: Structures) -> NDArray[np.uint8]:
        """(k, n)"""
        molecules, graphs = structures.molecules, structures.graphs

        def atom(position: int) -> Chem.Atom:
            owner = int(np.searchsorted(graphs.atom_start, position, side="right")) - 1
            return molecules[owner].GetAtomWithIdx(int(position - graphs.atom_start[owner]))

        def bond(position: int) -> Chem.Bond:
            owner = int(np.searchsorted(graphs.bond_start, position, side="right")) - 1
            return molecules[owner].GetBondWithIdx(int(position - graphs.bond_start[owner]))

        of_bond, of_atom = np.array(list(self._labels)).T
        atoms = self._atoms.hold(_atom_kinds(graphs), atom)
        bonds = self._bonds.hold(_bond_kinds(graphs), bond)
        places = find(
            self._tree,
            self._longest,
            self._wanted,
            (graphs.atom_start, graphs.around_start),
            graphs.around,
            atoms,
            bonds[graphs.around_bonds][:, of_bond] & atoms[graphs.around][:, of_atom],
        )
        return places[:, self._column]

    def _steps(self, pattern: Chem.Mol) -> tuple[Step, ...]:
        """The list that most others may share, of those that begin at a rare atom, or in a ring."""
        Chem.FastFindRings(pattern)
        atoms = list(pattern.GetAtoms())
        common = [_how_common(atom.GetSmarts()) for atom in atoms]
        inside = [atom.GetIdx() for atom in atoms if atom.IsInRing()]
        begins = inside or [place for place, count in enumerate(common) if count == min(common)]
        queries = [self._atoms.number(atom) for atom in atoms]
        ways = [
            _Way(old.GetIdx(), new.GetIdx(), bond.IsInRing(), self._label(bond, new), self._label(bond, None))
            for bond in pattern.GetBonds()
            for old in (bond.GetBeginAtom(), bond.GetEndAtom())
            for new in (bond.GetOtherAtom(old),)
        ]
        lists = [_walk(queries, ways, begin, sense) for begin in begins for sense in (1, -1)]
        return min(lists, key=lambda steps: [(-source, *rest) for source, *rest in steps])

    def _label(self, bond: Chem.QueryBond, atom: Chem.QueryAtom | None) -> int:
        """The number of what is asked of an edge."""
        queries = self._bonds.number(bond), ANY if atom is None else self._atoms.number(atom)
        return self._labels.setdefault(queries, len(self._labels))


class _Way(NamedTuple):
    """One way along a bond of a pattern. `joins` is the label of its bond alone."""

    old: int
    new: int
    in_ring: bool
    label: int
    joins: int


def _walk(queries: list[int], ways: list[_Way], begin: int, sense: int) -> tuple[Step, ...]:
    """Along a pattern, rings before branches, from the atom met last; `sense` is the way round a ring."""
    met = {begin: 0}
    steps: list[Step] = [(-1, queries[begin], -1, -1)]
    while len(met) < len(queries):
        way = min(
            (way for way in ways if way.old in met and way.new not in met),
            key=lambda way: (not way.in_ring, -met[way.old], way.label, sense * way.new),
        )
        closing = [
            (met[back.new], back.joins)
            for back in ways
            if back.old == way.new and back.new in met and back.new != way.old
        ]
        ((ring, ring_label),) = closing or [(-1, -1)]  # two at once: no pattern here has such a cage
        steps.append((met[way.old], way.label, ring, ring_label))
        met[way.new] = len(met)
    return tuple(steps)


class _Queries:
    """Distinct queries, and which of them hold for each kind of atom or bond that was met so far."""

    def __init__(self) -> None:
        self._queries: list[Any] = []
        self._numbers: dict[str, int] = {}
        self._holds: dict[int, NDArray[np.uint8]] = {}
        self._lock = Lock()

    def number(self, query: Any) -> int:
        """The number of this query; a new one if none says the same."""
        # a bond that is not written is single or aromatic
        found = self._numbers.setdefault(query.GetSmarts() or "-,:", len(self._queries))
        if found == len(self._queries):
            self._queries.append(query)
        return found

    def hold(self, kinds: NDArray[np.int64], example: Callable[[int], Any]) -> NDArray[np.uint8]:
        """(n, queries + 1) 1 where a query holds, and a last column of ones, `ANY`.

        RDKit is asked about the first of each kind that is new.
        """
        distinct, first, kind_of = np.unique(kinds, return_index=True, return_inverse=True)
        with self._lock:  # one thread at a time: another might empty what this one reads
            if len(self._holds) > MOST:
                self._holds.clear()
            for kind, position in zip(distinct.tolist(), first.tolist(), strict=True):
                if kind not in self._holds:
                    one = example(position)
                    answers = [query.Match(one) for query in self._queries]
                    self._holds[kind] = np.array([*answers, True], np.uint8)
            known = [self._holds[kind] for kind in distinct.tolist()]
        return np.array(known, np.uint8).reshape(-1, len(self._queries) + 1)[kind_of]


def _atom_kinds(graphs: Graphs) -> NDArray[np.int64]:
    """All that a query may ask of an atom. Hydrogens that are atoms of their own count with the others."""
    ends = graphs.ends
    hydrogen = graphs.atoms[ends] >> NUMBER & 255 == 1
    beside = np.bincount(
        np.concatenate((ends[hydrogen[:, 1], 0], ends[hydrogen[:, 0], 1])), minlength=len(graphs.atoms)
    )
    return graphs.atoms | (graphs.ring_bits & 1).astype(np.int64) << ATOM_BITS | beside << ATOM_BITS + 1


def _bond_kinds(graphs: Graphs) -> NDArray[np.int64]:
    return graphs.bonds | graphs.in_ring.astype(np.int64) << BOND_BITS


@cache
def _how_common(smarts: str) -> int:
    """Atoms of ordinary molecules that this query holds for."""
    query = Chem.AtomFromSmarts(smarts)
    return sum(query.Match(one) for probe in _probes() for one in probe.GetAtoms())


@cache
def _probes() -> list[Chem.Mol]:
    return [Chem.MolFromSmiles(smiles) for smiles in PROBES]


def _tree(lists: list[tuple[Step, ...]]) -> NDArray[np.int32]:
    """Lists that begin alike become one branch."""
    numbers: dict[tuple[Step, ...], int] = {(): 0}
    for steps in sorted(lists):
        for end in range(1, len(steps) + 1):
            numbers.setdefault(steps[:end], len(numbers))
    tree = np.full((len(numbers), FIELDS), -1, np.int32)
    tree[:, BELOW] = 0
    for steps, number in numbers.items():
        if steps:
            tree[number, [SOURCE, LABEL, RING, RING_LABEL]] = steps[-1]
            above = numbers[steps[:-1]]
            tree[number, [PARENT, SIBLING]] = above, tree[above, CHILD]
            tree[above, CHILD] = number
    for pattern, steps in enumerate(lists):
        tree[numbers[steps], COMPLETE] = pattern
        tree[[numbers[steps[:end]] for end in range(len(steps) + 1)], BELOW] += 1
    return tree
