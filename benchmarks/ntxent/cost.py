"""The least time that a step can take on a device, from what the device was seen to do.

M rows, d width; r operations/s of a large matrix product, b bytes/s of a large copy
    floor = max(operations / r, bytes / b)

The definition multiplies M x M x d three times, at 2 M^2 d operations each: for the similarities, and in the backward
for rows as anchors and for rows as others. A form that does not hold the similarities computes half of them by
symmetry in the forward, all again in the backward, and multiplies once, by the weights of both directions added.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from benchmarks.ntxent.measure import seconds


class Ceilings(NamedTuple):
    """What a device was measured to do at best."""

    operations_per_s: float
    bytes_per_s: float
    product: str
    """Which matrix product said so."""

    def best(self, other: "Ceilings") -> "Ceilings":
        """The higher of each: what slowed the other one was not the device."""
        return Ceilings(
            max(self.operations_per_s, other.operations_per_s),
            max(self.bytes_per_s, other.bytes_per_s),
            self.product,
        )


def operations(rows: int, width: int) -> float:
    """Of the definition, forward and backward: what TFLOP/s are counted by, whatever a form really does."""
    return 6.0 * rows**2 * width


def least_operations(rows: int, width: int) -> float:
    """Of the kernel's scheme; the torch tiles use symmetry in the backward too, and need 4 M^2 d."""
    return 5.0 * rows**2 * width


def least_bytes(rows: int, width: int) -> float:
    """float32 rows are read and their gradients written, once."""
    return 8.0 * rows * width


def floor(rows: int, width: int, ceilings: Ceilings) -> float:
    """Seconds."""
    return max(
        least_operations(rows, width) / ceilings.operations_per_s,
        least_bytes(rows, width) / ceilings.bytes_per_s,
    )


def ceilings(device: torch.device, patience_s: float = 1.0) -> Ceilings:
    """The best of repeated large products and copies of random numbers; zeros would run faster than data."""
    on_gpu = device.type == "cuda"
    edge, dtype = (8192, torch.bfloat16) if on_gpu else (2048, torch.float32)
    left, right = (torch.randn(edge, edge, device=device).to(dtype) for _ in range(2))
    product = torch.empty_like(left)
    source = torch.randn((1 << 28) if on_gpu else (1 << 25), device=device)
    target = torch.empty_like(source)

    def best(work: Callable[[], Any]) -> float:
        end = time.monotonic() + patience_s / 2
        times: list[float] = []
        while len(times) < 3 or (len(times) < 50 and time.monotonic() < end):
            times.append(seconds(work, device))
        return min(times[1:])

    return Ceilings(
        operations_per_s=2 * edge**3 / best(lambda: torch.mm(left, right, out=product)),
        bytes_per_s=2 * source.nbytes / best(lambda: target.copy_(source)),
        product=f"{edge} x {edge} x {edge} in {str(dtype).removeprefix('torch.')}",
    )
