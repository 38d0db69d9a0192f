"""Many molecules as columns: what a block holds, what the reader yields, what a batch is made of.

m molecules, a atoms and b bonds and s, t tokens in all; nothing is padded.
    n_atoms (m,) n_bonds (m,)                      sizes
    atoms (a, 8) bonds (b, 4)                      the integers of `sharding.graph`
    ends (b, 2)                                    the two atoms of a bond, counted within its molecule
    n_smiles_tokens (m,) smiles_tokens (s,)        ids of the SMILES tokenizer
    n_text_tokens (m,) text_tokens (t,)            ids of the text tokenizer
    line (m,)                                      where the molecule stood in the input, from 1
Rows can be sliced, gathered and joined without a Python loop over molecules.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
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

    def __len__(self) -> int:
        return len(self.n_atoms)

    def take(self, rows: NDArray[np.integer]) -> "Molecules":
        """These molecules, in this order; rows (k,) may repeat."""
        gathers = {sizes: ragged(getattr(self, sizes), rows) for sizes in set(ROWS_OF.values())}
        columns = {}
        for field in fields(self):
            sizes = ROWS_OF.get(field.name)
            columns[field.name] = getattr(self, field.name)[gathers[sizes] if sizes else rows]
        return Molecules(**columns)

    def slice(self, start: int, stop: int) -> "Molecules":
        """Molecules start ... stop - 1, as views of the same memory."""
        columns = {}
        bounds = {
            sizes: (int(getattr(self, sizes)[:start].sum()), int(getattr(self, sizes)[:stop].sum()))
            for sizes in set(ROWS_OF.values())
        }
        for field in fields(self):
            sizes = ROWS_OF.get(field.name)
            first, last = bounds[sizes] if sizes else (start, stop)
            columns[field.name] = getattr(self, field.name)[first:last]
        return Molecules(**columns)


def concatenate(parts: Sequence[Molecules]) -> Molecules:
    """All molecules of the parts, in order. At least one part."""
    if len(parts) == 1:
        return parts[0]
    return Molecules(
        **{
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(Molecules)
        }
    )


def offsets(sizes: NDArray[np.integer]) -> NDArray[np.int64]:
    """(m,) sizes -> (m + 1,) where each molecule's rows begin; the last is their total."""
    ends = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=ends[1:])
    return ends


def ragged(sizes: NDArray[np.integer], rows: NDArray[np.integer]) -> NDArray[np.int64]:
    """Flat positions of what these rows own, row after row."""
    begin, taken = offsets(sizes)[rows], sizes[rows].astype(np.int64)
    done = offsets(taken)
    return np.repeat(begin - done[:-1], taken) + np.arange(done[-1])
