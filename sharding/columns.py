"""Many molecules as columns: what a block holds, what the reader yields, what a batch is made of.

m molecules, a atoms and b bonds and s, t tokens in all; nothing is padded.
    n_atoms (m,) n_bonds (m,)                      sizes
    atoms (a, 8) bonds (b, 4)                      the integers of `sharding.feature_table`
    ends (b, 2)                                    the two atoms of a bond, counted within its molecule
    n_smiles_tokens (m,) smiles_tokens (s,)        ids of the SMILES tokenizer
    n_text_tokens (m,) text_tokens (t,)            ids of the text tokenizer
    line (m,)                                      where the molecule stood in the input, from 1
    ids (m,)                                       equal ones are the same molecule, see `sharding.identity`
Rows can be cut, gathered and joined without a Python loop over molecules.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

ROWS_OF = {  # column -> the column that says how many rows of it each molecule has
    "atoms": "n_atoms",
    "bonds": "n_bonds",
    "ends": "n_bonds",
    "smiles_tokens": "n_smiles_tokens",
    "text_tokens": "n_text_tokens",
}


@dataclass(frozen=True, slots=True, eq=False)
class Molecules:
    """Columns of molecules. Shapes as in the module's head; integers of any width."""

    n_atoms: NDArray[np.integer]
    n_bonds: NDArray[np.integer]
    atoms: NDArray[np.integer]
    bonds: NDArray[np.integer]
    ends: NDArray[np.integer]
    n_smiles_tokens: NDArray[np.integer]
    smiles_tokens: NDArray[np.integer]
    n_text_tokens: NDArray[np.integer]
    text_tokens: NDArray[np.integer]
    line: NDArray[np.integer]
    ids: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.n_atoms)

    def take(self, rows: NDArray[np.integer]) -> "Molecules":
        """These molecules, in this order; rows (k,) may repeat."""
        columns = {name: getattr(self, name)[rows] for name in NAMES if name not in ROWS_OF}
        for name, sizes in ROWS_OF.items():
            columns[name] = gather(getattr(self, name), getattr(self, sizes), rows)
        return Molecules(**columns)

    def slice(self, start: int, stop: int) -> "Molecules":
        """Molecules start ... stop - 1, as views of the same memory."""
        return self.cut([start, stop])[0]

    def cut(self, bounds: Sequence[int]) -> "list[Molecules]":
        """The molecules between each bound and the next, as views of the same memory."""
        places = {name: offsets(getattr(self, name))[bounds].tolist() for name in set(ROWS_OF.values())}
        parts = []
        for name in NAMES:
            column, at = getattr(self, name), places[ROWS_OF[name]] if name in ROWS_OF else bounds
            parts.append([column[first:last] for first, last in itertools.pairwise(at)])
        return [Molecules(*columns) for columns in zip(*parts, strict=True)]


NAMES = Molecules.__slots__


def concatenate(parts: Sequence[Molecules]) -> Molecules:
    """All molecules of the parts, in order. At least one part."""
    if len(parts) == 1:
        return parts[0]
    return Molecules(*(np.concatenate([getattr(part, name) for part in parts]) for name in NAMES))


def offsets(sizes: NDArray[np.integer]) -> NDArray[np.int64]:
    """(m,) sizes -> (m + 1,) where each molecule's rows begin; the last is their total."""
    ends = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=ends[1:])
    return ends


def gather(
    column: NDArray[np.integer], sizes: NDArray[np.integer], rows: NDArray[np.integer]
) -> NDArray[np.integer]:
    """What these molecules own of a column, one after the other."""
    begins, lengths = offsets(sizes)[rows], sizes[rows].astype(np.int64)
    taken = np.empty((int(lengths.sum()), *column.shape[1:]), column.dtype)
    _copy(_items(column), begins, lengths, _items(taken))
    return taken


def _items(column: NDArray[np.integer]) -> NDArray[np.unsignedinteger]:
    """(k, ...) -> (k,) of as many bytes a row: moved as a whole, so one kernel serves every column."""
    width = column.dtype.itemsize * math.prod(column.shape[1:])
    return np.ascontiguousarray(column).reshape(-1).view(f"u{width}")


@njit(cache=True, nogil=True)
def _copy(source, begins, lengths, target):  # type: ignore[no-untyped-def]
    at = 0
    for row in range(len(begins)):
        begin = begins[row]
        for place in range(lengths[row]):
            target[at + place] = source[begin + place]
        at += lengths[row]
