"""log P and polar surface from each atom's direct neighbours, asked of RDKit once for each kind of surroundings.

    Structures of m molecules  ->  log_p (m,), polar_surface (m,)

The surroundings of an atom are what it is, its degree and ring membership, those of its neighbours, and the
bonds to them; a hash of 64 bits stands for them. Two things follow from them, and are kept in a table that
fills as molecules come by:
    log P          each atom's contribution, its hydrogens' included (Wildman and Crippen 1999)
    polar surface  each atom's contribution (Ertl et al. 2000)
Looked up and added, they cost a fraction of RDKit's own sum, which matches a hundred patterns against every
molecule. The exceptions: an oxygen of degree one is looked up with its neighbour's surroundings, since
Crippen's patterns for it reach one atom further; log P of molecules with hydrogens that are atoms, or with
oxygens that are odd in another way, is left to RDKit.
"""

from threading import Lock

import numpy as np
from numba import njit
from numpy.typing import NDArray
from rdkit import Chem
from rdkit.Chem import rdMolDescriptors

from sharding.structure import (
    ATOM_BITS,
    CHARGE,
    HYDROGENS,
    TYPE,
    Graphs,
    Ints,
    Structures,
)

Floats = NDArray[np.float64]
MOST = 1 << 17
"""Entries of the table before it is emptied. 50,000 molecules of ZINC fill a seventeenth of it."""


class _Known:
    """The table: keys (n,) in ascending order, contributions to log P and polar surface (n, 2)."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.keys, self.contributions = np.empty(0, np.int64), np.empty((0, 2))

    def find(self, keys: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """Where each key is, or would be, and whether it is there."""
        if not len(self.keys):
            return np.zeros(len(keys), np.int64), np.zeros(len(keys), bool)
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return places, self.keys[places] == keys

    def add(self, keys: Ints, contributions: Floats) -> None:
        """Keys that are not in the table; they may repeat."""
        keys, first = np.unique(keys, return_index=True)
        places = np.searchsorted(self.keys, keys)
        self.keys = np.insert(self.keys, places, keys)
        self.contributions = np.insert(self.contributions, places, contributions[first], axis=0)


_known = _Known()
_lock = Lock()
"""The table grows: one thread at a time may look at it."""


def sum_up(structures: Structures) -> tuple[Floats, Floats]:
    """log P and polar surface of every molecule."""
    graphs = structures.graphs
    keys, left_to_rdkit = _keys(graphs)
    with _lock:
        places, found = _known.find(keys)
        if not found.all():
            _learn(structures, keys, found)
            places, _ = _known.find(keys)
        contributions = _known.contributions[places]
    sums = _sums(graphs.atom_start, contributions)
    log_p, polar_surface = sums[:, 0], sums[:, 1]
    for k in np.flatnonzero(left_to_rdkit).tolist():
        log_p[k] = rdMolDescriptors.CalcCrippenDescriptors(structures.molecules[k])[0]
    return log_p, polar_surface


@njit(cache=True, nogil=True)
def _sums(atom_start, contributions):  # type: ignore[no-untyped-def]
    """In the order of the atoms."""
    sums = np.zeros((len(atom_start) - 1, 2))
    for k in range(len(sums)):
        for atom in range(atom_start[k], atom_start[k + 1]):
            sums[k, 0] += contributions[atom, 0]
            sums[k, 1] += contributions[atom, 1]
    return sums


@njit(cache=True, nogil=True)
def _mixed(value):  # type: ignore[no-untyped-def]
    """A number of 64 bits for another, one to one: the end of splitmix64."""
    value = np.uint64(value)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@njit(cache=True, nogil=True)
def _keys(graphs: Graphs):  # type: ignore[no-untyped-def]
    """A hash of every atom's surroundings; and of each molecule, whether its log P is left to RDKit."""
    atoms = len(graphs.atoms)
    selves, keys = np.empty(atoms, np.uint64), np.empty(atoms, np.uint64)
    for atom in range(atoms):
        degree = min(graphs.around_start[atom + 1] - graphs.around_start[atom], 31)
        bits = np.int64(graphs.ring_bits[atom])  # polar surface knows three-membered rings
        selves[atom] = _mixed(graphs.atoms[atom] | degree << ATOM_BITS | bits << ATOM_BITS + 5)
    for atom in range(atoms):
        total = np.uint64(0)  # a sum, so that the order of neighbours cannot matter
        for place in range(graphs.around_start[atom], graphs.around_start[atom + 1]):
            bond = graphs.around_bonds[place]
            kind = (graphs.bonds[bond] >> TYPE & 255) << 1 | graphs.in_ring[bond]
            total += _mixed(selves[graphs.around[place]] + np.uint64(kind) * np.uint64(0x9E3779B97F4A7C15))
        keys[atom] = _mixed(_mixed(selves[atom]) + total)
    left_to_rdkit = np.zeros(len(graphs.atom_start) - 1, np.bool_)
    final = np.empty(atoms, np.uint64)
    for k in range(len(left_to_rdkit)):
        for atom in range(graphs.atom_start[k], graphs.atom_start[k + 1]):
            number, final[atom] = graphs.atoms[atom] & 255, keys[atom]
            first, last = graphs.around_start[atom], graphs.around_start[atom + 1]
            if number == 1 or (number == 8 and last - first > 1 and _is_odd(graphs, atom)):
                left_to_rdkit[k] = True
            elif number == 8 and last - first == 1:
                final[atom] = _mixed(keys[atom] + _mixed(keys[graphs.around[first]]))
    return final.view(np.int64), left_to_rdkit


@njit(cache=True, nogil=True)
def _is_odd(graphs: Graphs, oxygen):  # type: ignore[no-untyped-def]
    """Two neighbours, and a charge, a hydrogen or a double bond: patterns for degree one fit it as well."""
    if (graphs.atoms[oxygen] >> CHARGE & 255) != 128 or (graphs.atoms[oxygen] >> HYDROGENS & 255) > 0:
        return True
    for place in range(graphs.around_start[oxygen], graphs.around_start[oxygen + 1]):
        if graphs.orders[graphs.around_bonds[place]] not in (2, 3):
            return True
    return False


def _learn(structures: Structures, keys: Ints, found: NDArray[np.bool_]) -> None:
    """Ask RDKit about every molecule that has anything new."""
    start = structures.graphs.atom_start
    if len(_known.keys) > MOST:
        _known.clear()
        found = np.zeros_like(found)
    molecules = np.unique(np.searchsorted(start, np.flatnonzero(~found), side="right") - 1)
    rows: list[Ints] = []
    contributions: list[tuple[float, float]] = []
    for k in molecules.tolist():
        molecule = structures.molecules[k]
        contributions += zip(
            _log_p_contributions(molecule), rdMolDescriptors._CalcTPSAContribs(molecule), strict=True
        )
        rows.append(np.arange(start[k], start[k + 1]))
    places = np.concatenate(rows)
    new = ~found[places]
    _known.add(keys[places][new], np.array(contributions)[new])


def _log_p_contributions(molecule: Chem.Mol) -> list[float]:
    """Of each atom, with that of the hydrogens that are none."""
    whole = Chem.AddHs(molecule)  # the hydrogens follow
    atoms = molecule.GetNumAtoms()
    contributions = [log_p for log_p, _ in rdMolDescriptors._CalcCrippenContribs(whole)]
    for hydrogen in range(atoms, whole.GetNumAtoms()):
        (bond,) = whole.GetAtomWithIdx(hydrogen).GetBonds()
        contributions[bond.GetOtherAtomIdx(hydrogen)] += contributions[hydrogen]
    return contributions[:atoms]
