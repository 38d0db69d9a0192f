"""Which implementation computes a loss.

what was asked for, device, precision, d width  ->  "reference", "chunked" or "cuda"
"""

import functools
import logging
from typing import Literal, get_args

import torch

Implementation = Literal["auto", "reference", "chunked", "cuda"]


def choose(
    implementation: Implementation, device: torch.device, precision: torch.dtype, d: int
) -> Implementation:
    """`implementation` itself, or for "auto" the kernel where it can work; the reason why not is logged once."""
    if implementation not in get_args(Implementation):
        raise ValueError(f"implementation is one of {get_args(Implementation)}, not {implementation!r}")
    if implementation in ("reference", "chunked"):
        return implementation
    if implementation == "auto" and (device.type != "cuda" or precision == torch.float64):
        return "chunked"
    # not before it is asked for: it may build the kernel
    from pretrain.ntxent.kernel.library import unavailable

    reason = unavailable(device, precision, d)
    if reason is None:
        return "cuda"
    if implementation == "cuda":
        raise ValueError(f"implementation='cuda' cannot be had: {reason}; 'auto' does without")
    _say_once(reason)
    return "chunked"


@functools.cache
def _say_once(reason: str) -> None:
    logging.getLogger(__name__).warning("NT-Xent in torch, without its CUDA kernel: %s", reason)
