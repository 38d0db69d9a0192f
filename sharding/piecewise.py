"""Answers to a file of any length: made piece by piece, kept as they come, joined at the end, whole or absent.

    pieces of rows, what answers one  ->  output (.csv or .parquet): the answers' rows, in order
Memory holds one piece. A job that ends before its time leaves its finished pieces beside the output in
`.<name>.work/`; the same job (same `identity`) goes on from there, another one starts anew.
"""

import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any, TypeVar

import pyarrow as pa
from pyarrow import csv, ipc, parquet

from sharding.errors import UserError
from sharding.files import read_json, write_json, write_whole

FORMATS = (".csv", ".parquet")
Piece = TypeVar("Piece")


def check_output(output: Path, *, overwrite: bool, inputs: Iterable[Path] = ()) -> None:
    """Raise `UserError` unless this file may be written."""
    if output.is_dir():
        raise UserError(f"output={output} is a folder. Give the name of a file.")
    if output.suffix.lower() not in FORMATS:
        raise UserError(f"output={output}: give a name that ends in {' or '.join(FORMATS)}.")
    if output.resolve() in {path.resolve() for path in inputs}:
        raise UserError(f"output={output} is the table itself. Give another name.")
    if output.exists() and not overwrite:
        raise UserError(f"output={output} exists. Give another name, or overwrite=true.")


def work_folder(output: Path) -> Path:
    """Where finished pieces wait."""
    return output.with_name(f".{output.name}.work")


def forget(output: Path) -> None:
    """Leave nothing to go on from."""
    shutil.rmtree(work_folder(output), ignore_errors=True)


def piecewise(
    pieces: Iterable[Piece],
    answer: Callable[[Piece], pa.Table],
    output: Path,
    identity: Mapping[str, Any],
    done: Callable[[Piece, pa.Table], object],
) -> None:
    """Answer every piece that is not answered yet, tell `done` of each, then write the output.

    Every table has the same columns. `identity` (JSON) names everything that the answers depend on.
    """
    work = work_folder(output)
    if not (work / "identity.json").is_file() or read_json(work / "identity.json") != identity:
        forget(output)
        write_json(work / "identity.json", dict(identity))
    files = []
    for number, piece in enumerate(pieces):
        file = work / f"{number:09d}.arrow"
        if file.is_file():
            table = _read(file)
        else:
            table = answer(piece)
            write_whole(file, lambda stream, made=table: _write(stream, made))  # type: ignore[misc]
        files.append(file)
        done(piece, table)
    write_whole(output, lambda stream: _join(stream, files, output.suffix.lower()))
    shutil.rmtree(work)


def _join(stream: IO[bytes], files: list[Path], ending: str) -> None:
    """All pieces in order, one in memory at a time."""
    schema = _read(files[0]).schema
    if ending == ".parquet":
        with parquet.ParquetWriter(stream, schema, compression="zstd") as writer:
            for file in files:
                writer.write_table(_read(file))
        return
    options = csv.WriteOptions(quoting_style="needed")
    with csv.CSVWriter(stream, schema, write_options=options) as writer:
        for file in files:
            writer.write_table(_read(file))


def _write(stream: IO[bytes], table: pa.Table) -> None:
    with ipc.new_file(stream, table.schema) as writer:
        writer.write_table(table)


def _read(file: Path) -> pa.Table:
    with file.open("rb") as stream:
        return ipc.open_file(stream).read_all()
