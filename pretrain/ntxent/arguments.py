"""What has no NT-Xent loss, refused with one ValueError that says what was expected."""

import torch
from torch import Tensor

LOWEST_TEMPERATURE = 0.01
"""Below it float32 exponentials of ordinary negatives vanish under the shift of (2')."""

BARELY_LOWER = LOWEST_TEMPERATURE * (1 - 1e-3)
"""The bound to compare with: 0.01 in bfloat16, or as 1/exp(log 100), lies a rounding below itself."""


def refuse_bad_views(first: Tensor, second: Tensor, world: int) -> None:
    """Two floating-point (n, d) on one device, and at least two molecules on all ranks together."""
    if not (isinstance(first, Tensor) and isinstance(second, Tensor)):
        raise ValueError(
            f"the views are tensors; they are {type(first).__name__} and {type(second).__name__}"
        )
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(
            f"the two views are (n, d) and (n, d), row by row the same molecules; "
            f"they are {tuple(first.shape)} and {tuple(second.shape)}"
        )
    if 0 in first.shape:
        raise ValueError(f"nothing to compare: the views are {tuple(first.shape)}, with n = 0 or d = 0")
    if not (first.is_floating_point() and second.is_floating_point()):
        raise ValueError(f"the views are floating point; they are {first.dtype} and {second.dtype}")
    if first.device != second.device:
        raise ValueError(f"the views are on one device; they are on {first.device} and {second.device}")
    if len(first) * world == 1:
        raise ValueError("one molecule has no negatives: NT-Xent needs at least two in a batch")


def refuse_bad_temperature(temperature: Tensor | float, device: torch.device) -> None:
    """A number, or a tensor with one, not below the bound; on a GPU its value is not read."""
    if isinstance(temperature, Tensor):
        if temperature.ndim:
            raise ValueError(f"one temperature for all views; it has the shape {tuple(temperature.shape)}")
        if not temperature.is_floating_point():
            raise ValueError(f"a temperature tensor is floating point; it is {temperature.dtype}")
        if temperature.device.type != "cpu":
            if temperature.device != device:
                raise ValueError(f"the temperature is on {temperature.device}, the views are on {device}")
            return
        temperature = temperature.item()
    if not isinstance(temperature, (int, float)):
        raise ValueError(f"the temperature is a number or a tensor; it is a {type(temperature).__name__}")
    if not temperature >= BARELY_LOWER:  # `not >=` also catches nan
        raise ValueError(f"temperature is at least {LOWEST_TEMPERATURE}; it is {temperature:g}")


def refuse_bad_ids(ids: Tensor | None, first: Tensor) -> None:
    """None, or one int64 for each molecule, beside the views."""
    if ids is None:
        return
    if not isinstance(ids, Tensor) or ids.dtype != torch.int64 or ids.shape != first.shape[:1]:
        found = f"{tuple(ids.shape)} {ids.dtype}" if isinstance(ids, Tensor) else type(ids).__name__
        raise ValueError(f"ids are int64, one for each of the {len(first)} molecules; they are {found}")
    if ids.device != first.device:
        raise ValueError(f"the ids are on {ids.device}, the views are on {first.device}")
