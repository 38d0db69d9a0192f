"""The containers of a block, read by their bytes: tar, npz and gzipped lines. No pickle, no clock.

    tar bytes -> {extension: bytes};  arrays <-> npz bytes;  strings <-> gzip bytes
`tarfile`, `zipfile` and `numpy.load` cost 3 ms a block whatever it holds; these take what `sharding.block`
writes and refuse everything else: ustar headers, zip members stored or deflated, arrays of integers.
Source: POSIX.1-1988 (ustar), PKWARE APPNOTE 6.3 (zip), NEP 1 (npy), RFC 1952 (gzip).
"""

import gzip
import io
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

try:
    _inflate = import_module("isal.isal_zlib").decompress  # the same bytes, three times faster
except ImportError:  # where it has no wheel
    _inflate = zlib.decompress

COMPRESSION = 9
MOST_INFLATED = 1032
"""Deflate never makes more than so many bytes of one (RFC 1951): a size beyond is a lie, not a request."""
RECORD = 512
HEADER = re.compile(rb"\{'descr': '([<|][iu][1248])', 'fortran_order': False, 'shape': \(([\d, ]*)\), \} *\n")


class BrokenBlock(Exception):
    """Bytes that are not the block that the manifest promises."""


def tar_members(packed: bytes) -> dict[str, bytes]:
    """The plain files of a piece of a tar, by what follows the first dot of their names."""
    found, at = {}, 0
    while at < len(packed):
        header = packed[at : at + RECORD]
        name = header[:100].rstrip(b"\0").decode("ascii", "replace")
        size = re.fullmatch(rb"([0-7]+)[ \0]*", header[124:136])
        if header[257:262] != b"ustar" or header[156:157] != b"0" or size is None or "." not in name:
            raise BrokenBlock(f"no tar header at byte {at:,}")
        begin, length = at + RECORD, int(size[1], 8)
        if begin + length > len(packed):
            raise BrokenBlock(f"{name} is cut short")
        found[name.split(".", 1)[1]] = packed[begin : begin + length]
        at = begin + -(-length // RECORD) * RECORD
    return found


def pack_arrays(arrays: Mapping[str, NDArray[np.integer]]) -> bytes:
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


def unpack_arrays(packed: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of `pack_arrays`, or of `numpy.savez` of integers."""
    found = {}
    try:
        marker, count, length, begin = struct.unpack("<4s6xHII2x", packed[-22:])
        if marker != b"PK\5\6" or begin + length + 22 != len(packed):
            raise BrokenBlock("no zip directory")
        at = begin
        for _ in range(count):
            marker, method, small, size, n_name, n_extra, n_comment, local = struct.unpack_from(
                "<4s6xH8xIIHHH8xI", packed, at
            )
            name = packed[at + 46 : at + 46 + n_name].decode("ascii")
            at += 46 + n_name + n_extra + n_comment
            local_marker, local_name, local_extra = struct.unpack_from("<4s22xHH", packed, local)
            start = local + 30 + local_name + local_extra
            if (marker, local_marker) != (b"PK\1\2", b"PK\3\4") or start + small > begin:
                raise BrokenBlock("a zip member is cut short")
            content = packed[start : start + small]
            if method == zipfile.ZIP_DEFLATED:
                content = inflate(content, size, -zlib.MAX_WBITS)
            elif method != zipfile.ZIP_STORED:
                raise BrokenBlock(f"{name} is compressed in a way that is not read here")
            found[name.removesuffix(".npy")] = _array(name, content)
    except (struct.error, UnicodeDecodeError) as error:
        raise BrokenBlock(f"no zip archive: {error}") from error
    return found


def pack_lines(strings: Sequence[str]) -> bytes:
    """A line each. Raises `ValueError` for a string that is two."""
    joined = "".join(f"{string}\n" for string in strings)
    if joined.count("\n") != len(strings):
        raise ValueError("a string with a line break cannot be a line of a block")
    return gzip.compress(joined.encode(), COMPRESSION, mtime=0)


def unpack_lines(packed: bytes) -> bytes:
    """The lines as one string of bytes, each ended by a line feed; none, or the last is whole."""
    size = int.from_bytes(packed[-4:], "little")
    content = inflate(packed, size, 16 + zlib.MAX_WBITS)
    if content and not content.endswith(b"\n"):
        raise BrokenBlock("the last line is cut short")
    return content


def inflate(packed: bytes, size: int, window: int) -> bytes:
    """Decompress to exactly `size` bytes."""
    if size > MOST_INFLATED * len(packed):
        raise BrokenBlock(f"{len(packed):,} bytes cannot become {size:,}")
    try:
        content = _inflate(packed, window, max(1, size))
    except Exception as error:  # zlib.error or isal's own
        raise BrokenBlock(f"cannot be decompressed: {error}") from error
    if len(content) != size:
        raise BrokenBlock(f"{len(content):,} of {size:,} bytes")
    return content


def _array(name: str, content: bytes) -> NDArray[Any]:
    """One member as a view of its bytes; nothing but integers."""
    header = HEADER.fullmatch(content, 10, 10 + int.from_bytes(content[8:10], "little"))
    if content[:8] != b"\x93NUMPY\1\0" or header is None:
        raise BrokenBlock(f"{name} is no array of integers")
    kind, sizes = header.groups()
    shape = tuple(int(size) for size in sizes.split(b",") if size.strip())
    flat = content[header.end() :]
    dtype = np.dtype(kind.decode())
    if len(flat) != dtype.itemsize * math.prod(shape):
        raise BrokenBlock(f"{name} is not of the shape {shape} that it claims")
    return np.frombuffer(flat, dtype).reshape(shape)
