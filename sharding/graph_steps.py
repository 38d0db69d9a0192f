"""Molecular graphs as steps: an atom, the bond to an earlier one and how far back that is, as one number.

    Molecules  <->  the arrays of `graph.npz`, see `sharding.block`
Canonical SMILES order makes atom and bond go together: a block of 4,096 drugs has about a thousand distinct
steps, 255 of which are nearly all. Any graph can be kept: a bond is a step's when it and those before it lead
to later and later atoms, and the others are listed.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sharding.archive import BrokenBlock
from sharding.columns import Molecules, offsets

COMMON = 255
"""Steps that are one byte; this byte itself says: a rarer one."""
BOND = 4
"""Integers of a bond."""
DIMENSIONS = dict.fromkeys(("n_atoms", "n_rings", "step", "rare"), 1) | dict.fromkeys(
    ("step_table", "rings", "atom_table", "bond_table", "line"), 2
)
MOST = 65535
"""Atoms or bonds of a molecule."""


def pack(molecules: Molecules) -> dict[str, NDArray[np.integer]]:
    """Arrays by name, in types as wide as they come."""
    atom_table, atom = _distinct(molecules.atoms, np.int64)
    bond_table, bond = _distinct(molecules.bonds, np.int32)
    bond_table = (
        bond_table if len(bond_table) else np.zeros((1, BOND), np.int8)
    )  # atoms without bonds name row 0
    ends = np.ascontiguousarray(molecules.ends, np.int64)
    by, back, n_rings, rings = _tree(offsets(molecules.n_atoms), offsets(molecules.n_bonds), ends, bond)
    kinds = len(bond_table)
    codes, index, times = np.unique((atom * kinds + by) << 16 | back, return_inverse=True, return_counts=True)
    by_rank = np.argsort(-times, kind="stable")
    rank = np.empty(len(codes), np.int64)
    rank[by_rank] = np.arange(len(codes))
    step, codes = rank[index], codes[by_rank]
    return {
        "n_atoms": molecules.n_atoms,
        "n_rings": n_rings,
        "step": np.minimum(step, COMMON),
        "rare": step[step >= COMMON],
        "step_table": np.stack([(codes >> 16) // kinds, (codes >> 16) % kinds, codes & MOST]),
        "rings": np.stack([ends[rings, 0], ends[rings, 1], bond[rings]]),
        "atom_table": atom_table,
        "bond_table": bond_table,
        "line": _planes(molecules.line),
    }


def unpack(arrays: Mapping[str, NDArray[Any]], rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """The graph's columns of these rows. Raises `BrokenBlock` for arrays that are no graphs."""
    if any(arrays[name].ndim != dimensions for name, dimensions in DIMENSIONS.items()):
        raise BrokenBlock("arrays of other shapes than a graph's")
    n_atoms, n_rings = arrays["n_atoms"].astype(np.int64), arrays["n_rings"].astype(np.int64)
    step, rare, line = arrays["step"].astype(np.uint8), arrays["rare"].astype(np.int64), arrays["line"]
    atom, bond, back = arrays["step_table"].astype(np.int64)
    first, second, beyond = arrays["rings"].astype(np.int64)
    atom_table, bond_table = _values(arrays["atom_table"], np.int64), _values(arrays["bond_table"], np.int32)
    if (
        min(array.min(initial=0) for array in (n_atoms, n_rings, rare, back, first, second)) < 0
        or max(n_atoms.max(initial=0), n_rings.max(initial=0), back.max(initial=0)) > MOST
        or (n_atoms.sum(), n_rings.sum()) != (len(step), len(first))
        or (line.dtype, line.shape[1], len(n_rings)) != (np.uint8, len(n_atoms), len(n_atoms))
    ):
        raise BrokenBlock("sizes of graphs that do not fit together")
    n_bonds = np.empty(len(n_atoms), np.int64)
    steps = _resolve(step, rare, back, n_atoms, n_rings, n_bonds, np.maximum(first, second))
    if steps is None or n_bonds.max(initial=0) > MOST:
        raise BrokenBlock("steps or bonds to what is not there")
    sizes = n_atoms[rows], n_bonds[rows]
    atoms, bonds = np.empty(sizes[0].sum(), np.int64), np.empty(sizes[1].sum(), np.int32)
    ends = np.empty((len(bonds), 2), np.uint16)
    table, rings = (atom_table[atom], bond_table[bond], back), (first, second, bond_table[beyond])
    _expand(rows, offsets(n_atoms), offsets(n_rings), steps, table, rings, atoms, bonds, ends)
    return {
        "n_atoms": sizes[0].astype(np.uint16),
        "n_bonds": sizes[1].astype(np.uint16),
        "atoms": atoms.view(np.int8).reshape(-1, atoms.itemsize),
        "bonds": bonds.view(np.int8).reshape(-1, bonds.itemsize),
        "ends": ends,
        "line": _joined(line)[rows],
    }


def _distinct(values: NDArray[np.integer], kind: Any) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """The distinct rows of 8-bit integers, and which of them each row is."""
    whole: NDArray[Any] = np.ascontiguousarray(values, np.int8).view(kind).ravel()
    table, index = np.unique(whole, return_inverse=True)
    return table.view(np.int8).reshape(-1, table.itemsize), index.ravel().astype(np.int64)


def _values(table: NDArray[Any], kind: Any) -> NDArray[Any]:
    """`_distinct`'s table with a row as one number."""
    if table.dtype != np.int8 or table.shape[1:] != (np.dtype(kind).itemsize,):
        raise BrokenBlock("a table of atoms or bonds that is none")
    return np.ascontiguousarray(table).view(kind).ravel()


def _planes(line: NDArray[np.integer]) -> NDArray[np.uint8]:
    """(m,) -> (p, m): bytes, lowest first; the high ones are nearly constant."""
    if line.min(initial=0) < 0:
        raise ValueError("a line below 0")
    count = max(1, -(-int(line.max(initial=0)).bit_length() // 8))
    return np.stack([(line.astype(np.int64) >> 8 * place).astype(np.uint8) for place in range(count)])


def _joined(planes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The numbers of `_planes`."""
    line = np.zeros(planes.shape[1], np.int64)
    for place, plane in enumerate(planes):
        line |= plane.astype(np.int64) << 8 * place
    return line


@njit(cache=True, nogil=True)
def _tree(atoms, bonds, ends, bond):  # type: ignore[no-untyped-def]
    """By atom: bond and distance to the one before; by molecule: bonds left; and which these are."""
    by, back = np.zeros(atoms[-1], np.int64), np.zeros(atoms[-1], np.int64)
    n_rings, rings = np.zeros(len(atoms) - 1, np.int64), np.empty(bonds[-1], np.int64)
    count = 0
    for row in range(len(n_rings)):
        last, place = 0, bonds[row]
        while place < bonds[row + 1] and ends[place, 0] < ends[place, 1] and ends[place, 1] > last:
            last = ends[place, 1]
            by[atoms[row] + last], back[atoms[row] + last] = bond[place], last - ends[place, 0]
            place += 1
        n_rings[row] = bonds[row + 1] - place
        for other in range(place, bonds[row + 1]):
            rings[count] = other
            count += 1
    return by, back, n_rings, rings[:count]


@njit(cache=True, nogil=True)
def _resolve(step, rare, back, n_atoms, n_rings, n_bonds, upper):  # type: ignore[no-untyped-def]
    """Each atom's row of the table, and n_bonds filled; None when anything points outside."""
    steps = np.empty(len(step), np.int32)
    at, ring, rarer = 0, 0, 0
    for row in range(len(n_atoms)):
        n_bonds[row] = n_rings[row]
        for atom in range(n_atoms[row]):
            chosen = np.int64(step[at])
            if chosen == COMMON:
                if rarer == len(rare):
                    return None
                chosen = rare[rarer]
                rarer += 1
            if chosen >= len(back) or back[chosen] > atom:
                return None
            n_bonds[row] += back[chosen] > 0
            steps[at] = chosen
            at += 1
        for _ in range(n_rings[row]):
            if upper[ring] >= n_atoms[row]:
                return None
            ring += 1
    return steps if rarer == len(rare) else None


@njit(cache=True, nogil=True)
def _expand(rows, atom_begins, ring_begins, steps, table, rings, atoms, bonds, ends):  # type: ignore[no-untyped-def]
    """Fill atoms, bonds and ends of these rows."""
    atom, bond, back = table
    first, second, beyond = rings
    at, place = 0, 0
    for row in rows:
        begin = atom_begins[row]
        for index in range(atom_begins[row + 1] - begin):
            step = steps[begin + index]
            atoms[at] = atom[step]
            at += 1
            if back[step]:
                bonds[place] = bond[step]
                ends[place, 0], ends[place, 1] = index - back[step], index
                place += 1
        for ring in range(ring_begins[row], ring_begins[row + 1]):
            bonds[place] = beyond[ring]
            ends[place, 0], ends[place, 1] = first[ring], second[ring]
            place += 1
