"""Ring systems and what joins them, found in many molecules at once.

    Structures of m molecules  ->  Rings: ring systems and links as byte strings, equal ones equal

Rings that share a bond are one system; a spiro atom belongs to two. A link is such an atom, a bond between
two systems, or the chain of atoms between them. A system's bytes hold its atoms and bonds as they were met,
not in a canonical order: equal bytes are equal systems, so that a table of names may go by them, and a common
system takes a few dozen entries, one for each numbering.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sharding.structure import Graphs, Structures
from sharding.text.links import find_links


class Rings(NamedTuple):
    """Of molecule k: systems system_start[k] ... and links link_start[k] ..."""

    system_start: list[int]
    systems: list[bytes]
    link_start: list[int]
    links: list[bytes]
    """What it is, without its ends"""
    ends: list[list[int]]
    """The systems that it holds together, by number in `systems`"""


def find_rings(structures: Structures) -> Rings:
    """All of them."""
    graphs = structures.graphs
    labels, system_start = _label_systems(graphs)
    words, bounds = _spell_systems(graphs, labels, system_start)
    owners = _own(graphs, labels, system_start)
    link_start, link_words, link_bounds, ends, end_bounds = find_links(graphs, system_start, *owners)
    held = ends.tolist()
    return Rings(
        system_start.tolist(),
        _pieces(words, bounds),
        link_start.tolist(),
        _pieces(link_words, link_bounds),
        [held[first:last] for first, last in pairwise(end_bounds.tolist())],
    )


def _pieces(words: NDArray[np.uint16], bounds: NDArray[np.int64]) -> list[bytes]:
    joined = words.tobytes()
    return [joined[first:last] for first, last in pairwise((2 * bounds).tolist())]


@njit(cache=True, nogil=True)
def _label_systems(graphs: Graphs):  # type: ignore[no-untyped-def]
    """The system of every ring, in the order of their first rings; and where each molecule's begin."""
    start, members, ring_bonds = graphs.ring_start, graphs.ring_atoms_start, graphs.ring_bonds
    labels = np.empty(start[-1], np.int64)
    system_start = np.zeros(len(start), np.int64)
    holder = np.full(len(graphs.bonds), -1, np.int64)  # the first ring with this bond
    for k in range(len(start) - 1):
        for ring in range(start[k], start[k + 1]):
            labels[ring] = ring
            for place in range(members[ring], members[ring + 1]):
                bond = ring_bonds[place]
                if holder[bond] < 0:
                    holder[bond] = ring
                old, new = labels[holder[bond]], labels[ring]
                if old != new:
                    for other in range(start[k], ring + 1):
                        if labels[other] == max(old, new):
                            labels[other] = min(old, new)
        systems = system_start[k]
        for ring in range(start[k], start[k + 1]):
            if labels[ring] == ring:  # a label is that of the system's first ring
                labels[ring] = systems
                systems += 1
            else:
                labels[ring] = labels[labels[ring]]
        system_start[k + 1] = systems
    return labels, system_start


@njit(cache=True, nogil=True)
def _own(graphs: Graphs, labels, system_start):  # type: ignore[no-untyped-def]
    """The systems of every atom, ascending: atom i has owners[start[i] : start[i + 1]]."""
    start, members, ring_atoms = graphs.ring_start, graphs.ring_atoms_start, graphs.ring_atoms
    last_owner = np.full(len(graphs.atoms), -1, np.int64)
    pairs, found = np.empty((len(ring_atoms), 2), np.int64), 0
    owners_start = np.zeros(len(graphs.atoms) + 1, np.int64)
    for k in range(len(start) - 1):
        for system in range(system_start[k], system_start[k + 1]):
            for ring in range(start[k], start[k + 1]):
                if labels[ring] != system:
                    continue
                for place in range(members[ring], members[ring + 1]):
                    atom = ring_atoms[place]
                    if last_owner[atom] != system:
                        last_owner[atom] = system
                        owners_start[atom + 1] += 1
                        pairs[found, 0], pairs[found, 1] = atom, system
                        found += 1
    for atom in range(len(graphs.atoms)):
        owners_start[atom + 1] += owners_start[atom]
    owners, filled = np.empty(found, np.int64), owners_start[:-1].copy()
    for row in range(found):
        owners[filled[pairs[row, 0]]] = pairs[row, 1]
        filled[pairs[row, 0]] += 1
    return owners_start, owners


@njit(cache=True, nogil=True)
def _sort(values, first, last):  # type: ignore[no-untyped-def]
    """A few values in place; numpy's sort takes seconds to compile."""
    for place in range(first + 1, last):
        value = values[place]
        while place > first and values[place - 1] > value:
            values[place] = values[place - 1]
            place -= 1
        values[place] = value


@njit(cache=True, nogil=True)
def _spell_systems(graphs: Graphs, labels, system_start):  # type: ignore[no-untyped-def]
    """Of each system: ring atoms, atoms, bonds, substituted places; elements; bonds; ring sizes."""
    start, members, ring_atoms = graphs.ring_start, graphs.ring_atoms_start, graphs.ring_atoms
    most = 4 * system_start[-1] + len(labels) + 9 * len(ring_atoms) + 8 * len(graphs.bonds)
    words, bounds = np.empty(most, np.uint16), np.zeros(system_start[-1] + 1, np.int64)
    place_of, atoms = np.full(len(graphs.atoms), -1, np.int64), np.empty(len(ring_atoms), np.int64)
    for k in range(len(start) - 1):
        for system in range(system_start[k], system_start[k + 1]):
            rings = n = 0
            for ring in range(start[k], start[k + 1]):
                if labels[ring] == system:
                    rings += 1
                    for place in range(members[ring], members[ring + 1]):
                        if place_of[ring_atoms[place]] < 0:
                            atoms[n] = ring_atoms[place]
                            place_of[ring_atoms[place]] = n
                            n += 1
            if rings > 1:  # the order of one ring's atoms is left: it has fewer numberings
                _sort(atoms, 0, n)
                for place in range(n):
                    place_of[atoms[place]] = place
            end = _spell(graphs, atoms[:n], place_of, words, bounds[system], rings == 1 and n == 6)
            first_size = end
            for ring in range(start[k], start[k + 1]):
                if labels[ring] == system:
                    words[end] = members[ring + 1] - members[ring]
                    end += 1
            _sort(words, first_size, end)
            bounds[system + 1] = end
            for place in range(n):
                place_of[atoms[place]] = -1
    return words[: bounds[-1]], bounds


@njit(cache=True, nogil=True)
def _spell(graphs: Graphs, atoms, place_of, words, begin, may_be_benzene):  # type: ignore[no-untyped-def]
    """One system but for its ring sizes; returns where it ends."""
    kinds, ring_bits, orders = graphs.atoms, graphs.ring_bits, graphs.orders
    around_start, around, around_bonds = graphs.around_start, graphs.around, graphs.around_bonds
    n, end, substituted = len(atoms), begin + 4 + len(atoms), 0
    for place in range(n):
        words[begin + 4 + place] = kinds[atoms[place]] & 255
        may_be_benzene &= kinds[atoms[place]] & 255 == 6
    for place in range(n):  # what hangs on the rings by double bonds
        for index in range(around_start[atoms[place]], around_start[atoms[place] + 1]):
            other = around[index]
            if orders[around_bonds[index]] == 4 and not ring_bits[other]:
                words[end] = kinds[other] & 255
                end += 1
            if place_of[other] < 0 and kinds[other] & 255 != 1 and may_be_benzene:
                substituted |= 1 << place
    outer, bonds = begin + 4 + n, end
    for place in range(n):
        for index in range(around_start[atoms[place]], around_start[atoms[place] + 1]):
            other, order = around[index], orders[around_bonds[index]]
            if place_of[other] > place:
                words[end], words[end + 1], words[end + 2] = place, place_of[other], order
                end += 3
                may_be_benzene &= order == 3
            elif order == 4 and not ring_bits[other]:
                words[end], words[end + 1], words[end + 2] = place, outer - begin - 4, order
                outer += 1
                end += 3
    words[begin], words[begin + 1], words[begin + 2] = n, bonds - begin - 4, (end - bonds) // 3
    words[begin + 3] = substituted if may_be_benzene else 0
    return end
