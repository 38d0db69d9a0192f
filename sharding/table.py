"""Where every block lies: one binary table beside the manifest, 24 bytes a block.

    statistics of every shard  ->  blocks.npy: shard, offset, bytes, rows, crc32 of each block
    manifest, blocks.npy       ->  BlockTable: indexed, sliced and counted without an object a block
Ten thousand million molecules are 2.4 million blocks: 58 MB here, and gigabytes as JSON and Python objects.
"""

import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from sharding.errors import UserError
from sharding.files import write_bytes

TABLE = "blocks.npy"
ENTRY = np.dtype([("shard", "<u4"), ("offset", "<u8"), ("bytes", "<u4"), ("rows", "<u4"), ("crc32", "<u4")])
INSIDE = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*")
"""A shard's name: within the folder, and nothing that a shell or a URL would make more of."""


class BlockRef(NamedTuple):
    """Where a block lies."""

    file: str
    offset: int
    bytes: int
    rows: int
    crc32: int


def write_table(root: Path, per_shard: Iterable[Sequence[Mapping[str, int]]]) -> dict[str, Any]:
    """Write `blocks.npy` from each shard's list of its blocks; what the manifest says of it."""
    columns = [name for name in ENTRY.names or () if name != "shard"]
    parts = [
        np.array([(shard, *(entry[name] for name in columns)) for entry in entries], ENTRY)
        for shard, entries in enumerate(per_shard)
    ]
    table = np.concatenate(parts) if parts else np.empty(0, ENTRY)
    stream = io.BytesIO()
    np.lib.format.write_array(stream, table, allow_pickle=False)
    write_bytes(root / TABLE, stream.getvalue())
    return {"file": TABLE, "sha256": hashlib.sha256(stream.getvalue()).hexdigest(), "count": len(table)}


class BlockTable(Sequence[BlockRef]):
    """The blocks of a set of shards, or some of them in a row: `files` by shard, `entries` (n,) of `ENTRY`."""

    def __init__(self, files: Sequence[str], entries: NDArray[np.void]) -> None:
        self.files, self.entries = files, entries

    @classmethod
    def load(cls, root: Path, manifest: Mapping[str, Any]) -> "BlockTable":
        """The table that the manifest names. Raises `UserError` when it is not the one that was written."""
        files = [str(shard["file"]) for shard in manifest["shards"]]
        odd = next((file for file in files if not INSIDE.fullmatch(file)), None)
        if odd is not None:
            raise UserError(f"{root}/manifest.json names {odd!r}, which is no file of this folder.")
        path = root / TABLE
        try:
            packed = path.read_bytes()
        except OSError as error:
            raise UserError(
                f"block table {path} cannot be read ({error.strerror}). Restore it or shard again."
            ) from error
        if hashlib.sha256(packed).hexdigest() != manifest["blocks"]["sha256"]:
            raise UserError(f"block table {path} is not the manifest's. Restore it or shard again.")
        try:
            entries = np.lib.format.read_array(io.BytesIO(packed), allow_pickle=False)
        except ValueError as error:
            raise UserError(f"block table {path} is no table: {error}") from error
        if (
            entries.dtype != ENTRY
            or entries.ndim != 1
            or entries["shard"].max(initial=0) >= max(1, len(files))
        ):
            raise UserError(f"block table {path} names shards that the manifest does not.")
        return cls(files, entries)

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """(n,) molecules of each block."""
        return self.entries["rows"].astype(np.int64)

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, index: int) -> BlockRef: ...
    @overload
    def __getitem__(self, index: slice) -> "BlockTable": ...
    def __getitem__(self, index: int | slice) -> "BlockRef | BlockTable":
        if isinstance(index, slice):
            return BlockTable(self.files, self.entries[index])
        shard, *rest = self.entries[index].item()
        return BlockRef(self.files[shard], *rest)

    def __iter__(self) -> Iterator[BlockRef]:
        return map(self.__getitem__, range(len(self)))
