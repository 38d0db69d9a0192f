"""Files that are whole or absent: written under another name, flushed to the disk, then renamed."""

import hashlib
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

TEMPORARY = ".tmp-"


def write_whole(path: Path, write: Callable[[IO[bytes]], object], scratch: Path | None = None) -> None:
    """`write` fills the stream; `path` appears when all of it is on the disk, and not before.

    Until then it lies beside `path`, or in `scratch`, a folder of the same file system.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # not by the process's number: another machine may have the same
    temporary = (scratch or path.parent) / f"{TEMPORARY}{secrets.token_hex(6)}-{path.name}"
    try:
        with temporary.open("wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes, scratch: Path | None = None) -> None:
    """As `Path.write_bytes`, whole or absent."""
    write_whole(path, lambda stream: stream.write(data), scratch)


def write_json(path: Path, value: Any, scratch: Path | None = None) -> None:
    """Indented JSON with a final newline, whole or absent."""
    write_bytes(path, (json.dumps(value, indent=1) + "\n").encode(), scratch)


def read_json(path: Path) -> Any:
    """The value in a JSON file."""
    return json.loads(path.read_bytes())


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
