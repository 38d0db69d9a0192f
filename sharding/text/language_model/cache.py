"""Finished texts on disk, by content hash: what a language model said once is never asked again.

    key (hex SHA-256 of conversation and identity)  ->  {"fields": {...}}  or  {"refused": reason}
A folder of segments, JSON lines, one segment for each process that writes: nobody appends to another's file,
so a shared file system needs no locks. A line is one `write`, flushed to the disk at the end of a batch; a
reader takes whole lines only, and of those the ones whose checksum fits, so a process killed in mid-line
costs that line. In memory stand 32 hex digits and a place for each text, not the text.

Departs from `files.write_whole`: one file a molecule is right for shards, not for a million answers.
"""

import json
import os
import re
import uuid
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

SEGMENT = "segment-*.jsonl"
MAX_LINE = 1 << 16
"""Bytes. Ours are a tenth of that; whatever is longer is not ours."""
KEY_DIGITS = 32
LINE = re.compile(rb'\["([0-9a-f]{64})", (\d{1,10}), (\{.*\})\]\n')


class TextCache:
    """Read at construction; sees what this object wrote since, not what others did."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._places: dict[str, tuple[Path, int]] = {}
        self._segment = folder / f"segment-{uuid.uuid4().hex}.jsonl"
        for path in sorted(folder.glob(SEGMENT)):
            for place, line in _lines(path):
                if key := _key(line):
                    self._places.setdefault(key, (path, place))

    def __len__(self) -> int:
        return len(self._places)

    def get(self, key: str) -> Mapping[str, Any] | None:
        """The entry, or None; a damaged one counts as absent."""
        place = self._places.get(key[:KEY_DIGITS])
        if place is None:
            return None
        try:
            with place[0].open("rb") as stream:
                stream.seek(place[1])
                return _entry(stream.readline(MAX_LINE), key)
        except OSError:
            return None

    def put(self, entries: Mapping[str, Mapping[str, Any]]) -> None:
        """On the disk when this returns. Keys that are there already keep their first entry."""
        new = {key: entry for key, entry in entries.items() if self.get(key) is None}
        if not new:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._segment.open("ab", buffering=0) as stream:
            for key, entry in new.items():
                place = stream.seek(0, os.SEEK_END)
                stream.write(_line(key, entry))
                self._places[key[:KEY_DIGITS]] = (self._segment, place)
            os.fsync(stream.fileno())


def _line(key: str, entry: Mapping[str, Any]) -> bytes:
    payload = json.dumps(entry, sort_keys=True)
    return f'["{key}", {zlib.crc32((key + payload).encode())}, {payload}]\n'.encode()


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Whole lines of a sane length, each with its place. A file that cannot be read has none."""
    try:
        with path.open("rb") as stream:
            yield from _whole_lines(stream)
    except OSError:
        return


def _whole_lines(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    place, inside = 0, False  # inside: of a line longer than MAX_LINE
    while line := stream.readline(MAX_LINE):
        ended = line.endswith(b"\n")
        if ended and not inside:
            yield place, line
        inside = not ended
        place += len(line)


def _key(line: bytes) -> str:
    """Of a line that is ours and undamaged; JSON is parsed when the entry is wanted."""
    match = LINE.fullmatch(line)
    return match[1].decode()[:KEY_DIGITS] if match and _intact(match) else ""


def _entry(line: bytes, key: str) -> Mapping[str, Any] | None:
    match = LINE.fullmatch(line)
    if match is None or not _intact(match) or match[1] != key.encode():
        return None
    try:
        return json.loads(match[3])
    except (ValueError, RecursionError):
        return None


def _intact(match: re.Match[bytes]) -> bool:
    return zlib.crc32(match[1] + match[3]) == int(match[2])
