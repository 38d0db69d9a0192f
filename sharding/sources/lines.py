"""Lines of text in blocks of bytes: where they end, and their text.

    pieces of bytes  ->  blocks of whole lines, cut nowhere else  ->  offsets of line ends, or text

A line ends at LF, at CR LF, or at a CR alone (universal newlines, as in a text editor and as Python reads
text); the last may lack its end. A byte-order mark at the start is no text. NUL and bytes that are not UTF-8
stay visible as escapes such as \\x00. A block is a few MiB whatever the file, so memory is flat.
"""

from collections.abc import Iterator

import numpy as np

from sharding.errors import UserError

LONGEST_BYTES = 16 << 20
"""No line and no record of a table is longer: a file that has one is not what it claims to be."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
LF, CR = b"\n", b"\r"


def blocks(name: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes, cut behind ends of lines."""
    rest = b""
    for piece in pieces:
        rest += piece
        cut = _last_end(rest)
        if cut:
            yield rest[:cut]
            rest = rest[cut:]
        if len(rest) > LONGEST_BYTES:
            raise UserError(f"{name} has a line longer than {LONGEST_BYTES >> 20} MiB. Is it a text file?")
    if rest:
        yield rest


def placed(name: str, pieces: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    """The blocks of a whole file with their offsets in it, less the byte-order mark."""
    offset = 0
    for block in blocks(name, pieces):
        if offset == 0 and block.startswith(UTF_16):
            raise UserError(f"{name} is UTF-16 text. Save it as UTF-8.")
        shown = block.removeprefix(BYTE_ORDER_MARK) if offset == 0 else block
        if shown:
            yield offset + len(block) - len(shown), shown
        offset += len(block)


def _last_end(data: bytes) -> int:
    """Length of the whole lines in front. A CR at the very end may be half of a CR LF, and waits."""
    after_lf = data.rfind(LF) + 1
    return max(after_lf, data.rfind(CR, after_lf, max(after_lf, len(data) - 1)) + 1)


def line_ends(block: bytes) -> np.ndarray:
    """Offset just behind each line of a block; an unended last line counts."""
    letters = np.frombuffer(block, np.uint8)
    ends = letters == ord(LF)
    if CR in block:
        returns = letters == ord(CR)
        returns[:-1] &= ~ends[1:]
        ends |= returns
    offsets = np.flatnonzero(ends) + 1
    if not len(offsets) or offsets[-1] != len(block):
        offsets = np.append(offsets, len(block))
    return offsets


def universal(block: bytes) -> bytes:
    """The block with LF for every line end."""
    return block.replace(b"\r\n", LF).replace(CR, LF) if CR in block else block


def text(block: bytes) -> str:
    """Its text, each line ended by LF."""
    return visible(universal(block))


def visible(data: bytes) -> str:
    """Text of bytes; what is no text becomes an escape."""
    if b"\0" in data:
        data = data.replace(b"\0", rb"\x00")
    return data.decode("utf-8", errors="backslashreplace")
