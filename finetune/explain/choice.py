"""Which few of the explained molecules are drawn: where the model is surest and right, and where it is most wrong.

n molecules.
    labels (n,) with NaN, predictions (n,), a number of molecules  ->  places among the n, each with what it shows
An unlabelled molecule is neither right nor wrong; without any label the highest and the lowest answers are drawn.
"""

from itertools import chain, zip_longest
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from finetune.config import Task

Order = NDArray[np.int64]


class Drawn(NamedTuple):
    """Where it stands among the explained molecules, and why it was chosen."""

    place: int
    why: str


def choose(
    labels: Float64[NDArray, " n"], predicted: Float64[NDArray, " n"], task: Task, count: int
) -> list[Drawn]:
    """At most `count`, in turn from each group, and then group after group."""
    known = np.flatnonzero(~np.isnan(labels))
    if not len(known):
        everywhere = np.arange(len(labels))
        groups = {
            "highest prediction": _first(-predicted, everywhere),
            "lowest prediction": _first(predicted, everywhere),
        }
    elif task == Task.classification:
        groups = _by_class(labels, predicted, known)
    else:
        groups = _by_error(labels, predicted, known)
    turns = zip_longest(*([Drawn(int(place), why) for place in order] for why, order in groups.items()))
    chosen: dict[int, Drawn] = {}
    for one in chain.from_iterable(turns):
        if one is not None and len(chosen) < count:
            chosen.setdefault(one.place, one)
    names = list(groups)
    return sorted(chosen.values(), key=lambda one: names.index(one.why))


def _by_class(
    labels: Float64[NDArray, " n"], predicted: Float64[NDArray, " n"], known: Order
) -> dict[str, Order]:
    right = (predicted[known] > 0.5) == (labels[known] == 1)
    unsure = -np.abs(predicted - 0.5)
    return {
        "surest right, class 1": _first(unsure, known[right & (labels[known] == 1)]),
        "surest right, class 0": _first(unsure, known[right & (labels[known] == 0)]),
        "most wrong": _first(unsure, known[~right]),
    }


def _by_error(
    labels: Float64[NDArray, " n"], predicted: Float64[NDArray, " n"], known: Order
) -> dict[str, Order]:
    error = predicted - labels
    high, low = known[error[known] > 0], known[error[known] <= 0]
    return {
        "nearest to its label": _first(np.abs(error), known),
        "most too high": _first(-error, high),
        "most too low": _first(error, low),
    }


def _first(values: Float64[NDArray, " n"], places: Order) -> Order:
    """These places, the lowest value first."""
    return places[np.argsort(values[places], kind="stable")]
