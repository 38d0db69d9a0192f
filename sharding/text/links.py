"""What joins the ring systems of a molecule: an atom of both, a bond, or the chain of atoms between them.

    graphs of m molecules, the ring systems of every atom  ->  links as words of 16 bits, and what each holds

A link is `SPIRO`; or `DIRECT`; or `BRANCHED` and its number of atoms; or else `CHAIN` (`UNNAMED_CHAIN` if not all
of its bonds are single), its number of atoms, and for each from end to end the element, the number of double
bonds to what is outside the chain, and to which element those are.
"""

import numpy as np
from numba import njit

from sharding.structure import Graphs

SPIRO, DIRECT, CHAIN, UNNAMED_CHAIN, BRANCHED = range(5)
"""The first number of a link."""
MIXED = 255
"""In place of an element: double bonds to more than one."""


@njit(cache=True, nogil=True)
def find_links(graphs: Graphs, system_start, owners_start, owners):  # type: ignore[no-untyped-def]
    """What `Rings` says of links, of molecules with more than one ring system."""
    atoms, bonds, molecules = len(graphs.atoms), len(graphs.bonds), len(system_start) - 1
    words, ends = np.empty(6 * atoms + bonds, np.uint16), np.empty(len(owners) + 4 * bonds, np.int64)
    bounds = np.zeros((atoms + bonds + 1, 2), np.int64)  # of words and of ends
    link_start = np.zeros(molecules + 1, np.int64)
    between, inside, chain = np.zeros(atoms, np.bool_), np.zeros(atoms, np.bool_), np.empty(atoms, np.int64)
    n = 0
    for k in range(molecules):
        if system_start[k + 1] - system_start[k] > 1:
            first, last = graphs.atom_start[k], graphs.atom_start[k + 1]
            for atom in range(first, last):
                if owners_start[atom + 1] - owners_start[atom] > 1:
                    word, end = bounds[n, 0], bounds[n, 1]
                    words[word] = SPIRO
                    for place in range(owners_start[atom], owners_start[atom + 1]):
                        ends[end] = owners[place]
                        end += 1
                    n += 1
                    bounds[n, 0], bounds[n, 1] = word + 1, end
            for bond in range(graphs.bond_start[k], graphs.bond_start[k + 1]):
                if not graphs.in_ring[bond] and _are_apart(graphs.ends, bond, owners_start, owners):
                    word, end = bounds[n, 0], bounds[n, 1]
                    words[word] = DIRECT
                    for side in range(2):
                        ends[end + side] = owners[owners_start[graphs.ends[bond, side]]]
                    n += 1
                    bounds[n, 0], bounds[n, 1] = word + 1, end + 2
            _prune(graphs, between, first, last)
            for atom in range(first, last):
                if between[atom]:
                    word, end = bounds[n, 0], bounds[n, 1]
                    size = _collect(graphs, between, inside, chain, atom)
                    touching, end = _touch(graphs, chain, size, owners_start, owners, ends, end)
                    words[word + 1] = size
                    if end - bounds[n, 1] == 2:
                        word = _spell_chain(graphs, inside, touching, size, words, word)
                    else:
                        words[word] = BRANCHED
                        word += 2
                    n += 1
                    bounds[n, 0], bounds[n, 1] = word, end
        link_start[k + 1] = n
    return link_start, words[: bounds[n, 0]], bounds[: n + 1, 0], ends, bounds[: n + 1, 1]


@njit(cache=True, nogil=True)
def _are_apart(ends, bond, owners_start, owners):  # type: ignore[no-untyped-def]
    """Whether both atoms of a bond are in ring systems, and in no common one."""
    one, other = ends[bond, 0], ends[bond, 1]
    for place in range(owners_start[one], owners_start[one + 1]):
        for index in range(owners_start[other], owners_start[other + 1]):
            if owners[place] == owners[index]:
                return False
    return owners_start[one] < owners_start[one + 1] and owners_start[other] < owners_start[other + 1]


@njit(cache=True, nogil=True)
def _prune(graphs: Graphs, between, first, last):  # type: ignore[no-untyped-def]
    """Mark the atoms between ring systems: outside rings, and left after taking the ends away in turn."""
    around_start, around = graphs.around_start, graphs.around
    degree = np.empty(last - first, np.int64)
    leaves, n = np.empty(last - first, np.int64), 0
    for atom in range(first, last):
        between[atom] = graphs.ring_bits[atom] == 0
        degree[atom - first] = around_start[atom + 1] - around_start[atom]
        if between[atom] and degree[atom - first] < 2:
            leaves[n] = atom
            n += 1
    while n:
        n -= 1
        between[leaves[n]] = False
        leaf = leaves[n]
        for place in range(around_start[leaf], around_start[leaf + 1]):
            other = around[place]
            if between[other]:
                degree[other - first] -= 1
                if degree[other - first] == 1:
                    leaves[n] = other
                    n += 1


@njit(cache=True, nogil=True)
def _collect(graphs: Graphs, between, inside, chain, atom):  # type: ignore[no-untyped-def]
    """Move all that hangs together with this atom from `between` to `inside`; how many are in the chain."""
    chain[0], size, done = atom, 1, 0
    between[atom], inside[atom] = False, True
    while done < size:
        for place in range(graphs.around_start[chain[done]], graphs.around_start[chain[done] + 1]):
            other = graphs.around[place]
            if between[other]:
                between[other], inside[other] = False, True
                chain[size] = other
                size += 1
        done += 1
    return size


@njit(cache=True, nogil=True)
def _touch(graphs: Graphs, chain, size, owners_start, owners, ends, end):  # type: ignore[no-untyped-def]
    """The ring systems beside a chain join `ends`; also an atom of the chain that touches one."""
    touching = chain[0]
    for index in range(size):
        atom = chain[index]
        for place in range(graphs.around_start[atom], graphs.around_start[atom + 1]):
            other = graphs.around[place]
            if owners_start[other] < owners_start[other + 1]:
                touching = atom
                ends[end] = owners[owners_start[other]]
                end += 1
    return touching, end


@njit(cache=True, nogil=True)
def _spell_chain(graphs: Graphs, inside, atom, size, words, begin):  # type: ignore[no-untyped-def]
    """From one end to the other: each atom, how many double bonds it has to what is outside, and to what."""
    single, previous, end = True, -1, begin + 2
    for _ in range(size):
        doubles = outer = 0
        following = -1
        for place in range(graphs.around_start[atom], graphs.around_start[atom + 1]):
            other, order = graphs.around[place], graphs.orders[graphs.around_bonds[place]]
            if inside[other]:
                if other != previous:
                    following = other
                    single &= order == 2
            elif order == 4:
                number = graphs.atoms[other] & 255
                outer = number if doubles == 0 or outer == number else MIXED
                doubles += 1
        words[end], words[end + 1], words[end + 2] = graphs.atoms[atom] & 255, doubles, outer
        end += 3
        previous, atom = atom, following
    words[begin] = CHAIN if single else UNNAMED_CHAIN
    return end
