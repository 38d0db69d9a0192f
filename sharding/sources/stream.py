"""The bytes of a source: opened wherever it is, decompressed, and every failure told in one line.

    Source, first byte  ->  pieces of the uncompressed bytes from there, about 256 KiB each

A plain file is entered at the byte; a compressed one is decompressed from its start. All members of a .gz
and all frames of a .zst are read. A compressed file that ends early is an error here: python-zstandard's own
reader takes it for a shorter file.
"""

import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import IO, Any

from sharding.errors import UserError
from sharding.sources.source import Source

Stored = Callable[[bytes], object]
"""Is shown the bytes as they lie in the file."""
WEB = ("http://", "https://")
PIECE_BYTES = 256 << 10
FETCH_BYTES = 4 << 20
"""What a remote file system asks for at once."""
SLICE_BYTES = 1 << 10
"""Compressed bytes given to a decompressor at once. At worst, of one line repeated, zstd makes 16 MiB of them."""
WINDOW_BYTES = 1 << 31
"""The widest that `zstd --long` writes."""


@contextmanager
def transport(url: str) -> Iterator[None]:
    """Turn what a file system raises into one line."""
    try:
        yield
    except FileNotFoundError as error:
        reason = f"cannot be read: {in_one_line(error.__cause__)}" if error.__cause__ else "does not exist"
        raise UserError(f"{url} {reason}.") from error
    except ImportError as error:
        raise UserError(f"{url} needs a package that is not installed: {in_one_line(error)}.") from error
    except UserError:
        raise
    except Exception as error:  # every protocol's package raises exceptions of its own
        raise UserError(f"{url} cannot be read: {in_one_line(error)}.") from error


def in_one_line(error: BaseException) -> str:
    """What an exception says, to be put into a sentence."""
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(words.split()).rstrip(".")


def file_system(url: str) -> tuple[Any, str]:
    """fsspec's file system of an address, and the path on it."""
    from fsspec.core import url_to_fs

    with transport(url):
        return url_to_fs(url)


@contextmanager
def opened(source: Source) -> Iterator[IO[bytes]]:
    """The file as stored. A web server that knows no ranges is read as one stream."""
    system, path = file_system(source.url)
    with transport(source.url):
        streams = path.startswith(WEB) and not system.info(path).get("partial")
        stream = system.open(path, "rb", block_size=0 if streams else FETCH_BYTES)
    with stream:
        yield stream


def check_unchanged(source: Source, size: int) -> None:
    """Raise `UserError` when the file no longer has as many bytes as its survey found."""
    system, path = file_system(source.url)
    with transport(source.url):
        now = system.info(path).get("size")
    if now is not None and now != size:
        raise UserError(
            f"{source.url} has changed: {size:,} bytes when it was surveyed, {now:,} now. Plan again."
        )


def pieces(source: Source, offset: int = 0, stored: Stored | None = None) -> Iterator[bytes]:
    """The uncompressed bytes from `offset` on."""
    with opened(source) as stream:
        if offset and not source.compression:
            with transport(source.url), suppress(ValueError):  # one stream: it is read from its start
                stream.seek(offset)
                offset = 0
        data = _stored(source, stream, stored)
        if source.compression:
            data = _decompressed(source, data)
        for piece in data:
            if offset < len(piece):
                yield piece[offset:] if offset else piece
            offset = max(0, offset - len(piece))


def stored_bytes(source: Source) -> Iterator[bytes]:
    """The bytes as they lie in the file."""
    with opened(source) as stream:
        yield from _stored(source, stream, None)


def _stored(source: Source, stream: IO[bytes], stored: Stored | None) -> Iterator[bytes]:
    while True:
        with transport(source.url):
            piece = stream.read(PIECE_BYTES)
        if not piece:
            return
        if stored:
            stored(piece)
        yield piece


def _decompressed(source: Source, data: Iterator[bytes]) -> Iterator[bytes]:
    """Whole members or frames, one after the other, gathered to pieces of a useful size."""
    begin, failures = _codec(source.compression)
    padding = b"\0" if source.compression == "gzip" else b""  # of tapes; gzip(1) passes it over as well
    gathered = io.BytesIO()
    member: Any = None
    try:
        for rest in _slices(data):
            while rest:
                if member is None:
                    rest = rest.lstrip(padding)
                    if not rest:
                        break
                    member = begin()
                gathered.write(member.decompress(rest))
                rest, member = (member.unused_data, None) if member.eof else (b"", member)
            if gathered.tell() >= PIECE_BYTES:
                yield gathered.getvalue()
                gathered = io.BytesIO()
        if member is not None:
            raise EOFError("it ends too early")
        yield gathered.getvalue()
    except (EOFError, failures) as error:
        raise UserError(
            f"{source.url} is not a whole {source.compression} file ({in_one_line(error)}). Fetch or compress it again."
        ) from error


def _slices(data: Iterator[bytes]) -> Iterator[bytes]:
    return (piece[i : i + SLICE_BYTES] for piece in data for i in range(0, len(piece), SLICE_BYTES))


def _codec(compression: str) -> tuple[Callable[[], Any], type[Exception]]:
    """What begins a member or frame, and what it raises on damaged bytes."""
    if compression == "gzip":
        return partial(zlib.decompressobj, wbits=zlib.MAX_WBITS | 16), zlib.error
    import zstandard

    return zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES).decompressobj, zstandard.ZstdError
