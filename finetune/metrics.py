"""Scores over observed labels, per target and their mean.

n molecules, t targets; NaN in `truth` is a missing label.
    truth (n, t), predicted (n, t)  ->  {metric: mean over targets, ...}
Regression: RMSE, MAE and R2 in the units of the table. Classification: ROC-AUC and PR-AUC (average precision)
of the probability of class 1. A metric that a target does not define (one class only, fewer than two labels)
is None, the reason stands under `undefined`, and the mean is over the targets that define it.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from finetune.config import METRICS, Metric, Task


class Selection(NamedTuple):
    """The validation metric that chooses the epoch."""

    metric: Metric
    higher_is_better: bool


def selection(task: Task, metric: Metric) -> Selection:
    """The task's own metric, or the one that the user asks for."""
    chosen = METRICS[task][0] if metric is Metric.auto else metric
    return Selection(chosen, task is Task.classification)


def evaluate(
    task: Task, truth: Float64[NDArray, "n t"], predicted: Float64[NDArray, "n t"], targets: Sequence[str]
) -> dict[str, Any]:
    """`{metric: mean}`; with several targets also `targets: {name: {metric: value, labels: count}}`."""
    score = _regression if task == Task.regression else _classification
    each: dict[str, dict[str, float | None]] = {}
    undefined: dict[str, str] = {}
    for place, target in enumerate(targets):
        observed = ~np.isnan(truth[:, place])
        each[target], why = score(truth[observed, place], predicted[observed, place])
        if why:
            undefined[target] = why
    names = next(iter(each.values()))
    result: dict[str, Any] = {name: _mean([values[name] for values in each.values()]) for name in names}
    result["labels"] = int((~np.isnan(truth)).sum())
    if len(targets) > 1:
        counts = (~np.isnan(truth)).sum(axis=0)
        result["targets"] = {
            target: {**values, "labels": int(count)}
            for (target, values), count in zip(each.items(), counts, strict=True)
        }
    if undefined:
        result["undefined"] = undefined
    return result


Scores = tuple[dict[str, float | None], str]
"""Values by metric, and why some are None."""


def _regression(truth: Float64[NDArray, " k"], predicted: Float64[NDArray, " k"]) -> Scores:
    if not len(truth):
        return {"rmse": None, "mae": None, "r2": None}, "no label"
    residual = predicted - truth
    spread = float(((truth - truth.mean()) ** 2).sum())
    values: dict[str, float | None] = {
        "rmse": float(np.sqrt((residual**2).mean())),
        "mae": float(np.abs(residual).mean()),
        "r2": 1 - float((residual**2).sum()) / spread if spread else None,
    }
    return values, "" if spread else "r2: one value only"


def _classification(truth: Float64[NDArray, " k"], predicted: Float64[NDArray, " k"]) -> Scores:
    from sklearn.metrics import average_precision_score, roc_auc_score  # a second to import

    if len(np.unique(truth)) < 2:
        return {"roc_auc": None, "pr_auc": None}, "one class only" if len(truth) else "no label"
    areas: dict[str, Callable[..., float]] = {"roc_auc": roc_auc_score, "pr_auc": average_precision_score}
    return {name: float(area(truth, predicted)) for name, area in areas.items()}, ""


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None
