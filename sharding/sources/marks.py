"""Marks: where in a source the reading of a range may begin.

    blocks and where their records end  ->  number of records, a mark every so many of them

A mark holds the offset in the uncompressed file and the lines above it, so nothing before it need be read.
"""

from bisect import bisect_right
from collections.abc import Iterable

import numpy as np

from sharding.sources.lines import line_ends
from sharding.sources.source import Mark, Survey

Records = tuple[int, bytes, np.ndarray | None]
"""A block of whole records: its offset, its bytes, how many of its lines have passed when each record ends
(None: a record is a line)."""


def marked(records: Iterable[Records], every: int, header: int = 0) -> tuple[int, tuple[Mark, ...]]:
    """Number of records after `header` of them, and a mark before each `every`-th."""
    marks = []
    row, line = -header, 0
    for offset, block, passed in records:
        ends = line_ends(block)
        count = len(ends) if passed is None else len(passed)
        for k in range(-row if row < 0 else -row % every, count, every):
            lines_before = 0 if k == 0 else k if passed is None else int(passed[k - 1])
            start = int(ends[lines_before - 1]) if lines_before else 0
            marks.append(Mark(row + k, offset + start, line + lines_before))
        row += count
        line += len(ends)
    return max(row, 0), tuple(marks)


def last_mark(survey: Survey, row: int) -> int:
    """Index of the last mark at or before a row."""
    return bisect_right(survey.marks, row, key=lambda mark: mark.row) - 1
