"""All patterns of a tree in many molecules: depth first, in machine code.

    tree of n patterns, k molecules  ->  (k, n) places found of each pattern, up to `wanted`

A step whose patterns have all been found is not taken again, so what is common is found early and costs nothing
afterwards, and what is rare is looked for where its rare atom is.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

LABEL, SOURCE, RING, RING_LABEL, CHILD, SIBLING, PARENT, COMPLETE, BELOW, FIELDS = range(10)
"""Columns of a tree, one row a step; row 0 is the root, which is no step.

    label       what must hold of the edge that is taken; of a first step, what must hold of the atom
    source      from which atom of the pattern the edge leaves
    ring        an atom of the pattern that the new one must be joined to as well, or -1
    ring_label  what must hold of that edge
    child       the first step that follows, or -1
    sibling     the next step that follows the same one, or -1
    parent      the one that this step follows
    complete    the pattern that is complete with this step, or -1
    below       how many patterns are completed by this step and those after it
"""

PATH, STEP, EDGE = range(3)
"""Rows of the stack: by depth, the atom taken, the step to try next, and the edge to try next (-1: the first)."""


@njit(cache=True, nogil=True)
def find(
    tree: NDArray[np.int32],
    longest: int,
    wanted: NDArray[np.int32],
    starts: tuple[NDArray[np.int64], NDArray[np.int64]],
    around: NDArray[np.int32],
    atom_holds: NDArray[np.uint8],
    edge_holds: NDArray[np.uint8],
) -> NDArray[np.uint8]:
    """`starts` and `around` are `atom_start`, `around_start` and `around` of `structure.Graphs`; an edge is one way
    along a bond, in the order of `around`. The last two say which labels hold for which atom and edge."""
    atom_start, around_start = starts
    counts = np.zeros((len(atom_start) - 1, len(wanted)), np.uint8)
    places = np.empty((len(wanted), wanted.max(), longest), np.int32)
    stack = np.empty((3, longest + 1), np.int32)
    used = np.zeros(atom_start[-1], np.bool_)
    for molecule in range(len(counts)):
        open_, count = tree[:, BELOW].copy(), counts[molecule]
        first = tree[0, CHILD]
        while first >= 0:
            for atom in range(atom_start[molecule], atom_start[molecule + 1]):
                if open_[first] == 0:
                    break
                if atom_holds[atom, tree[first, LABEL]]:
                    stack[PATH, 0] = atom
                    used[atom] = True
                    _arrive(tree, first, stack, 0, wanted, places, count, open_)
                    _follow(
                        tree,
                        first,
                        stack,
                        around_start,
                        around,
                        edge_holds,
                        used,
                        wanted,
                        places,
                        count,
                        open_,
                    )
                    used[atom] = False
            first = tree[first, SIBLING]
    return counts


@njit(cache=True, nogil=True)
def _follow(tree, first, stack, around_start, around, edge_holds, used, wanted, places, count, open_):  # type: ignore[no-untyped-def]
    """Everything that comes after this first step, whose atom has been taken."""
    depth = 1
    stack[STEP, 1], stack[EDGE, 1] = tree[first, CHILD], -1
    while depth > 0:
        step = stack[STEP, depth]
        if step < 0:
            depth -= 1
            if depth > 0:
                used[stack[PATH, depth]] = False
            continue
        found = -1
        if open_[step]:
            found = _next(tree, step, stack, depth, around_start, around, edge_holds, used)
        if found < 0:
            stack[STEP, depth], stack[EDGE, depth] = tree[step, SIBLING], -1
            continue
        stack[PATH, depth], stack[EDGE, depth] = around[found], found + 1
        _arrive(tree, step, stack, depth, wanted, places, count, open_)
        if tree[step, CHILD] >= 0:
            used[around[found]] = True
            depth += 1
            stack[STEP, depth], stack[EDGE, depth] = tree[step, CHILD], -1


@njit(cache=True, nogil=True)
def _next(tree, step, stack, depth, around_start, around, edge_holds, used):  # type: ignore[no-untyped-def]
    """The next edge that this step may take, or -1."""
    source, label, ring = stack[PATH, tree[step, SOURCE]], tree[step, LABEL], tree[step, RING]
    begin = stack[EDGE, depth]
    for edge in range(around_start[source] if begin < 0 else begin, around_start[source + 1]):
        if edge_holds[edge, label] and not used[around[edge]]:
            if ring < 0:
                return edge
            for back in range(around_start[around[edge]], around_start[around[edge] + 1]):
                if around[back] == stack[PATH, ring] and edge_holds[back, tree[step, RING_LABEL]]:
                    return edge
    return -1


@njit(cache=True, nogil=True)
def _arrive(tree, step, stack, depth, wanted, places, count, open_):  # type: ignore[no-untyped-def]
    """Count the pattern that is complete here, if one is and it was not found at these atoms before."""
    pattern = tree[step, COMPLETE]
    if pattern < 0 or count[pattern] == wanted[pattern]:
        return
    if wanted[pattern] > 1:
        path = stack[PATH, : depth + 1]
        for place in places[pattern, : count[pattern], : depth + 1]:
            common = 0
            for atom in path:
                for other in place:
                    common += atom == other
            if common == depth + 1:
                return
        places[pattern, count[pattern], : depth + 1] = path
    count[pattern] += 1
    if count[pattern] == wanted[pattern]:
        while step >= 0:
            open_[step] -= 1
            step = tree[step, PARENT]
