"""Embedding: a file of molecules of any length becomes the same rows with their vectors.

    EmbedConfig  ->  .parquet or .csv: line, smiles, id, error, and per view its vector
Parquet holds a vector as one list column a view (`local`, `global`, `smiles_vector`, `text`), CSV as one column a
number (`local_0`, `local_1`, ...). Rows keep their order; one whose SMILES is rejected has its reason under
`error` (a key of `sharding.molecule.REASONS`) and no vectors. Memory does not grow with the file, see
`sharding.piecewise`.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pretrain.config import EmbedConfig
from pretrain.encoder import Encoder
from sharding.files import sha256
from sharding.piecewise import check_output, piecewise
from sharding.progress import ProgressLine
from sharding.sources import Columns, Row, find, read, survey

PIECE = 8192
"""Rows in memory at a time."""


@dataclass
class Account:
    """What became of the rows."""

    n: int = 0
    rejected: Counter[str] = field(default_factory=Counter)


def embed(config: EmbedConfig) -> Account:
    """Write the output and say what became of the rows."""
    table, output = Path(config.table), Path(config.output)
    check_output(output, overwrite=config.overwrite, inputs=[table])
    (source,) = find(str(table))
    columns = Columns(smiles=config.smiles, id=config.id)
    found = survey(source, columns)
    encoder = Encoder.from_pretrained(config.encoder, config.device)
    views = encoder.choose_views(config.views)
    account = Account()

    def answer(piece: list[Row]) -> pa.Table:
        vectors, rejected = encoder.embed([row.smiles for row in piece], views=views)
        return _table(piece, vectors, rejected, wide=output.suffix.lower() == ".csv")

    with ProgressLine("embed", found.rows) as line:

        def done(piece: list[Row], made: pa.Table) -> None:
            account.n += len(piece)
            account.rejected.update(reason for reason in made["error"].to_pylist() if reason)
            line.advance(len(piece))

        identity = {
            "table": found.sha256,
            "columns": list(columns),
            "encoder": sha256(Path(config.encoder) / "model.safetensors"),
            "views": views,
            "format": output.suffix.lower(),
            "piece": PIECE,
        }
        rows = read(source, found, 0, found.rows, columns)
        piecewise(_pieces(rows), answer, output, identity, done)
    return account


def column_names(views: list[str]) -> dict[str, str]:
    """{view: column}: the molecule's own SMILES has the shorter name."""
    return {view: "smiles_vector" if view == "smiles" else view for view in views}


def _pieces(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """One at least, so that an empty file gives a header."""
    yield list(islice(rows, PIECE))
    while piece := list(islice(rows, PIECE)):
        yield piece


def _table(
    piece: list[Row], vectors: dict[str, NDArray[np.float32]], reasons: dict[int, str], *, wide: bool
) -> pa.Table:
    columns: dict[str, pa.Array] = {
        "line": pa.array([row.line for row in piece], pa.int64()),
        "smiles": pa.array([row.smiles for row in piece], pa.string()),
        "id": pa.array([row.id for row in piece], pa.string()),
        "error": pa.array([reasons.get(place) for place in range(len(piece))], pa.string()),
    }
    rejected = np.zeros(len(piece), bool)
    rejected[list(reasons)] = True
    for view, name in column_names(list(vectors)).items():
        rows = vectors[view]
        if wide:
            for place in range(rows.shape[1]):
                columns[f"{name}_{place}"] = pa.array(rows[:, place], pa.float32(), mask=rejected)
        else:
            flat = pa.array(rows.reshape(-1), pa.float32())
            columns[name] = pa.FixedSizeListArray.from_arrays(flat, rows.shape[1], mask=pa.array(rejected))
    return pa.table(columns)
