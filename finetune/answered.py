"""What is said of a piece's molecules, as columns beside those that it came with.

n rows of a piece, m of them molecules, t targets.
    Piece (n), FineTuned  ->  its columns and, for each target, what finetune/predict.py says, each (n,)
Numbers have eight significant digits, more than float32 knows, so CSV and Parquet say the same.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pyarrow as pa
from jaxtyping import Float64, Int
from numpy.typing import NDArray

from finetune.config import PredictConfig, Task
from finetune.design import Design
from finetune.library import Piece
from finetune.model import FineTuned
from finetune.tasks import number, predicted_name

DOMAIN = ("nearest_tanimoto", "embedding_distance", "inside_domain")
SETS = ("neither", "0", "1", "0|1")
"""By whether 0 is in the set, plus twice whether 1 is."""
Column = tuple[str, pa.Array]


def added_columns(design: Design, config: PredictConfig) -> list[str]:
    """Their names, in order."""
    ends = {Task.regression: ("low", "high"), Task.classification: ("set",)}[design.task]
    of_targets = [
        name
        for target in design.targets
        for name in (predicted_name(target), *(f"{target}_{end}" for end in ends if config.level))
    ]
    return [*of_targets, *(DOMAIN if config.applicability else ()), "error"]


def answered(piece: Piece, model: FineTuned, config: PredictConfig) -> pa.Table:
    """The piece's columns and the added ones."""
    made, reasons = model.molecules(piece.smiles)
    answers = model.answers(made, config.batch)
    column = partial(_column, rows=np.asarray(made.molecules.line, np.int64), count=len(piece))
    columns = [column(values) for values in _of_targets(model, answers.predicted, config.level)]
    if config.applicability:
        assert model.domain is not None
        similarity, distance, inside = model.domain.nearness(made.smiles, answers.vectors)
        far = np.full(len(similarity), np.nan) if distance is None else distance
        columns += [column(similarity), column(far), column(inside)]
    columns.append(pa.array([reasons.get(row) for row in range(len(piece))], pa.string()))
    table = piece.columns
    for name, values in zip(added_columns(model.design, config), columns, strict=True):
        table = table.append_column(name, values)
    return table


def _of_targets(
    model: FineTuned, predicted: Float64[NDArray, "m t"], level: float
) -> Iterator[NDArray[np.generic]]:
    """Target by target: the answers, and what holds the truth at this level."""
    beside: list[NDArray[np.generic]] = []
    if level:
        assert model.calibration is not None
        if model.design.task == Task.regression:
            beside = list(model.calibration.interval(predicted, level))
        else:
            within = model.calibration.classes(predicted, level)
            beside = [np.array(SETS)[within @ [1, 2]]]
    for target in range(predicted.shape[1]):
        yield predicted[:, target]
        yield from (values[:, target] for values in beside)


def _column(values: NDArray[np.generic], rows: Int[NDArray, " m"], count: int) -> pa.Array:
    """These values at these rows; null elsewhere, and for a number that is not finite."""
    found: list[object] = [None] * count
    rounded = values.dtype.kind == "f"
    for row, value in zip(rows.tolist(), values.tolist(), strict=True):
        if not rounded:
            found[row] = value
        elif np.isfinite(value):
            found[row] = float(number(value))
    kinds = {"f": pa.float64(), "b": pa.bool_(), "U": pa.string()}
    return pa.array(found, kinds[values.dtype.kind])
