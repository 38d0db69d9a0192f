"""A labelled table: which rows there are, what their labels say, and every way in which that can go wrong.

r rows, t targets.
    .csv or .tsv, plain or .gz, or .parquet  ->  Table: header, rows as written, SMILES (r), labels (r, t) float64
A missing label is NaN. Rows keep their order and their text: what is read here is written again beside the
predictions. Blank lines are no rows; a row's line is the one it ends on, as in a text editor.

A row that is too long for its header is refused and not cut: a value under the wrong name is worse than none.
"""

import csv
import gzip
import io
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from finetune.config import Task
from sharding.errors import UserError, did_you_mean
from sharding.files import write_whole
from sharding.molecule import REASONS
from sharding.sources import Columns, Source, Survey, find, survey

MISSING_LABEL = frozenset({"", "nan", "na", "n/a", "null", "none"})
"""Case ignored."""

TABLES = {".csv": ",", ".tsv": "\t"}
PARQUET = ".parquet"


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Rows as written, and their labels; shapes in the module's head."""

    header: list[str]
    rows: list[list[str]]
    smiles: list[str]
    labels: Float64[NDArray, "r t"]


def read_table(path: Path, smiles: str, targets: Sequence[str], task: Task) -> Table:
    """The whole table, checked. Raises `UserError` with the column and line that is wrong."""
    header = read_header(path, smiles)
    for target in targets:
        if target not in header:
            raise UserError(
                f"target '{target}' is not in {path}.{did_you_mean(target, header)} "
                f"It has: {', '.join(header)}."
            )
    numbered = list(table_rows(path))[1:]
    if not numbered:
        raise UserError(f"{path} has a header and no rows. Expected one labelled molecule a row.")
    rows = [row for _, row in numbered]
    labels = np.empty((len(rows), len(targets)))
    for place, target in enumerate(targets):
        column = header.index(target)
        for index, (line, row) in enumerate(numbered):
            labels[index, place] = read_label(row[column], task, f"target '{target}' of {path}, line {line},")
        _check_labels(labels[:, place], task, f"target '{target}' of {path}")
    position = header.index(smiles)
    return Table(header, rows, [row[position] for row in rows], labels)


def look_through(path: Path, smiles: str) -> tuple[Source, Survey]:
    """The file, read once; raises `UserError` unless it is one of molecules with that column."""
    (source,) = find(str(path))
    return source, survey(source, Columns(smiles=smiles, id=""))


def read_header(path: Path, smiles: str) -> list[str]:
    """The column names; raises `UserError` unless this is a table in which each name stands once."""
    look_through(path, smiles)
    return column_names(path)


def column_names(path: Path) -> list[str]:
    """The header, without a look at the rows. Raises `UserError` for a file that is no table."""
    find(str(path))
    if not has_columns(path):
        raise UserError(f"{path} has no columns. Expected a table: .csv or .tsv, plain or .gz, or .parquet.")
    header = next(table_rows(path), (0, []))[1]
    if not header:
        raise UserError(f"{path} is empty. Expected a header and one molecule a row.")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise UserError(f"{path} has several columns named '{twice[0]}'. Rename all but one.")
    return header


def table_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, fields) of the header, then of every row. Fields that a row lacks at its end are empty."""
    if path.suffix.lower() == PARQUET:
        yield from _parquet_rows(path)
        return
    width, line = 0, 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as raw:
            text = io.TextIOWrapper(raw, "utf-8-sig", errors="backslashreplace", newline="")
            reader = csv.reader(text, delimiter=table_delimiter(path) or ",")
            for fields in reader:
                line = reader.line_num
                if not fields:
                    continue
                width = width or len(fields)
                if len(fields) > width:
                    raise UserError(
                        f"{path}, line {line}: {len(fields)} fields under a header of {width}. "
                        "Quote fields that hold the delimiter."
                    )
                yield line, fields + [""] * (width - len(fields))
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is not a whole gzip file ({error}). Fetch or compress it again.") from error
    except csv.Error as error:
        raise UserError(
            f"{path}, after line {line}: {error}. Expected a table with one molecule a row."
        ) from error


def _parquet_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """As text: a missing value is empty, a number as Python writes it. The header counts as line 1."""
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            yield 1, list(file.schema_arrow.names)
            line = 1
            for piece in file.iter_batches():
                for fields in zip(*(column.to_pylist() for column in piece.columns), strict=True):
                    line += 1
                    yield line, ["" if value is None else str(value) for value in fields]
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path} is not a whole Parquet file ({error}). Write it again.") from error


def has_columns(path: Path) -> bool:
    """Whether the ending is a table's."""
    return path.suffix.lower() == PARQUET or table_delimiter(path) is not None


def table_delimiter(path: Path) -> str | None:
    """What stands between two fields; None when the ending is no table's."""
    ending = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    return TABLES.get(ending.lower())


def predicted_name(target: str) -> str:
    """The column with a target's predictions."""
    return f"{target}_predicted"


def check_free(path: Path, header: Sequence[str], added: Sequence[str]) -> None:
    """Raise `UserError` when a column that is to be added is there already."""
    for name in added:
        if name in header:
            raise UserError(f"{path} has a column '{name}', which predictions would add. Rename it there.")


def number(value: float) -> str:
    """A prediction as text: eight digits, more than float32 knows."""
    return f"{value:.8g}"


def reasons_in_words(rejected: Mapping[str, int]) -> str:
    """`3 x syntax (not a SMILES), 1 x empty (the field is empty)`."""
    return ", ".join(f"{count:,} x {reason} ({REASONS[reason]})" for reason, count in rejected.items())


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A CSV that is whole or absent; rows are written as they come."""

    def write(stream: IO[bytes]) -> None:
        text = io.TextIOWrapper(stream, "utf-8", newline="")
        csv.writer(text, lineterminator="\n").writerows(chain([header], rows))
        text.detach()  # flushes, and leaves the stream open for its owner

    write_whole(path, write)


def read_label(text: str, task: Task, where: str) -> float:
    """A label's number, NaN where it is missing. Raises `UserError` for anything else."""
    text = text.strip()
    if text.lower() in MISSING_LABEL:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.inf
    if not math.isfinite(value):
        raise UserError(f"{where} is '{text}'. Expected a number, or nothing where the label is missing.")
    if task == Task.classification and value not in (0, 1):
        raise UserError(
            f"{where} is '{text}'. Classification expects 0 or 1 (nothing where missing); "
            "for numbers use task=regression."
        )
    return value


def _check_labels(labels: Float64[NDArray, " r"], task: Task, where: str) -> None:
    found = labels[~np.isnan(labels)]
    if not len(found):
        raise UserError(f"{where} has no label in any row. Choose another column.")
    if (found == found[0]).all():
        kind = "label" if task == Task.regression else "class"
        raise UserError(
            f"{where} has one {kind} only, {found[0]:g}: nothing to learn. Choose another column."
        )
