"""The guard: a step whose numbers went wrong changes no weight, and the run ends when that goes on.

L_t, the global loss of step t: the mean of the streams' losses over all ranks. Over the fine steps before it
    n       their number
    m, v    their running mean and variance, where step t weighs a = max(1 / (n + 1), 1 / WINDOW):
            d = L_t - m,    m <- m + a d,    v <- (1 - a) (v + a d^2)
    s       max(sqrt v, FLOOR * |m|)
Step t is bad when L_t is not finite on any rank; or it is a spike,
    n >= WARM_UP  and  L_t > m + k s,    k = `train.spike`, 0 for never;
or when its gradient is not finite. A bad step joins neither m nor v.

The decision is made on the device. The loss of a bad step is multiplied by NaN before the backward, so there is one
mechanism for all three: a gradient that is not finite changes neither weights nor Adam's moments, see
pretrain/engine.py for how on each ZeRO stage. The process learns of it when it asks, at `settle`.

The update of m and v is West's (1979) with a weight that stops falling (Finch 2009, section 9). Only upward is a
spike: the steep descent of the first steps widens s, which forgives more, and is forgotten after some WINDOWs.
n, m and v are part of a checkpoint, so a resumed run judges as the run that never stopped.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float
from torch import Tensor

from pretrain.cached import refuse_stray

WARM_UP = 50
"""Fine steps before anything is a spike."""
WINDOW = 100
"""Steps that the running mean remembers."""
FLOOR = 0.01
"""Smallest deviation, as a part of the mean: a plateau without noise makes no spike of a wiggle."""
REASONS = ("the loss is not finite", "the loss is a spike", "the gradient is not finite")


class Verdict(NamedTuple):
    """What the guard thinks of a step's loss, on the device. `factor` () goes to the loss: 1, or NaN for a bad one."""

    loss: Float[Tensor, ""]
    factor: Float[Tensor, ""]
    not_finite: Bool[Tensor, ""]
    spike: Bool[Tensor, ""]
    memory: Float[Tensor, " 3"]
    """n, m, v after this step."""


@dataclass(frozen=True, kw_only=True)
class Bad:
    """A step that changed nothing: its loss, and the mean and deviation of those before."""

    step: int
    reason: str
    loss: float
    mean: float
    deviation: float


class Guard:
    """Judges every step; every rank holds the same numbers."""

    def __init__(self, spike: float, device: torch.device, world: int) -> None:
        self.spike, self.world = spike, world
        self.skipped = self.in_a_row = 0
        self._memory = torch.zeros(3, dtype=torch.float64, device=device)
        self._pending: list[tuple[int, Tensor]] = []

    def judge(self, loss: Float[Tensor, ""]) -> Verdict:
        """From this rank's loss; the only exchange is one number with the other ranks."""
        mean_loss = loss.detach().double()
        if self.world > 1:
            dist.all_reduce(mean_loss)
            mean_loss = mean_loss / self.world
        n, m, v = self._memory
        not_finite = ~mean_loss.isfinite()
        deviation = torch.maximum(v.sqrt(), FLOOR * m.abs())
        spike = (n >= WARM_UP) & (mean_loss > m + self.spike * deviation) & ~not_finite
        if not self.spike:
            spike = torch.zeros_like(spike)
        bad = not_finite | spike
        weight = (1 / (n + 1)).clamp(min=1 / WINDOW)
        difference = mean_loss - m
        learned = torch.stack([n + 1, m + weight * difference, (1 - weight) * (v + weight * difference**2)])
        factor = torch.ones_like(loss).masked_fill(bad, math.nan)
        return Verdict(mean_loss, factor, not_finite, spike, torch.where(bad, self._memory, learned))

    def note(
        self, step: int, verdict: Verdict, refused: Bool[Tensor, ""] | bool, stray: Float[Tensor, ""]
    ) -> Bool[Tensor, ""]:
        """The step is over, and the optimizer refused its gradient or not. Whether the step was fine."""
        refused = torch.as_tensor(refused, device=verdict.loss.device)
        before = self._memory
        told = torch.stack(
            [verdict.not_finite, verdict.spike, refused, verdict.loss, before[1], before[2], stray]
        )
        self._pending.append((step, told))
        self._memory = verdict.memory
        return ~(verdict.not_finite | verdict.spike | refused)

    def settle(self) -> list[Bad]:
        """The bad steps since the last time; waits for the device. Raises when a chunk's second forward strayed."""
        if not self._pending:
            return []
        numbers = torch.stack([told for _, told in self._pending]).tolist()
        found = []
        for (step, _), (*flags, loss, mean, variance, stray) in zip(self._pending, numbers, strict=True):
            refuse_stray(stray)
            self.in_a_row = self.in_a_row + 1 if any(flags) else 0
            if any(flags):
                deviation = max(math.sqrt(variance), FLOOR * abs(mean))
                reason = REASONS[flags.index(1.0)]
                found.append(Bad(step=step, reason=reason, loss=loss, mean=mean, deviation=deviation))
        self.skipped += len(found)
        self._pending.clear()
        return found

    def state(self) -> dict[str, Any]:
        """For a checkpoint, after `settle`: floats that JSON brings back bit for bit."""
        assert not self._pending
        return {"memory": self._memory.tolist(), "skipped": self.skipped, "in_a_row": self.in_a_row}

    def restore(self, state: Mapping[str, Any]) -> None:
        """As it was."""
        self._memory = torch.tensor(state["memory"], dtype=torch.float64, device=self._memory.device)
        self.skipped, self.in_a_row = int(state["skipped"]), int(state["in_a_row"])
