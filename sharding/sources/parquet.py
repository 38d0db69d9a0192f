"""Parquet: rows by row group, read in batches.

    .parquet  ->  header, marks (the row groups); rows of a range

pyarrow is imported when the first such file is met. Text that is not UTF-8 stays visible as escapes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat
from typing import Any

from sharding.errors import UserError
from sharding.sources.header import positions
from sharding.sources.lines import visible
from sharding.sources.marks import last_mark
from sharding.sources.source import Columns, Mark, Row, Source, Survey, row_of
from sharding.sources.stream import in_one_line, opened

BATCH_ROWS = 16_384
BUFFER_BYTES = 1 << 20
"""Pages are fetched as they are needed: a row group may be larger than memory."""


def scan(source: Source, columns: Columns) -> tuple[tuple[str, ...], int, tuple[Mark, ...]]:
    """Header, number of rows, and a mark per row group."""
    with _file(source) as file:
        schema = file.schema_arrow
        header = tuple(schema.names)
        for position in positions(source.url, header, columns):
            if position is not None:
                _check_type(source, schema.field(position))
        marks, row = [], 0
        for group in range(file.num_row_groups):
            marks.append(Mark(row, group, row))
            row += file.metadata.row_group(group).num_rows
    return header, row, tuple(marks)


def rows(source: Source, survey: Survey, first: int, count: int, columns: Columns) -> Iterator[Row]:
    """`count` rows from row `first` (of 0) on."""
    positions(source.url, survey.header, columns)
    start, end = last_mark(survey, first), last_mark(survey, first + count - 1) + 1
    skip, row = first - survey.marks[start].row, survey.marks[start].row
    with _file(source) as file:
        batches = file.iter_batches(
            batch_size=BATCH_ROWS,
            row_groups=range(start, end),
            columns=[column for column in dict.fromkeys(columns) if column],
            use_threads=False,
        )
        for batch in batches:
            part = batch.slice(skip, count)
            lines = range(row + skip + 1, row + skip + len(part) + 1)
            identities = _text(part[columns.id]) if columns.id else repeat("")
            yield from map(row_of, zip(lines, _text(part[columns.smiles]), identities, strict=False))
            count -= len(part)
            skip = max(0, skip - len(batch))
            row += len(batch)


@contextmanager
def _file(source: Source) -> Iterator[Any]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    with opened(source) as stream:
        try:
            with ParquetFile(stream, pre_buffer=False, buffer_size=BUFFER_BYTES) as file:
                yield file
        except (pyarrow.ArrowException, OSError) as error:
            raise UserError(
                f"{source.url} is not a whole Parquet file ({in_one_line(error)}). Fetch it again."
            ) from error


def _check_type(source: Source, field: Any) -> None:
    from pyarrow import types

    kind = field.type.value_type if types.is_dictionary(field.type) else field.type
    if types.is_nested(kind):
        raise UserError(f"column '{field.name}' of {source.url} holds {kind}. Expected text.")


def _text(column: Any) -> list[str]:
    import pyarrow

    if pyarrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    try:
        values = column.to_pylist()
    except UnicodeDecodeError:
        values = column.cast(pyarrow.large_binary()).to_pylist()
    return [_shown(value) for value in values]


def _shown(value: Any) -> str:
    if type(value) is str:
        return (value.replace("\0", r"\x00") if "\0" in value else value).strip()
    if value is None:
        return ""
    return visible(value).strip() if isinstance(value, bytes) else str(value)
