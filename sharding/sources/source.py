"""What is known about a file of molecules before, and after, it was read through once.

    Source (found: where and how big)  ->  Survey (read once: hash, rows, marks)  ->  Row (read by range)

`Source` and `Survey` go through JSON: `dataclasses.asdict` there, `from_dict` back.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

MARK_EVERY = 65_536
WORDS, COMMAS, TABS, PARQUET = "words", "commas", "tabs", "parquet"
KINDS = {".smi": WORDS, ".smiles": WORDS, ".txt": WORDS, ".csv": COMMAS, ".tsv": TABS, ".parquet": PARQUET}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}


@dataclass(frozen=True, slots=True)
class Source:
    """A file of molecules. `url` of a local file is its absolute path."""

    url: str
    kind: str
    compression: str
    """"" or a value of `COMPRESSIONS`."""
    bytes: int | None
    """As stored; None where the server does not say."""
    stamp: str
    """Time or tag of the last change; "" where the file system has none."""

    @staticmethod
    def from_dict(value: dict[str, Any]) -> "Source":
        """The inverse of `asdict`."""
        return Source(**value)


class Columns(NamedTuple):
    """Names of the columns of a table. An empty `id` asks for none."""

    smiles: str
    id: str


class Mark(NamedTuple):
    """Where reading can begin: before record `row`, with `line` lines (of parquet: rows) above it."""

    row: int
    offset: int
    """Bytes of the uncompressed file before it; of parquet, the number of its row group."""
    line: int


@dataclass(frozen=True, slots=True)
class Survey:
    """What one pass over a source found."""

    url: str
    bytes: int
    stamp: str
    sha256: str
    """Of the bytes as stored."""
    rows: int
    """Records: lines of .smi with the blank ones, records of a table after its header."""
    header: tuple[str, ...]
    """Names of the columns of a table."""
    marks: tuple[Mark, ...]

    @staticmethod
    def from_dict(value: dict[str, Any]) -> "Survey":
        """The inverse of `asdict`, before JSON or after."""
        rest = {"header": tuple(value["header"]), "marks": tuple(Mark(*mark) for mark in value["marks"])}
        return Survey(**{**value, **rest})


class Row(NamedTuple):
    """One molecule as written."""

    line: int
    """As a text editor numbers it, from 1: the line on which a record ends; of parquet, the row."""
    smiles: str
    id: str


row_of = partial(tuple.__new__, Row)
"""A `Row` of a tuple, at half the price of `Row(...)`: the loops run once a molecule."""


def same(source: Source, survey: Survey) -> bool:
    """Whether a stored survey still belongs to the source, by place, size and stamp; nothing is read."""
    return (source.url, source.bytes, source.stamp) == (survey.url, survey.bytes, survey.stamp)
