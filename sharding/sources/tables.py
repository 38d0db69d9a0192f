"""Tables as text: a header, then records as `csv.reader` finds them.

    .csv .tsv  ->  header, marks; rows of a range

A quoted field may hold line ends. In a block without a quotation mark every line is a record; in the others
`csv.reader` says where the records end. It is asked with each byte as one letter, which changes no delimiter.
"""

import csv
from collections.abc import Iterable, Iterator
from io import StringIO
from itertools import chain, islice

import numpy as np

from sharding.errors import UserError
from sharding.sources.header import positions
from sharding.sources.lines import LONGEST_BYTES, blocks, line_ends, placed, text, universal
from sharding.sources.marks import Records, last_mark, marked
from sharding.sources.source import COMMAS, TABS, Columns, Mark, Row, Source, Survey, row_of
from sharding.sources.stream import Stored, pieces

DELIMITERS = {COMMAS: ",", TABS: "\t"}
QUOTE = b'"'


def scan(
    source: Source, stored: Stored, columns: Columns, every: int
) -> tuple[tuple[str, ...], int, tuple[Mark, ...]]:
    """Header, number of records after it, and the marks."""
    whole = placed(source.url, pieces(source, stored=stored))
    records = _records(source, whole)
    start = next(records, None)
    header = tuple(next(_reader(source, [text(start[1])]), [])) if start else ()
    positions(source.url, header, columns)
    assert start is not None
    rows, marks = marked(chain([start], records), every, header=1)
    return header, rows, marks


def rows(source: Source, survey: Survey, first: int, count: int, columns: Columns) -> Iterator[Row]:
    """The molecules in `count` records from record `first` (of 0, after the header) on."""
    smiles, identity = positions(source.url, survey.header, columns)
    mark = survey.marks[last_mark(survey, first)]
    reader = _reader(source, map(text, blocks(source.url, pieces(source, mark.offset))))
    skip = first - mark.row
    seen = 0
    for fields in islice(reader, skip, skip + count):
        seen += 1
        if fields:
            one = fields[smiles].strip() if smiles < len(fields) else ""
            its_id = fields[identity].strip() if identity is not None and identity < len(fields) else ""
            yield row_of((mark.line + reader.line_num, one, its_id))
    if seen < count:
        raise UserError(
            f"{source.url} has changed: {count - seen:,} records fewer than when it was surveyed. Plan again."
        )


def _reader(source: Source, texts: Iterable[str]):  # type: ignore[no-untyped-def]  # csv hides its type
    csv.field_size_limit(8 * LONGEST_BYTES)  # never reached: the survey refused longer records
    return csv.reader(chain.from_iterable(map(StringIO, texts)), delimiter=DELIMITERS[source.kind])


def _records(source: Source, whole: Iterable[tuple[int, bytes]]) -> Iterator[Records]:
    """Blocks cut behind ends of records. A record left open goes in front of the next block."""
    rest = b""
    for offset, block in whole:
        if not rest and QUOTE not in block:
            yield offset, block, None
            continue
        offset -= len(rest)
        block = rest + block
        passed, is_open = _passed(source, block)
        if is_open:
            cut = int(line_ends(block)[passed[-2] - 1]) if len(passed) > 1 else 0
            block, rest, passed = block[:cut], block[cut:], passed[:-1]
            _check_length(source, rest)
        else:
            rest = b""
        if block:
            yield offset, block, passed
    if rest:
        yield offset + len(block), rest, np.array([len(line_ends(rest))])


def _check_length(source: Source, record: bytes) -> None:
    if len(record) > LONGEST_BYTES:
        start = record[:60].splitlines()[0].decode(errors="backslashreplace")
        raise UserError(
            f"{source.url} has a record longer than {LONGEST_BYTES >> 20} MiB. Is a quotation mark not closed "
            f"in the line that begins with {start}?"
        )


def _passed(source: Source, block: bytes) -> tuple[np.ndarray, bool]:
    """Lines passed when each record ends; whether the last record wants more lines.

    A blank line behind the block is a record of its own, unless an open quotation swallows it.
    """
    reader = _reader(source, [universal(block).decode("latin-1").removesuffix("\n") + "\n", "\n"])
    passed = np.array([reader.line_num for _ in reader])
    lines = passed[-1] - 1
    if len(passed) > 1 and passed[-2] == lines:
        return passed[:-1], False
    passed[-1] = lines
    return passed, True
