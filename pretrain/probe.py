"""A probe: how well the frozen encoders' vectors predict a label that the run never sees, while it goes on.

    Labelled: molecules (m), labels (m);   engine  ->  score by cross-validation, and its baseline
m labelled molecules, w the widths of all views together. Vectors (m, w) are those before the projection heads, which
fine-tuning reads too; all ranks make them, the first one fits. Ridge regression, or logistic regression where every
label is 0 or 1, on standardised features; its strength is chosen inside each of 5 training parts. The folds are those
of a fixed seed, so the score of two evaluations differs by the encoders only.

    numbers    R2 of all held-out predictions together, and RMSE; baseline: predicting the training part's mean
    0 and 1    mean ROC-AUC of the folds; baseline: 0.5
Linear probes after Alain and Bengio 2016 (arXiv 1610.01644). A molecule that the table has twice counts once, so none
is in two folds. A score to watch and not to publish: molecules are split at random, not by scaffold.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from pretrain.batch import collate
from pretrain.diagnostics import from_all_ranks
from pretrain.labelled import SEED, Labelled

FOLDS = 5
RIDGES, INVERSE_RIDGES = np.logspace(0, 5, 6), np.logspace(-4, 0, 5)


class Probe:
    """A labelled table on its rank: its share of the molecules, the same number on every rank."""

    def __init__(self, labelled: Labelled, size: int) -> None:
        rank, world = dist.get_rank(), dist.get_world_size()
        self.labelled, self.fits = labelled, rank == 0
        count = len(labelled.labels)
        each = -(-count // world)
        rows = (
            np.arange(rank * each, (rank + 1) * each) % count
        )  # the last rank begins again where rows are few
        self.batches = [
            collate(labelled.molecules.take(rows[begin : begin + size])) for begin in range(0, each, size)
        ]

    def __call__(self, engine: Any) -> dict[str, Any]:
        """`probe`, `probe_metric`, `probe_baseline`, on the first rank. Every rank calls this at the same step."""
        vectors = self.vectors(engine)
        return score(vectors.cpu().numpy(), self.labelled) if self.fits else {}

    @torch.no_grad()
    def vectors(self, engine: Any) -> Float[Tensor, "m w"]:
        """Of all molecules, on every rank."""
        engine.eval()
        parts = []
        for batch in self.batches:
            with heads_inputs(engine.module) as vectors:
                engine(batch.to(engine.device))
            parts.append(torch.cat([rows.float() for rows in vectors.values()], dim=1))
        engine.train()
        return from_all_ranks(torch.cat(parts))[: len(self.labelled.labels)]


@contextmanager
def heads_inputs(model: Any) -> Iterator[dict[str, Float[Tensor, "k _"]]]:
    """What the projection heads are given in a forward inside, by view.

    Seen from within a whole forward: ZeRO-3 gathers parameters by the order of calls, and one without the heads
    would be another order.
    """
    seen: dict[str, Tensor] = {}

    def keep(view: str) -> Callable[..., None]:
        return lambda _, given: seen.update({view: given[0]})

    handles = [head.register_forward_pre_hook(keep(view)) for view, head in model.heads.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def score(vectors: Float[NDArray, "m w"], labelled: Labelled) -> dict[str, Any]:
    """The probe's numbers; NaN where a vector is not finite."""
    metric = "roc_auc" if labelled.classes else "r2"
    if not np.isfinite(vectors).all():
        return {"probe": math.nan, "probe_metric": metric}
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a probe that is nearly there says as much
        found = _areas(vectors, labelled.labels) if labelled.classes else _errors(vectors, labelled.labels)
    return {"probe_metric": metric, **found}


def _areas(vectors: Float[NDArray, "m w"], labels: NDArray[np.float64]) -> dict[str, float]:
    """ROC-AUC by fold: the folds' models have scales of their own, so their predictions do not mix."""
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    areas = []
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=SEED).split(vectors, labels):
        chosen = LogisticRegressionCV(
            Cs=INVERSE_RIDGES, cv=3, scoring="neg_log_loss", l1_ratios=(0,), use_legacy_attributes=False
        )
        model = make_pipeline(StandardScaler(), chosen).fit(vectors[train], labels[train])
        areas.append(roc_auc_score(labels[test], model.decision_function(vectors[test])))
    return {"probe": float(np.mean(areas)), "probe_baseline": 0.5}


def _errors(vectors: Float[NDArray, "m w"], labels: NDArray[np.float64]) -> dict[str, float]:
    """R2 and RMSE of all held-out predictions, and those of the training parts' means."""
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import KFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    predicted, means = np.empty_like(labels), np.empty_like(labels)
    for train, test in KFold(FOLDS, shuffle=True, random_state=SEED).split(vectors):
        model = make_pipeline(StandardScaler(), RidgeCV(RIDGES)).fit(vectors[train], labels[train])
        predicted[test], means[test] = model.predict(vectors[test]), labels[train].mean()
    spread = np.square(labels - labels.mean()).mean()
    errors, baseline = (np.square(labels - guess).mean() for guess in (predicted, means))
    return {
        "probe": float(1 - errors / spread),
        "probe_baseline": float(1 - baseline / spread),
        "probe_rmse": float(np.sqrt(errors)),
        "probe_rmse_baseline": float(np.sqrt(baseline)),
    }
