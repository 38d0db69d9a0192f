"""The numbers of a window of steps: losses, speed, the share of time spent waiting for data.

Ranks are synchronised only when a window is closed, so watching costs nothing between two lines.
"""

import math
import time

import torch
import torch.distributed as dist

from pretrain.batch import Item, Prefetch
from pretrain.model import STREAMS


class Window:
    """Steps since the last line of metrics, on this rank; closed, on all."""

    def __init__(self, world: int, batch: int) -> None:
        self.world, self.batch, self.note = world, batch, ""
        self.sums: dict[str, torch.Tensor] = {}
        self.steps = 0
        self.elapsed = self.waited = 0.0
        self._begun = time.perf_counter()

    def restart(self) -> None:
        """Leave out the time since the last step: an evaluation, a checkpoint."""
        self._begun = time.perf_counter()

    def wait_for(self, batches: Prefetch[Item]) -> Item:
        """The next batch, its delay counted."""
        asked = time.perf_counter()
        batch = next(batches)
        self.waited += time.perf_counter() - asked
        return batch

    def add(self, losses: dict[str, torch.Tensor]) -> None:
        """One step is done; its local losses by stream."""
        self.steps += 1
        for stream, loss in losses.items():
            self.sums[stream] = self.sums[stream] + loss if stream in self.sums else loss
        now = time.perf_counter()
        self.elapsed += now - self._begun
        self._begun = now

    def close(self) -> dict[str, float]:
        """Means over steps and ranks, then an empty window.

        `loss` is the mean of the streams; `chance` is log(2N - 1), what a blind encoder pays. `data_wait` is
        the share of time that the rank which waited longest spent waiting for data.
        """
        names, device = list(self.sums), next(iter(self.sums.values())).device
        means = torch.stack([self.sums[name] for name in names]).double() / self.steps
        dist.all_reduce(means)
        means /= self.world
        wait = torch.tensor([self.waited / self.elapsed], device=device)
        dist.all_reduce(wait, op=dist.ReduceOp.MAX)
        values = {
            "loss": means.mean().item(),
            **{f"{name}_loss": mean for name, mean in zip(names, means.tolist(), strict=True)},
            "chance": math.log(2 * self.batch - 1),
            "molecules_per_s": self.batch * self.steps / self.elapsed,
            "data_wait": wait.item(),
        }
        self.note = (
            f"loss {values['loss']:.3f} (chance {values['chance']:.2f})  "
            f"{values['molecules_per_s']:,.0f} molecules/s  data wait {values['data_wait']:.1%}"
        )
        self.sums, self.steps, self.elapsed, self.waited = {}, 0, 0.0, 0.0
        return values


def recalls(evaluation: dict[str, float]) -> str:
    """`graph recall@1 12.3 %, ...` beside chance."""
    parts = [
        f"{stream} recall@1 {evaluation[f'{stream}_recall_at_1']:.1%}"
        for stream in STREAMS
        if f"{stream}_recall_at_1" in evaluation
    ]
    return f"{', '.join(parts)}  (chance {evaluation['chance']:.2%} of {evaluation['gallery']:,.0f})"
