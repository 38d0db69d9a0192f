"""The numbers of a window of steps: losses, speed, work, memory, the share of time spent waiting for data.

Ranks are synchronised only when a window is closed, so watching costs nothing between two lines. Time is that of
the training loop: evaluations and checkpoints are left out of it.
"""

import math
import resource
import sys
import time

import torch
import torch.distributed as dist

from pretrain.batch import Prefetch
from pretrain.config import PretrainConfig
from pretrain.engine import bfloat16
from pretrain.flops import peak_flops, step_flops
from pretrain.model import STREAMS
from pretrain.plan import StepMolecules


class Window:
    """Steps since the last line of metrics, on this rank; closed, on all."""

    def __init__(self, config: PretrainConfig, device: torch.device, seconds: float = 0.0) -> None:
        """`seconds` were spent in training before a resume."""
        self.config, self.seconds, self.note = config, seconds, ""
        self.streams = [name for name in STREAMS if config.loss.streams.value in (name, "both")]
        dtype = torch.bfloat16 if bfloat16(config.train.precision, device) else torch.float32
        self.peak = peak_flops(device, dtype)
        self._empty()
        self._begun = time.perf_counter()

    def _empty(self) -> None:
        self.sums: dict[str, torch.Tensor] = {}
        self.steps = self.tokens = self.flops = 0
        self.fine: torch.Tensor | int = 0
        self.elapsed = self.waited = 0.0

    def restart(self) -> None:
        """Leave out the time since the last step: an evaluation, a checkpoint."""
        self._begun = time.perf_counter()

    def wait_for(self, batches: Prefetch[StepMolecules]) -> StepMolecules:
        """The next batch; its delay, its tokens and its work are counted."""
        asked = time.perf_counter()
        batch = next(batches)
        self.waited += time.perf_counter() - asked
        for chunk in batch.chunks:
            self.tokens += len(chunk.smiles.tokens) + len(chunk.text.tokens)
            self.flops += step_flops(self.config.model, self.streams, chunk)
        return batch

    def add(self, losses: dict[str, torch.Tensor], fine: torch.Tensor) -> None:
        """One step is done; its local losses by stream, which count when it was fine: both on the device."""
        self.steps += 1
        self.fine = self.fine + fine
        for stream, loss in losses.items():
            counted = torch.where(fine, loss, torch.zeros_like(loss))
            self.sums[stream] = self.sums[stream] + counted if stream in self.sums else counted
        now = time.perf_counter()
        self.elapsed += now - self._begun
        self._begun = now

    def close(self, skipped: int) -> dict[str, float]:
        """The window's numbers over all ranks, then an empty window. `skipped` steps of the run changed nothing.

        `loss` is the mean of the streams over fine steps, NaN when none was; `chance` is log(2N - 1), what a blind
        encoder pays. `tokens_per_s` counts those of both strings, no padding, where the text stream is trained, and
        `flops_per_s` what pretrain/flops.py counts; `mfu` is its part of what the devices can do, where that is
        known. `data_wait` is the share of time that the rank which waited longest waited for data, `memory_gb` the
        peak of the fullest rank, `seconds` the time in training, those before a resume included.
        """
        names, device = list(self.sums), next(iter(self.sums.values())).device
        world, batch = dist.get_world_size(), self.config.train.batch
        means = torch.stack([self.sums[name] for name in names]).double() / self.fine
        counted = torch.tensor([self.tokens, self.flops], dtype=torch.float64, device=device)
        sums = torch.cat([means / world, counted])
        dist.all_reduce(sums)
        highest = torch.tensor([self.waited / self.elapsed, peak_memory_gb(device)], device=device)
        dist.all_reduce(highest, op=dist.ReduceOp.MAX)
        *losses, tokens, flops = sums.tolist()
        wait, memory = highest.tolist()
        self.seconds += self.elapsed
        values = {
            "loss": math.fsum(losses) / len(losses),
            **{f"{name}_loss": mean for name, mean in zip(names, losses, strict=True)},
            "chance": math.log(2 * batch - 1),
            "molecules_per_s": batch * self.steps / self.elapsed,
            "flops_per_s": flops / self.elapsed,
            "data_wait": wait,
            "memory_gb": memory,
            "skipped": skipped,
            "seconds": self.seconds,
        }
        if "text" in names:
            values["tokens_per_s"] = tokens / self.elapsed
        if self.peak:
            values["mfu"] = flops / self.elapsed / (world * self.peak)
        self.note = in_words(values)
        self._empty()
        return values


def in_words(values: dict[str, float]) -> str:
    """What the progress line says of a window."""
    told = (
        f"loss {values['loss']:.3f} (chance {values['chance']:.2f})  "
        f"{values['molecules_per_s']:,.0f} molecules/s  data wait {values['data_wait']:.1%}  "
        f"{values['memory_gb']:.1f} GB"
    )
    return f"{told}  {values['skipped']:,} skipped" if values["skipped"] else told


def peak_memory_gb(device: torch.device) -> float:
    """Most of the device's memory that this process has had at a time; on a CPU, of the machine's. 10^9 bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
