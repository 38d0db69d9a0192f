"""The tensors of a checkpoint in safetensors files: written in one pass with their digest, read by slices.

    weight/<parameter>@<start>   exp_avg/...   exp_avg_sq/...     float32, flat; <start> is the first element's place

safetensors: the header's length in 8 bytes, a JSON header with type, shape and place of each tensor, their bytes. We
write it ourselves, because the library wants a copy of all of it in memory and reports a full disk as a text.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

import torch
from safetensors import safe_open
from torch import Tensor


class Digest(NamedTuple):
    """What the manifest says of a file."""

    bytes: int
    sha256: str


class Missing(Exception):
    """A checkpoint does not hold what is asked of it."""


def key(kind: str, name: str, start: int) -> str:
    """The name of a slice in its file."""
    return f"{kind}/{name}@{start}"


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> Digest:
    """Write float32 tensors, one after the other, and wait for the disk. `OSError` when it takes no more."""
    header, place = {}, 0
    for name, tensor in tensors.items():
        end = place + tensor.nbytes
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [place, end]}
        place = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("xb") as stream:
        out = _Counted(stream)
        out.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            out.write(tensor.cpu().contiguous().numpy().data)
        return out.close()


def write_text(path: Path, text: str) -> Digest:
    """As `write_tensors`, for JSON."""
    with path.open("xb") as stream:
        out = _Counted(stream)
        out.write(text.encode())
        return out.close()


class _Counted:
    """A stream that knows the size and digest of what went through."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._sum, self._bytes = stream, hashlib.sha256(), 0

    def write(self, data: bytes | memoryview) -> None:
        self._stream.write(data)
        self._sum.update(data)
        self._bytes += len(data) if isinstance(data, bytes) else data.nbytes

    def close(self) -> Digest:
        self._stream.flush()
        os.fsync(self._stream.fileno())
        return Digest(self._bytes, self._sum.hexdigest())


class _Piece(NamedTuple):
    start: int
    end: int
    slice: Any


class Slices:
    """All parameters of a checkpoint, whoever wrote them: `with Slices(files) as slices: slices.read(...)`."""

    def __init__(self, files: list[Path]) -> None:
        self._open = ExitStack()
        self._pieces: dict[tuple[str, str], list[_Piece]] = {}
        for file in files:
            opened = self._open.enter_context(safe_open(str(file), framework="pt"))
            for name in opened.keys():  # noqa: SIM118  (not a mapping)
                kind, _, place = name.partition("/")
                parameter, _, start = place.rpartition("@")
                found = opened.get_slice(name)
                begin = int(start)
                piece = _Piece(begin, begin + found.get_shape()[0], found)
                self._pieces.setdefault((kind, parameter), []).append(piece)
        for pieces in self._pieces.values():
            pieces.sort(key=lambda piece: piece.start)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def read(self, kind: str, name: str, start: int, numel: int) -> Tensor:
        """Elements [start, start + numel) of the flat parameter. Raises `Missing` when some are nowhere."""
        out, done, end = torch.empty(numel), start, start + numel
        for piece in self._pieces.get((kind, name), []):
            if piece.start <= done < piece.end:
                until = min(end, piece.end)
                out[done - start : until - start] = piece.slice[done - piece.start : until - piece.start]
                done = until
            if done >= end:
                return out
        if numel:
            raise Missing(f"{kind} of {name} lacks elements {done:,} to {end:,}")
        return out
