"""Which molecules are the same: 64 bits of what names them.

    k canonical SMILES, a line each  ->  (k,) int64: equal for equal molecules
    k molecules                      ->  (k,) int64: equal for equal connectivity

The skeleton is the first block of the standard InChIKey (14 letters): stereo, isotopes and protonation are
left out of it, and tautomers that InChI knows are one. A molecule without an InChI is the same as itself only.
The hash is FNV-1a (Fowler, Noll, Vo; RFC 9923): of a thousand million names, one pair collides with a
probability of 3 %, and would only not be compared with each other.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sharding.archive import BrokenBlock

if TYPE_CHECKING:  # who only reads shards needs no RDKit
    from rdkit import Chem

BASIS, PRIME = 0xCBF29CE484222325, 0x100000001B3
LINE_FEED = 10
SKELETON = 14
"""Letters of an InChIKey's first block."""


def hash_lines(lines: bytes, rows: int) -> NDArray[np.int64]:
    """The hash of each line. Raises `BrokenBlock` when there are not so many."""
    hashes = np.empty(rows, np.uint64)
    if not _hash(np.frombuffer(lines, np.uint8), hashes):
        raise BrokenBlock(f"names of other molecules than the block's {rows:,}")
    return hashes.view(np.int64)


def hash_names(names: Sequence[str]) -> NDArray[np.int64]:
    """The hash of each name; none holds a line feed."""
    return hash_lines("".join(f"{name}\n" for name in names).encode(), len(names))


def skeletons(molecules: "Sequence[Chem.Mol]", smiles: Sequence[str]) -> NDArray[np.int64]:
    """The hash of each molecule's skeleton, or of its canonical SMILES where InChI has no name for it."""
    from rdkit import Chem

    keys = [Chem.MolToInchiKey(molecule)[:SKELETON] for molecule in molecules]
    return hash_names([key or own for key, own in zip(keys, smiles, strict=True)])


@njit(cache=True, nogil=True)
def _hash(lines, hashes):  # type: ignore[no-untyped-def]
    """Fill the hashes; False, and nothing written out of bounds, when the lines are not as many."""
    row, hashed = 0, np.uint64(BASIS)
    for byte in lines:
        if byte != LINE_FEED:
            hashed = (hashed ^ np.uint64(byte)) * np.uint64(PRIME)
            continue
        if row == len(hashes):
            return False
        hashes[row] = hashed
        row, hashed = row + 1, np.uint64(BASIS)
    return row == len(hashes)
