"""Molecules a line each: the first word is the SMILES, the rest of the line its id.

    .smi .smiles .txt  ->  marks; rows of a range

A blank line is no molecule, but counts as a record. A line of one word has the id "".
"""

from collections.abc import Iterator

from sharding.errors import UserError
from sharding.sources.lines import blocks, placed, text
from sharding.sources.marks import last_mark, marked
from sharding.sources.source import Mark, Row, Source, Survey, row_of
from sharding.sources.stream import Stored, pieces


def scan(source: Source, stored: Stored, every: int) -> tuple[int, tuple[Mark, ...]]:
    """Number of lines and the marks."""
    whole = placed(source.url, pieces(source, stored=stored))
    return marked(((offset, block, None) for offset, block in whole), every)


def rows(source: Source, survey: Survey, first: int, count: int) -> Iterator[Row]:
    """The molecules on `count` lines from line `first` (of 0) on."""
    mark = survey.marks[last_mark(survey, first)]
    skip, line = first - mark.row, mark.line
    for block in blocks(source.url, pieces(source, mark.offset)):
        lines = text(block).removesuffix("\n").split("\n")
        wanted = lines[skip : skip + count]
        for number, written in enumerate(wanted, line + skip + 1):
            words = written.split(None, 1)
            if len(words) == 2:
                yield row_of((number, words[0], words[1].rstrip()))
            elif words:
                yield row_of((number, words[0], ""))
        count -= len(wanted)
        if count == 0:
            return
        skip = max(0, skip - len(lines))
        line += len(lines)
    raise UserError(f"{source.url} has changed: {count:,} lines fewer than when it was surveyed. Plan again.")
