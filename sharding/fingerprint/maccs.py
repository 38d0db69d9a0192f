"""The public MACCS keys, bit by bit as RDKit's `GetMACCSKeysFingerprint` sets them.

    k molecules  ->  (k, 167) 0 or 1; keys count from 1, so bit 0 is never set

RDKit's own patterns (`rdkit.Chem.MACCSkeys.smartsPatts`), searched for together. A recursive pattern there is only
a list of alternatives, each of which is searched for as it is. Three keys are none of these: 1, which RDKit leaves
out, 125 (aromatic rings) and 166 (fragments).
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from rdkit import Chem
from rdkit.Chem.MACCSkeys import smartsPatts

from sharding.fingerprint.patterns import Patterns
from sharding.structure import TYPE, Graphs, Structures

WIDTH = 167
AROMATIC_RINGS, FRAGMENTS = 125, 166
COUNTED_BY_ATOM = 118
"""The one list of alternatives that must be there more than once, by its first atom: a chain, which is there from
either end, or else a ring of three, for which RDKit is asked."""


class _Keys(NamedTuple):
    """Searched together: `key` and `more_than` of each pattern."""

    patterns: Patterns
    key: NDArray[np.intp]
    more_than: NDArray[np.int64]


def maccs(structures: Structures) -> NDArray[np.uint8]:
    """The bits of each molecule."""
    keys, graphs = _keys(), structures.graphs
    bits = np.zeros((len(structures), WIDTH), np.uint8)
    present = keys.patterns.count(structures) > keys.more_than
    for key, column in zip(keys.key, present.T, strict=True):
        bits[:, key] |= column
    chain, ring = np.flatnonzero(keys.key == COUNTED_BY_ATOM)
    for unsure in np.flatnonzero(present[:, ring] & ~present[:, chain]):
        bits[unsure, COUNTED_BY_ATOM] = _is_counted_twice(structures.molecules[int(unsure)])
    bits[:, AROMATIC_RINGS] = _aromatic_rings(graphs) > 1
    bits[:, FRAGMENTS] = _fragments(graphs.atom_start, graphs.around_start, graphs.around) > 1
    return bits


@cache
def _keys() -> _Keys:
    rows = [
        (key, alternative, 0 if key == COUNTED_BY_ATOM else more_than)
        for key, (smarts, more_than) in smartsPatts.items()
        for alternative in _alternatives(smarts)
        if smarts != "?"
    ]
    keys, smarts, more_than = zip(*rows, strict=True)
    return _Keys(Patterns(smarts, [count + 1 for count in more_than]), np.array(keys), np.array(more_than))


def _alternatives(smarts: str) -> list[str]:
    """`[$(A),$(B)]` is A or B."""
    if smarts.startswith("[$("):
        return smarts.removeprefix("[$(").removesuffix(")]").split("),$(")
    return [smarts]


@cache
def _counted_by_atom() -> Chem.Mol:
    return Chem.MolFromSmarts(smartsPatts[COUNTED_BY_ATOM][0])


def _is_counted_twice(molecule: Chem.Mol) -> bool:
    return len(molecule.GetSubstructMatches(_counted_by_atom(), maxMatches=2)) > 1


def _aromatic_rings(graphs: Graphs) -> NDArray[np.int64]:
    """(k,) rings with aromatic bonds only."""
    plain = graphs.bonds[graphs.ring_bonds] >> TYPE & 255 != int(Chem.BondType.AROMATIC)
    plain_before = np.concatenate(([0], np.cumsum(plain)))
    aromatic = np.diff(plain_before[graphs.ring_atoms_start]) == 0
    return np.diff(np.concatenate(([0], np.cumsum(aromatic)))[graphs.ring_start])


@njit(cache=True, nogil=True)
def _fragments(atom_start, around_start, around):  # type: ignore[no-untyped-def]
    """(k,) parts that no bond joins."""
    counts = np.zeros(len(atom_start) - 1, np.int64)
    met = np.zeros(atom_start[-1], np.bool_)
    waiting = np.empty(atom_start[-1], np.int64)
    for molecule in range(len(counts)):
        for first in range(atom_start[molecule], atom_start[molecule + 1]):
            if met[first]:
                continue
            counts[molecule] += 1
            met[first], waiting[0], left = True, first, 1
            while left:
                left -= 1
                atom = waiting[left]
                for other in around[around_start[atom] : around_start[atom + 1]]:
                    if not met[other]:
                        met[other], waiting[left] = True, other
                        left += 1
    return counts
