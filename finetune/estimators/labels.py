"""y as scikit-learn has it, and labels as fine-tuning has them.

y (n,), or y (n, t) with NaN where a label is missing  ->  labels (n, t) float64; and the two classes
"""

from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import assert_all_finite, check_array, column_or_1d
from sklearn.utils.multiclass import type_of_target


def numbers(y: ArrayLike | None) -> tuple[Float64[NDArray, "n t"], bool]:
    """Of a regression; and whether y has one dimension, where no label may be missing."""
    given = _given(y)
    return _as_floats(given, may_miss=given.ndim == 2), given.ndim == 1


def classes(y: ArrayLike | None) -> tuple[Float64[NDArray, "n t"], NDArray[Any]]:
    """Two classes of any kind in one column, or columns of 0, 1 and NaN; 0 and 1 stand for the first and the second."""
    given = _given(y)
    if given.ndim == 2 and given.shape[1] > 1:
        labels = _as_floats(given, may_miss=True)
        if not np.isin(labels[~np.isnan(labels)], (0, 1)).all():
            raise ValueError("y has several columns: expected 0, 1, or NaN where a label is missing.")
        return labels, np.array([0, 1])
    column = column_or_1d(given, warn=True)
    assert_all_finite(column, input_name="y")
    kind = type_of_target(column, input_name="y", raise_unknown=True)
    if kind != "binary":
        raise ValueError(f"Only binary classification is supported. The type of the target is {kind}.")
    found, codes = np.unique(column, return_inverse=True)
    if len(found) < 2:
        raise ValueError(f"y has 1 class only, {found[0]!r}: nothing to learn.")
    return codes[:, None].astype(np.float64), found


def _given(y: ArrayLike | None) -> NDArray[Any]:
    if y is None:
        raise ValueError("fit requires y to be passed, but the target y is None.")
    return np.asarray(y)


def _as_floats(y: NDArray[Any], *, may_miss: bool) -> Float64[NDArray, "n t"]:
    finite = "allow-nan" if may_miss else True
    found = check_array(y, dtype=np.float64, ensure_2d=False, ensure_all_finite=finite, input_name="y")
    return found.reshape(len(found), -1)
