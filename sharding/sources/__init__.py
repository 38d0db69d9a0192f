"""Where molecules come from: any pile of SMILES files, here or at any address that fsspec reads.

    find(patterns)               -> [Source]   paths, globs, folders, addresses; nothing is read yet
    survey(source, columns)      -> Survey     one pass: hash, number of rows, marks to begin from
    read(source, survey, range)  -> Rows       line, SMILES and id of each molecule
    same(source, survey)         -> bool       whether a stored survey still holds, so that none is made again

.smi .smiles .txt (first word, rest of the line), .csv .tsv (column by name), each also .gz or .zst; .parquet.
"""

from sharding.sources.find import ENDINGS, find
from sharding.sources.read import read
from sharding.sources.source import MARK_EVERY, Columns, Mark, Row, Source, Survey, same
from sharding.sources.survey import survey

__all__ = [
    "ENDINGS",
    "MARK_EVERY",
    "Columns",
    "Mark",
    "Row",
    "Source",
    "Survey",
    "find",
    "read",
    "same",
    "survey",
]
