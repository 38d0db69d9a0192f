"""What belongs to the whole molecule: its components, the geometry of double bonds, the longest carbon chain.

Structures of m molecules  ->  Skeletons, m of each
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from rdkit import Chem

from sharding.structure import STEREO, Graphs, Ints, Structures

STEREO_E, STEREO_Z = int(Chem.BondStereo.STEREOE), int(Chem.BondStereo.STEREOZ)


class Skeletons(NamedTuple):
    """Of every molecule (m,)."""

    components: Ints
    e_bonds: Ints
    z_bonds: Ints
    longest: Ints
    """Carbons in the longest chain of a molecule without rings; 0 without carbon. Of others, nothing."""
    branches: Ints
    """Likewise the atoms with more than two heavy neighbours"""


def find_skeletons(structures: Structures) -> Skeletons:
    """Of all molecules."""
    return Skeletons(*_find(structures.graphs).T)


@njit(cache=True, nogil=True)
def _find(graphs: Graphs):  # type: ignore[no-untyped-def]
    """`Skeletons` as columns."""
    molecules = len(graphs.atom_start) - 1
    found, distance = np.zeros((molecules, 5), np.int64), np.full(len(graphs.atoms), -1, np.int64)
    queue = np.empty(len(graphs.atoms), np.int64)
    for k in range(molecules):
        first, last = graphs.atom_start[k], graphs.atom_start[k + 1]
        for atom in range(first, last):
            if distance[atom] < 0:
                found[k, 0] += 1
                _walk(graphs, atom, False, distance, queue)
        for bond in range(graphs.bond_start[k], graphs.bond_start[k + 1]):
            stereo = graphs.bonds[bond] >> STEREO & 255
            found[k, 1] += stereo == STEREO_E
            found[k, 2] += stereo == STEREO_Z
        if graphs.ring_start[k] < graphs.ring_start[k + 1]:
            continue
        for atom in range(first, last):
            distance[atom] = -1
        for atom in range(first, last):
            heavy = 0
            for place in range(graphs.around_start[atom], graphs.around_start[atom + 1]):
                heavy += graphs.atoms[graphs.around[place]] & 255 != 1
            found[k, 4] += heavy > 2
            if graphs.atoms[atom] & 255 == 6 and distance[atom] < 0:
                # in a tree, two walks give the diameter
                reached = _walk(graphs, atom, True, distance, queue)
                farthest = queue[reached - 1]
                for place in range(reached):
                    distance[queue[place]] = -1
                reached = _walk(graphs, farthest, True, distance, queue)
                found[k, 3] = max(found[k, 3], 1 + distance[queue[reached - 1]])
    return found


@njit(cache=True, nogil=True)
def _walk(graphs: Graphs, start, only_carbon, distance, queue):  # type: ignore[no-untyped-def]
    """Breadth first: the bonds from `start` to each atom in reach, all of which are queued; how many they are."""
    distance[start], queue[0], reached, done = 0, start, 1, 0
    while done < reached:
        atom = queue[done]
        done += 1
        for place in range(graphs.around_start[atom], graphs.around_start[atom + 1]):
            other = graphs.around[place]
            if distance[other] < 0 and not (only_carbon and graphs.atoms[other] & 255 != 6):
                distance[other] = distance[atom] + 1
                queue[reached] = other
                reached += 1
    return reached
