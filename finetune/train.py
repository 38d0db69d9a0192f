"""Fitting: the head, and the encoder when it is not frozen, to the observed labels of the training part.

n molecules, t targets, k of a batch.
    molecules (n), labels (n, t), rows that train and that validate  ->  fitted weights, one record an epoch
    loss = mean over observed (i, j) of  (y_ij - f_ij)^2  or  BCE-with-logits(f_ij, y_ij)          (1)
A missing label has no term in (1), hence no gradient. The validation part chooses the epoch and nothing else;
the test part's labels do not come into this file.

Frozen, every molecule is encoded once and the head is trained on the kept vectors. On a CPU the same seed
gives the same weights; a GPU adds up scattered gradients in no fixed order.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from finetune.config import FinetuneConfig, Task
from finetune.metrics import evaluate, selection
from finetune.model import FineTuned, ReadViews
from sharding.errors import UserError


@dataclass(frozen=True, eq=False)
class Examples:
    """n molecules with labels (n, t) in original units, NaN where missing, and two disjoint sets of rows."""

    labels: Float64[NDArray, "n t"]
    train: NDArray[np.int64]
    valid: NDArray[np.int64]


class Fitted(NamedTuple):
    """What came of it; the model holds the best epoch's weights."""

    epochs: int
    best_epoch: int


def fit(
    model: FineTuned,
    read: ReadViews,
    examples: Examples,
    config: FinetuneConfig,
    report: Callable[[dict[str, Any]], None],
) -> Fitted:
    """Train until the validation score has not improved for `patience` epochs; report each epoch."""
    labels = torch.from_numpy(model.scaler.scaled(examples.labels)).float().to(model.device)
    trained = model.modules(frozen=config.freeze)
    optimizer = _optimizer(trained, config)
    shuffles = torch.Generator().manual_seed(config.seed)
    metric, higher_is_better = selection(config.task, config.metric)
    best = BestEpoch(trained, higher_is_better)
    epoch = 0
    for epoch in range(1, config.epochs + 1):
        trained.train()
        loss = _train_epoch(model, read, labels, _batches(examples.train, config.batch, shuffles), optimizer)
        if not np.isfinite(loss):
            raise UserError(
                f"the training loss became {loss} in epoch {epoch}. Use a smaller learning_rate (is "
                f"{config.learning_rate:g}) or encoder_learning_rate (is {config.encoder_learning_rate:g})."
            )
        predicted = model.predict(read, examples.valid)
        score = evaluate(config.task, examples.labels[examples.valid], predicted, config.targets)[metric]
        best.see(epoch, score)
        report({"epoch": epoch, "train_loss": loss, f"valid_{metric}": score})
        if epoch - best.epoch >= config.patience:
            break
    best.restore()
    return Fitted(epochs=epoch, best_epoch=best.epoch)


def observed_loss(
    outputs: Float[Tensor, "k t"], labels: Float[Tensor, "k t"], task: Task
) -> Float[Tensor, ""]:
    """(1) over the labels that are not NaN; at least one is not."""
    observed = ~labels.isnan()
    loss = mse_loss if task == Task.regression else binary_cross_entropy_with_logits
    return loss(outputs[observed], labels[observed])


class BestEpoch:
    """Remembers the weights of the epoch with the best score, the first of equals."""

    def __init__(self, modules: nn.Module, higher_is_better: bool) -> None:
        self.epoch = 0
        self._modules, self._sign = modules, 1 if higher_is_better else -1
        self._score = -np.inf
        self._weights: dict[str, Tensor] = {}

    def see(self, epoch: int, score: float) -> None:
        """Copy the weights if this is the best score so far."""
        if self._sign * score > self._score:
            self.epoch, self._score = epoch, self._sign * score
            self._weights = {name: weight.clone() for name, weight in self._modules.state_dict().items()}

    def restore(self) -> None:
        """Put the best epoch's weights back."""
        self._modules.load_state_dict(self._weights)


def _train_epoch(
    model: FineTuned,
    read: ReadViews,
    labels: Tensor,
    batches: Iterator[NDArray[np.int64]],
    optimizer: torch.optim.Optimizer,
) -> float:
    """One pass; the mean loss over the observed labels."""
    total, count = 0.0, 0
    for rows in batches:
        wanted = labels[torch.from_numpy(rows)]
        observed = int((~wanted.isnan()).sum())
        if not observed:
            continue
        loss = observed_loss(model.system(read(rows)), wanted, model.design.task)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * observed
        count += observed
    return total / count


def _batches(rows: NDArray[np.int64], size: int, shuffles: torch.Generator) -> Iterator[NDArray[np.int64]]:
    order = rows[torch.randperm(len(rows), generator=shuffles).numpy()]
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _optimizer(trained: nn.ModuleDict, config: FinetuneConfig) -> torch.optim.AdamW:
    groups: list[dict[str, Any]] = []
    for part, rate in (("system", config.learning_rate), ("encoders", config.encoder_learning_rate)):
        weights = list(trained[part].parameters()) if part in trained else []
        for decay, those in (
            (config.weight_decay, [weight for weight in weights if weight.ndim > 1]),
            (0.0, [weight for weight in weights if weight.ndim <= 1]),
        ):
            if those:
                groups.append({"params": those, "lr": rate, "weight_decay": decay})
    return torch.optim.AdamW(groups)
