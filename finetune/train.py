"""Fitting: the system, and the encoder when it is not frozen, to the observed labels of the training part.

n molecules, t targets, k of a batch.
    molecules (n), labels (n, t), rows that train and that validate  ->  fitted weights, one record an epoch
    loss = mean over observed (i, j) of  (y_ij - f_ij)^2                                               regression
                                     or  -w_j y_ij log p_ij - (1 - y_ij) log(1 - p_ij),  p = sigmoid(f)       (1)
A missing label has no term in (1), hence no gradient. w_j is 1, or with balanced=true the negatives of target j over
its positives, counted in the training part. The validation part chooses the epoch and nothing else; the test part's
labels do not come into this file.

On a CPU the same seed gives the same weights, also when the fit was killed between and went on (finetune/state.py);
a GPU adds up scattered gradients in no fixed order.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from finetune.config import FinetuneConfig, Task
from finetune.metrics import evaluate, selection
from finetune.model import Member
from finetune.readers import ReadInputs
from finetune.state import Memory, Progress
from sharding.errors import UserError


@dataclass(frozen=True, eq=False)
class Examples:
    """n molecules with labels (n, t) in original units, NaN where missing, and two disjoint sets of rows."""

    labels: Float64[NDArray, "n t"]
    train: NDArray[np.int64]
    valid: NDArray[np.int64]


def fit(
    member: Member,
    read: ReadInputs,
    examples: Examples,
    config: FinetuneConfig,
    state: Path,
    report: Callable[[Progress], None],
) -> Progress:
    """Train until the validation score has not improved for `patience` epochs; report each epoch.

    The member ends with the best epoch's weights. `state` is the file of `Memory`: what it holds is not done again.
    """
    labels = torch.from_numpy(member.scaler.scaled(examples.labels)).float().to(member.device)
    weights = class_weights(labels[torch.from_numpy(examples.train)]) if config.balanced else None
    trained = member.learning(freeze=config.freeze, last_layers=config.train_layers)
    shuffles = torch.Generator().manual_seed(member.seed)
    memory = Memory(trained, _optimizer(trained, config), shuffles)
    memory.read(state)
    metric, higher_is_better = selection(config.task, config.metric)
    done = memory.progress
    while done.epoch < config.epochs and done.epoch - done.best_epoch < config.patience:
        trained.train()
        order = _batches(examples.train, config.batch, shuffles)
        loss = _train_epoch(member, read, labels, order, memory.optimizer, weights)
        if not np.isfinite(loss):
            raise UserError(
                f"the training loss became {loss} in epoch {done.epoch + 1}. Use a smaller learning_rate (is "
                f"{config.learning_rate:g}) or encoder_learning_rate (is {config.encoder_learning_rate:g})."
            )
        predicted = member.predict(read, examples.valid)
        score = evaluate(config.task, examples.labels[examples.valid], predicted, config.targets)[metric]
        memory.see(done.epoch + 1, score if higher_is_better else -score)
        done.records.append({"epoch": done.epoch, "train_loss": loss, f"valid_{metric}": score})
        memory.write(state)
        report(done)
    memory.restore_best()
    return done


def observed_loss(
    outputs: Float[Tensor, "k t"],
    labels: Float[Tensor, "k t"],
    task: Task,
    weights: Float[Tensor, " t"] | None = None,
) -> Float[Tensor, ""]:
    """(1) over the labels that are not NaN; at least one is not. `weights` are w of (1)."""
    observed = ~labels.isnan()
    if task == Task.regression:
        return mse_loss(outputs[observed], labels[observed])
    positive = None if weights is None else weights.expand_as(labels)[observed]
    return binary_cross_entropy_with_logits(outputs[observed], labels[observed], pos_weight=positive)


def class_weights(labels: Float[Tensor, "k t"]) -> Float[Tensor, " t"]:
    """w of (1): negatives over positives of each target; 1 where one of the two is missing."""
    positive, negative = (labels == 1).sum(0), (labels == 0).sum(0)
    return torch.where((positive > 0) & (negative > 0), negative / positive.clamp(min=1), 1.0)


def _train_epoch(
    member: Member,
    read: ReadInputs,
    labels: Tensor,
    batches: Iterator[NDArray[np.int64]],
    optimizer: torch.optim.Optimizer,
    weights: Tensor | None,
) -> float:
    """One pass; the mean loss over the observed labels."""
    total, count = 0.0, 0
    for rows in batches:
        wanted = labels[torch.from_numpy(rows)]
        observed = int((~wanted.isnan()).sum())
        if not observed:
            continue
        loss = observed_loss(member.outputs(read(rows)), wanted, member.design.task, weights)
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
        learning = [w for w in trained[part].parameters() if w.requires_grad] if part in trained else []
        for decay, those in (
            (config.weight_decay, [weight for weight in learning if weight.ndim > 1]),
            (0.0, [weight for weight in learning if weight.ndim <= 1]),
        ):
            if those:
                groups.append({"params": those, "lr": rate, "weight_decay": decay})
    return torch.optim.AdamW(groups, fused=True)  # one kernel for all: a third of the time on a CPU
