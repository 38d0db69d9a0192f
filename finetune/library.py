"""A library: a file of molecules of any length, read piece by piece, with all that it says about them.

    .csv .tsv .smi .txt, plain or .gz, or .parquet  ->  Library: its columns' names; pieces of so many rows, in order
Memory holds one piece. The same file gives the same pieces, always. Columns of text files are text, an empty field is
null; those of Parquet keep their types, unless text is asked for (a CSV holds nothing else). What has no columns gets
`line`, `smiles` and `id`, the rest of the line.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from finetune.tasks import PARQUET, column_names, has_columns, look_through, table_rows
from sharding.errors import UserError
from sharding.sources import Columns, Row, Source, Survey, read
from sharding.sources.source import WORDS

BUFFER_BYTES = 1 << 20
"""Pages of Parquet are fetched as they are needed: a row group may be larger than memory."""


@dataclass(frozen=True, eq=False)
class Piece:
    """Some rows: their columns, and the SMILES of each."""

    columns: pa.Table
    smiles: list[str]

    def __len__(self) -> int:
        return len(self.smiles)


@dataclass(frozen=True, eq=False)
class Library:
    """A file that was read through once. `Library.open(path, column)` is the way to one."""

    path: Path
    source: Source
    survey: Survey
    smiles: str
    header: list[str]

    @classmethod
    def open(cls, path: Path, smiles: str) -> "Library":
        """Raises `UserError` unless this is a file of molecules with that column, and each name stands once."""
        source, survey = look_through(path, smiles)
        if source.kind != WORDS and not has_columns(path):
            raise UserError(f"{path}: a table is read plain, as .gz or as .parquet. Decompress it.")
        header = column_names(path) if has_columns(path) else ["line", "smiles", "id"]
        return cls(path, source, survey, smiles, header)

    def pieces(self, size: int, *, as_text: bool) -> Iterator[Piece]:
        """Of `size` rows at most; none when there are no rows."""
        if not has_columns(self.path):
            yield from self._of_lines(size)
        elif self.path.suffix.lower() == PARQUET and not as_text:
            yield from self._of_parquet(size)
        else:
            yield from self._of_text(size)

    def _rows(self) -> Iterator[Row]:
        return read(self.source, self.survey, 0, self.survey.rows, Columns(smiles=self.smiles, id=""))

    def _of_lines(self, size: int) -> Iterator[Piece]:
        rows = self._rows()
        while some := list(islice(rows, size)):
            columns = pa.table(
                {
                    "line": pa.array([row.line for row in some], pa.int64()),
                    "smiles": _text([row.smiles for row in some]),
                    "id": _text([row.id for row in some]),
                }
            )
            yield Piece(columns, [row.smiles for row in some])

    def _of_text(self, size: int) -> Iterator[Piece]:
        position = self.header.index(self.smiles)
        rows = islice(table_rows(self.path), 1, None)
        while some := [fields for _, fields in islice(rows, size)]:
            columns = [_text([fields[place] for fields in some]) for place in range(len(self.header))]
            yield Piece(pa.table(columns, self.header), [fields[position] for fields in some])

    def _of_parquet(self, size: int) -> Iterator[Piece]:
        rows = self._rows()  # the SMILES as every other stage reads them, whatever type the column has
        try:
            with parquet.ParquetFile(self.path, pre_buffer=False, buffer_size=BUFFER_BYTES) as file:
                for batch in file.iter_batches(size, use_threads=False):
                    smiles = [row.smiles for row in islice(rows, len(batch))]
                    yield Piece(pa.Table.from_batches([batch]), smiles)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{self.path} is not a whole Parquet file ({error}). Write it again.") from error


def _text(values: Sequence[str]) -> pa.Array:
    return pa.array([value or None for value in values], pa.string())
