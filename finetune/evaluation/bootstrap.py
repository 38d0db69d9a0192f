"""How sure a score is, and a difference of two: molecules of the test part drawn again, with replacement.

n test molecules, b resamples, w (b, n) how often a resample drew each.
    truth and predictions (n, t) of each seed, w  ->  the metric of every resample, mean over seeds (b,)
Both models of a pair meet the same resamples, so what is hard for both cancels: a paired bootstrap (Efron and
Tibshirani 1993, chapter 16). Its interval is about the molecules; the spread over seeds stands beside it.

    ROC-AUC = sum_i w_i p_i (N_i + T_i / 2) / (P N):   N_i, T_i weight of negatives below and level with i
    average precision = sum over thresholds of (recall step) x precision
    RMSE = sqrt(sum w (y - f)^2 / sum w),  MAE likewise
A resample in which a metric is not defined (one class only) is left out of the quantiles.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int
from numpy.typing import NDArray

from finetune.config import Metric

RESAMPLES = 1000
LEVEL = 0.95


class Interval(NamedTuple):
    """The middle `LEVEL` of the resamples."""

    low: float
    high: float


class Answers(NamedTuple):
    """The test part of one run: labels and predictions of n molecules."""

    truth: Float64[NDArray, "n t"]
    predicted: Float64[NDArray, "n t"]


def draws(n: int, seed: int = 0, resamples: int = RESAMPLES) -> Int[NDArray, "b n"]:
    """How often each of n molecules is drawn in each resample."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)


def interval(values: Float64[NDArray, " b"]) -> Interval | None:
    """None where no resample defines the metric."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return None
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def resampled(
    metric: Metric, seeds: Sequence[Answers], weights: Int[NDArray, "b n"]
) -> Float64[NDArray, " b"]:
    """The metric of each resample: mean over the targets that define it, then over seeds. NaN labels are missing."""
    found = []
    for truth, predicted in seeds:
        targets = [
            weighted(metric, truth[seen, place], predicted[seen, place], weights[:, seen])
            for place in range(truth.shape[1])
            if (seen := ~np.isnan(truth[:, place])).any()
        ]
        found.append(_mean(np.stack(targets)) if targets else np.full(len(weights), np.nan))
    return np.mean(found, axis=0)


def weighted(
    metric: Metric,
    truth: Float64[NDArray, " n"],
    predicted: Float64[NDArray, " n"],
    weights: Int[NDArray, "b n"],
) -> Float64[NDArray, " b"]:
    """One target's metric under each row of weights; NaN where it is not defined."""
    total = weights.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        if metric is Metric.rmse:
            return np.sqrt(weights @ (truth - predicted) ** 2 / total)
        if metric is Metric.mae:
            return weights @ np.abs(truth - predicted) / total
        order = np.argsort(-predicted, kind="stable")
        last = np.flatnonzero(np.append(np.diff(predicted[order]) != 0, True))  # of each run of equal scores
        positives = np.cumsum(weights[:, order] * truth[order], axis=1)[:, last]
        negatives = np.cumsum(weights[:, order] * (1 - truth[order]), axis=1)[:, last]
        p, n = positives[:, -1:], negatives[:, -1:]
        step = np.diff(positives, axis=1, prepend=0)
        if metric is Metric.pr_auc:
            above = positives + negatives  # none: nothing drawn yet, and no step
            precision = np.divide(positives, above, out=np.zeros_like(positives, float), where=above > 0)
            return np.where(p[:, 0] > 0, (step / p * precision).sum(1), np.nan)
        level = np.diff(negatives, axis=1, prepend=0)
        return (step * (n - negatives + level / 2)).sum(1) / (p * n)[:, 0]


def _mean(values: Float64[NDArray, "t b"]) -> Float64[NDArray, " b"]:
    """Over the targets that are not NaN."""
    defined = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(defined, values, 0).sum(0) / np.where(defined.any(0), defined.sum(0), np.nan)
