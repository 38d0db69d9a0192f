"""Rows of a range of a source.

    Source, Survey, first record, number of records  ->  Row, Row, ...

However a source is cut into ranges, their rows in order are the rows of one full reading.
"""

from collections.abc import Iterator

from sharding.sources import parquet, tables, words
from sharding.sources.source import PARQUET, WORDS, Columns, Row, Source, Survey
from sharding.sources.stream import check_unchanged


def read(source: Source, survey: Survey, first: int, count: int, columns: Columns) -> Iterator[Row]:
    """Records `first` (of 0) ... `first + count - 1`, less the blank ones; none beyond the last."""
    if first < 0:
        raise ValueError(f"first record {first} is negative")
    count = min(count, survey.rows - first)
    if count <= 0:
        return iter(())
    check_unchanged(source, survey.bytes)
    if source.kind == WORDS:
        return words.rows(source, survey, first, count)
    if source.kind == PARQUET:
        return parquet.rows(source, survey, first, count, columns)
    return tables.rows(source, survey, first, count, columns)
