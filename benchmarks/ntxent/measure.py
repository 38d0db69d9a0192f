"""One step of a form: how long it takes, and how much memory it needs beyond its inputs.

On a CPU time is the clock's, and memory is a fresh process's: its highest resident set during one step, above the
resident set with the inputs made and the library warm (VmHWM and VmRSS of Linux; Python's own tracer does not see
tensors). On a GPU time is between two device events, and memory is the highest that torch's allocator gave out.
"""

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.ntxent.forms import TEMPERATURE, Loss, form

ROTATED_BYTES = 256 << 20
"""Inputs that take turns on a GPU fill this, more than any cache, so that a repeat does not read its last one's."""


def inputs(n: int, d: int, device: torch.device, seed: int = 0) -> list[Tensor]:
    """Two views and a temperature, all wanting a gradient."""
    generator = torch.Generator(device).manual_seed(seed)
    first = torch.randn(n, d, device=device, generator=generator)
    noise = torch.randn(n, d, device=device, generator=generator)
    leaves = [first, first + 0.5 * noise, torch.tensor(TEMPERATURE, device=device)]
    return [leaf.requires_grad_() for leaf in leaves]


def rotated(n: int, d: int, device: torch.device) -> list[list[Tensor]]:
    """Inputs to take turns."""
    count = 1 if device.type == "cpu" else min(16, max(2, ROTATED_BYTES // (8 * n * d)))
    return [inputs(n, d, device, seed) for seed in range(count)]


def step(loss: Loss, leaves: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Forward and backward: the loss, and the gradients that it has."""
    value = loss(*leaves)
    return value.detach(), list(torch.autograd.grad(value, leaves, allow_unused=True))


def seconds(work: Callable[[], Any], device: torch.device) -> float:
    """How long the work takes."""
    if device.type == "cpu":
        start = time.perf_counter()
        work()
        return time.perf_counter() - start
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    work()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3


def peak_mb(name: str, loss: Loss, n: int, d: int, device: torch.device) -> float:
    """The highest memory of one step, above its inputs."""
    if device.type == "cpu":
        command = [sys.executable, "-m", "benchmarks.ntxent", "--peak-of", name, "--n", str(n), "--d", str(d)]
        root = Path(__file__).parents[2]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
        return float(done.stdout)
    leaves = inputs(n, d, device)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step(loss, leaves)
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 1e6


def own_peak_mb(name: str, n: int, d: int) -> float:
    """What the fresh process of `peak_mb` finds."""
    cpu = torch.device("cpu")
    loss = form(name, cpu)
    step(loss, inputs(16, d, cpu))
    leaves = inputs(n, d, cpu)
    before = resident_mb("VmRSS")
    step(loss, leaves)
    return resident_mb("VmHWM") - before


def resident_mb(field: str) -> float:
    """VmRSS, resident now, or VmHWM, the most so far; unlike getrusage's, free of the parent's history."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise OSError(f"/proc/self/status has no {field}: memory is measured on Linux only")
    return int(found[1]) * 1024 / 1e6
