"""One pass over a source in constant memory: hash, number of rows, columns and marks.

    Source, Columns  ->  Survey

Of parquet the footer is read and the rest only hashed: damage in its pages shows when they are read.
"""

import hashlib

from sharding.errors import UserError
from sharding.sources import parquet, tables, words
from sharding.sources.source import MARK_EVERY, PARQUET, WORDS, Columns, Mark, Source, Survey
from sharding.sources.stream import stored_bytes


class _Digest:
    """Hash and number of the bytes shown to it."""

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()
        self.bytes = 0

    def __call__(self, piece: bytes) -> None:
        self.sha256.update(piece)
        self.bytes += len(piece)


def survey(source: Source, columns: Columns, mark_every: int = MARK_EVERY) -> Survey:
    """Read all of the source once. `UserError` when it is damaged, changes meanwhile, or lacks a column."""
    digest = _Digest()
    header: tuple[str, ...] = ()
    marks: tuple[Mark, ...]
    if source.kind == WORDS:
        rows, marks = words.scan(source, digest, mark_every)
    elif source.kind == PARQUET:
        header, rows, marks = parquet.scan(source, columns)
        for piece in stored_bytes(source):
            digest(piece)
    else:
        header, rows, marks = tables.scan(source, digest, columns, mark_every)
    if source.bytes not in (None, digest.bytes):
        raise UserError(
            f"{source.url} changes while it is read: {source.bytes:,} bytes, then {digest.bytes:,}. "
            "Wait until it is whole."
        )
    return Survey(source.url, digest.bytes, source.stamp, digest.sha256.hexdigest(), rows, header, marks)
