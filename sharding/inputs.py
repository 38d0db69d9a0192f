"""Where molecules come from: lines of .smi / .txt, rows of .csv / .tsv, plain or gzipped.

    path  ->  (line number from 1, SMILES as written)

In .smi and .txt the first word of a line is the SMILES, the rest its name; blank lines are not molecules.
In .csv and .tsv the column says; a row's line number is the one it ends on, as in a text editor.
"""

import csv
import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sharding.errors import UserError, did_you_mean

WORDS = (".smi", ".smiles", ".txt")
TABLES = {".csv": ",", ".tsv": "\t"}
ENDINGS = ", ".join((*WORDS, *TABLES)) + ", each also .gz"


def check_input(path: Path, column: str) -> None:
    """Raise `UserError` unless `rows` can read this file."""
    if not path.is_file():
        near = did_you_mean(
            path.name, [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        )
        raise UserError(f"input file {path} does not exist.{near}")
    if path.stat().st_size == 0:
        raise UserError(f"input file {path} is empty. Expected one molecule a line.")
    ending = _ending(path)
    if ending not in WORDS and ending not in TABLES:
        raise UserError(f"{path}: unknown kind of file '{path.suffix}'. Expected {ENDINGS}.")
    if ending in TABLES:
        with _text(path) as stream:
            _column(path, next(csv.reader(stream, delimiter=TABLES[ending]), []), column)


def rows(path: Path, column: str) -> Iterator[tuple[int, str]]:
    """Every molecule of the file: its line and its SMILES, nothing checked, white space at the ends removed."""
    ending = _ending(path)
    with _text(path) as stream:
        if ending in WORDS:
            for line, text in enumerate(stream, 1):
                words = text.split(maxsplit=1)
                if words:
                    yield line, words[0]
            return
        reader = csv.reader(stream, delimiter=TABLES[ending])
        position = _column(path, next(reader, []), column)
        for row in reader:
            if row:
                yield reader.line_num, row[position].strip() if position < len(row) else ""


def _column(path: Path, header: list[str], column: str) -> int:
    if column not in header:
        raise UserError(
            f"column '{column}' is not in {path}.{did_you_mean(column, header)} It has: {', '.join(header)}."
        )
    return header.index(column)


def _ending(path: Path) -> str:
    return Path(path.stem).suffix.lower() if path.suffix == ".gz" else path.suffix.lower()


@contextmanager
def _text(path: Path) -> Iterator[io.TextIOWrapper]:
    """Text of a file. A byte-order mark is dropped; bytes that are not UTF-8 stay visible as escapes."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as raw:
            yield io.TextIOWrapper(raw, "utf-8-sig", errors="backslashreplace", newline=None)
    except (gzip.BadGzipFile, EOFError) as error:
        raise UserError(f"{path} is not a whole gzip file ({error}). Fetch or compress it again.") from error
