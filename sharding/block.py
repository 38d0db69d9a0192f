"""A block: a few thousand molecules as the members of a WebDataset sample, and back.

    Molecules, SMILES, texts, fingerprints, names, skeletons  <->  {"graph.npz", "tok.npz", "smiles.txt.gz",
    "text.txt.gz", and if there are any "fp.npz", "id.txt.gz", "key.npz"} of bytes
Plain `webdataset.WebDataset(url).decode()` opens a shard with none of our code. No pickle anywhere. The same
molecules give the same bytes. Nothing depends on the order of the rows, which is drawn again when they are
read, so alike descriptions are put side by side, where deflate finds them.

graph.npz  n_atoms (m,). n_rings (m,): bonds beyond the tree. step (a,): the atom's row of step_table, or 255
           and the row is the next of `rare`. step_table (3, k): row of atom_table; row of bond_table and how
           far back the atom is that this one is bound to (0: none). rings (3, r): the bonds beyond, as both
           ends and row of bond_table. line (p, m): the number's bytes, lowest first.
           In canonical SMILES nearly every atom is bound to the one before it, by one of 15 kinds of bond.
tok.npz    smiles_tokens (s,), n_smiles_tokens (m,); for the text's the words that they follow from, see
           `sharding.words`, or text_tokens (t,), n_text_tokens (m,).
fp.npz     a fingerprint each: rows of packed bits, and its width as `<name>.bits`; or small integers.
key.npz    skeleton (m,): see `sharding.identity`. Ids of canonical SMILES are not kept: they follow from them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharding import graph_steps, words
from sharding.archive import (
    BrokenBlock,
    pack_arrays,
    pack_lines,
    tar_members,
    unpack_arrays,
    unpack_lines,
)
from sharding.columns import Molecules, gather
from sharding.identity import hash_lines
from sharding.tokens import Tokenizers

__all__ = ["SCHEMA_VERSION", "BrokenBlock", "decode", "encode", "fingerprints", "strings", "tar_members"]

SCHEMA_VERSION = 2
NARROW = (np.uint8, np.uint16, np.uint32, np.int64)
BITS = ".bits"


def encode(
    molecules: Molecules,
    smiles: Sequence[str],
    texts: Sequence[str],
    *,
    fingerprints: Mapping[str, NDArray[Any]] | None = None,
    ids: Sequence[str] | None = None,
    skeletons: NDArray[np.int64] | None = None,
    tokenizers: Tokenizers | None = None,
) -> dict[str, bytes]:
    """The sample's members by extension.

    fingerprints: (m, width) each, bool or 0 and 1 as uint8 for bits, else small counts. With the tokenizers
    that made the tokens, the text's tokens are kept as its words: a tenth of the bytes.
    """
    order = _neighbours(smiles, texts)
    molecules = molecules.take(order)
    lines = {"smiles": _sorted(smiles, order), "text": _sorted(texts, order)}
    graph, tokens = graph_steps.pack(molecules), _token_arrays(molecules, lines["text"], tokenizers)
    members = {
        "graph.npz": pack_arrays({name: _narrow(array) for name, array in graph.items()}),
        "tok.npz": pack_arrays({name: _narrow(array) for name, array in tokens.items()}),
        "smiles.txt.gz": pack_lines(lines["smiles"]),
        "text.txt.gz": pack_lines(lines["text"]),
    }
    if fingerprints:
        members["fp.npz"] = pack_arrays(_packed({name: v[order] for name, v in fingerprints.items()}))
    if ids is not None:
        members["id.txt.gz"] = pack_lines(_sorted(ids, order))
    if skeletons is not None:
        members["key.npz"] = pack_arrays({"skeleton": skeletons[order]})
    return members


def decode(
    members: Mapping[str, bytes], order: NDArray[np.integer] | None = None, *, skeletons: bool = False
) -> Molecules:
    """The columns of a block, its rows in this order, or else as they are stored.

    Their ids are those of canonical SMILES, or else of skeletons.
    """
    try:
        graph, tokens = unpack_arrays(members["graph.npz"]), unpack_arrays(members["tok.npz"])
        rows = np.arange(len(graph["n_atoms"])) if order is None else np.asarray(order, np.int64)
        columns = graph_steps.unpack(graph, rows)
        columns["ids"] = _ids(members, len(graph["n_atoms"]), skeletons)[rows]
        for stream in ("smiles", "text"):
            flat, sizes = _tokens(tokens, stream, members, len(graph["n_atoms"]))
            columns[f"n_{stream}_tokens"] = sizes[rows]
            columns[f"{stream}_tokens"] = gather(flat, sizes, rows)
        return Molecules(**columns)
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise BrokenBlock(f"{type(error).__name__}: {error}") from error


def strings(packed: bytes) -> list[str]:
    """The lines of `smiles.txt.gz`, `text.txt.gz` or `id.txt.gz`."""
    return unpack_lines(packed).decode().split("\n")[:-1]


def fingerprints(members: Mapping[str, bytes]) -> dict[str, NDArray[Any]]:
    """(m, width) of each fingerprint, bits as 0 and 1; none where the block has none."""
    if "fp.npz" not in members:
        return {}
    arrays = unpack_arrays(members["fp.npz"])
    found = {}
    for name, array in arrays.items():
        if name.endswith(BITS):
            continue
        width = int(arrays[name + BITS][0]) if name + BITS in arrays else None
        if array.ndim != 2 or (width is not None and (array.dtype != np.uint8 or width > 8 * array.shape[1])):
            raise BrokenBlock(f"fingerprint {name} is no table of {width} bits")
        found[name] = array if width is None else np.unpackbits(array, axis=1, count=width)
    return found


def _neighbours(smiles: Sequence[str], texts: Sequence[str]) -> NDArray[np.int64]:
    """Rows by the end of their description's first clause, which names the scaffold, and then by SMILES."""
    clauses = [text.replace(".", ";").split(";", 1)[0].split()[::-1] for text in texts]
    return np.array(sorted(range(len(smiles)), key=lambda row: (clauses[row], smiles[row])), np.int64)


def _sorted(values: Sequence[str], order: NDArray[np.int64]) -> list[str]:
    return [values[row] for row in order.tolist()]


def _token_arrays(
    molecules: Molecules, texts: list[str], tokenizers: Tokenizers | None
) -> dict[str, NDArray[np.integer]]:
    arrays: dict[str, NDArray[np.integer]] = {
        "smiles_tokens": molecules.smiles_tokens,
        "n_smiles_tokens": molecules.n_smiles_tokens,
    }
    tokens = molecules.text_tokens, molecules.n_text_tokens
    if tokenizers is not None:
        learnt = words.learn("".join(f"{text}\n" for text in texts), tokens, tokenizers.text)
        if learnt is not None:
            return arrays | learnt
    return arrays | dict(zip(("text_tokens", "n_text_tokens"), tokens, strict=True))


def _tokens(
    arrays: Mapping[str, NDArray[np.integer]], stream: str, members: Mapping[str, bytes], rows: int
) -> words.Tokens:
    """Flat tokens and how many each row has."""
    if stream == "text" and "text_tokens" not in arrays:
        learnt = {name: arrays[name].astype(kind) for name, kind in words.KINDS.items()}
        return words.follow(unpack_lines(members["text.txt.gz"]), rows, learnt)
    flat = arrays[f"{stream}_tokens"].astype(np.uint16)
    sizes = arrays[f"n_{stream}_tokens"].astype(np.uint16)
    if sizes.shape != (rows,) or flat.shape != (int(sizes.sum(dtype=np.int64)),):
        raise BrokenBlock(f"{stream} tokens are not as many as promised")
    return flat, sizes


def _ids(members: Mapping[str, bytes], rows: int, skeletons: bool) -> NDArray[np.int64]:
    if not skeletons:
        return hash_lines(unpack_lines(members["smiles.txt.gz"]), rows)
    stored = unpack_arrays(members["key.npz"])["skeleton"]
    if (stored.dtype, stored.shape) != (np.int64, (rows,)):
        raise BrokenBlock("skeletons that are not as many as promised")
    return stored


def _packed(columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.integer]]:
    arrays: dict[str, NDArray[np.integer]] = {}
    for name, values in columns.items():
        if values.dtype == bool or (values.dtype == np.uint8 and values.max(initial=0) <= 1):
            arrays[name] = np.packbits(values, axis=1)
            arrays[name + BITS] = np.array([values.shape[1]], np.uint32)
        else:
            arrays[name] = _narrow(values)
    return arrays


def _narrow(values: NDArray[np.integer]) -> NDArray[np.integer]:
    """The same numbers, negative only in a type of 8 bits, in the smallest integer type that holds them."""
    if values.dtype == np.int8:
        return np.ascontiguousarray(values)
    if values.min(initial=0) < 0:
        raise ValueError("a negative number, where a block has room for none")
    most = int(values.max(initial=0))
    kind = next(kind for kind in NARROW if most <= np.iinfo(kind).max)
    return np.ascontiguousarray(values, kind)
