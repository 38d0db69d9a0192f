"""A block: a few thousand molecules as the members of a WebDataset sample, and back.

    Molecules, SMILES, texts  <->  {"graph.npz", "tok.npz", "smiles.txt.gz", "text.txt.gz"} of bytes

Plain `webdataset.WebDataset(url).decode()` opens a shard with none of our code. No pickle anywhere. Atoms
and bonds are kept as a table of the distinct ones and an index into it. The same molecules give the same
bytes: zip and gzip members carry no clock.
"""

import gzip
import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharding.columns import Molecules

SCHEMA_VERSION = 2
COMPRESSION = 6  # zlib's level: 9 saves 1 % of the bytes and doubles the time
NARROW = (np.uint8, np.uint16, np.uint32, np.int64)


class BrokenBlock(Exception):
    """Bytes that are not the block that the manifest promises."""


def encode(molecules: Molecules, smiles: Sequence[str], texts: Sequence[str]) -> dict[str, bytes]:
    """The sample's members by extension."""
    atom_table, atom_index = _distinct(molecules.atoms)
    bond_table, bond_index = _distinct(molecules.bonds)
    graph = {
        "n_atoms": _narrow(molecules.n_atoms),
        "n_bonds": _narrow(molecules.n_bonds),
        "atom_table": atom_table,
        "atom_index": _narrow(atom_index),
        "bond_table": bond_table,
        "bond_index": _narrow(bond_index),
        "ends": _narrow(molecules.ends.T),  # a column each: atoms of a bond are close, so this packs better
        "line": molecules.line,
    }
    tokens = {
        "n_smiles_tokens": _narrow(molecules.n_smiles_tokens),
        "smiles_tokens": _narrow(molecules.smiles_tokens),
        "n_text_tokens": _narrow(molecules.n_text_tokens),
        "text_tokens": _narrow(molecules.text_tokens),
    }
    return {
        "graph.npz": _npz(graph),
        "tok.npz": _npz(tokens),
        "smiles.txt.gz": _lines(smiles),
        "text.txt.gz": _lines(texts),
    }


def decode(members: Mapping[str, bytes], order: NDArray[np.integer] | None = None) -> Molecules:
    """The columns of a block, its rows in this order; the strings stay packed until `strings` is asked for them."""
    try:
        g, t = _arrays(members["graph.npz"]), _arrays(members["tok.npz"])
        molecules = Molecules(
            n_atoms=g["n_atoms"],
            n_bonds=g["n_bonds"],
            atoms=g["atom_index"],
            bonds=g["bond_index"],
            ends=g["ends"].T,
            n_smiles_tokens=t["n_smiles_tokens"],
            smiles_tokens=t["smiles_tokens"],
            n_text_tokens=t["n_text_tokens"],
            text_tokens=t["text_tokens"],
            line=g["line"],
        )
        if order is not None:  # while an atom is one number still, and not eight
            molecules = molecules.take(order)
        atoms, bonds = g["atom_table"][molecules.atoms], g["bond_table"][molecules.bonds]
        return replace(molecules, atoms=atoms, bonds=bonds)
    except (KeyError, ValueError, IndexError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise BrokenBlock(f"{type(error).__name__}: {error}") from error


def strings(packed: bytes) -> list[str]:
    """The lines of `smiles.txt.gz` or `text.txt.gz`."""
    return gzip.decompress(packed).decode().splitlines()


def _distinct(rows: NDArray[np.integer]) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """The distinct rows, in the order of their bytes, and which of them each row is."""
    width = rows.shape[1]
    keys = np.ascontiguousarray(rows, np.int8).view(np.dtype((np.void, width))).ravel()
    table, index = np.unique(keys, return_inverse=True)
    return table.view(np.int8).reshape(-1, width), index.ravel()


def _narrow(values: NDArray[np.integer]) -> NDArray[np.integer]:
    """The same non-negative numbers in the smallest integer type that holds them."""
    most = int(values.max(initial=0))
    kind = next(kind for kind in NARROW if most <= np.iinfo(kind).max)
    return np.ascontiguousarray(values, kind)


def _npz(arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    """As `numpy.savez_compressed`, which would write the time of day into every member."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=COMPRESSION) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy")
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, member.getvalue())
    return stream.getvalue()


def _arrays(packed: bytes) -> dict[str, NDArray[Any]]:
    """As `numpy.load`, which reads a member in small pieces; no pickles."""
    found = {}
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        for name in archive.namelist():
            member = io.BytesIO(archive.read(name))
            found[name.removesuffix(".npy")] = np.lib.format.read_array(member, allow_pickle=False)
    return found


def _lines(strings: Sequence[str]) -> bytes:
    return gzip.compress("".join(f"{string}\n" for string in strings).encode(), COMPRESSION, mtime=0)
