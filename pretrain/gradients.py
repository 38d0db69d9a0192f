"""The gradient's norms, its clipping, and the step that refuses one that is not finite.

    gradient g of all parameters, c = `train.gradient_clipping`
        |g| finite    AdamW's step with  g / max(1, |g| / c)     c = 0: with g
        else          nothing: weights, both moments and Adam's step count stay as they are, bit for bit
Without ZeRO, DeepSpeed clips float32 and lets NaN through to the weights, and in bfloat16 asks the device about every
parameter by itself, which stops a GPU some hundred times a step. So there both are done here, on the device and
without a question: the fused kernel of torch's AdamW takes the divisor and the refusal as tensors, `grad_scale` and
`found_inf`, which torch.amp.GradScaler uses too. With ZeRO 1 to 3 DeepSpeed clips, refuses, and asks once a step.
"""

from types import MethodType
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.utils import get_total_norm

EPSILON = 1e-6
"""Added to the norm, as torch.nn.utils.clip_grad_norm_ does."""


class CarefulAdamW(torch.optim.AdamW):
    """AdamW that clips by the norm of the whole gradient, and changes nothing when that is not finite."""

    def __init__(self, parameters: Any, clipping: float) -> None:
        super().__init__(parameters, lr=0.0, fused=True)
        self.clipping = clipping
        self._global_grad_norm: Tensor | None = None  # DeepSpeed's name: the engine copies it
        self.found_inf: Tensor | None = None
        self.grad_scale: Tensor | None = None

    def step(self) -> None:  # type: ignore[override]  # nobody has a closure
        """One step, or none."""
        norm = get_total_norm(
            [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        )
        self._global_grad_norm = norm
        self.found_inf = (~norm.isfinite()).float()
        if self.clipping:
            self.grad_scale = ((norm + EPSILON) / self.clipping).clamp(min=1.0).float()
        super().step()


def without_questions(optimizer: Any) -> None:
    """Let DeepSpeed's bfloat16 optimizer without ZeRO step around a `CarefulAdamW` without asking the device."""
    optimizer.step = MethodType(_step_of_masters, optimizer)


def _step_of_masters(optimizer: Any) -> None:
    """bfloat16 gradients -> float32 masters, AdamW on those, and rounded back."""
    groups = list(zip(optimizer.fp16_groups, optimizer.fp32_groups, strict=True))
    for low, high in groups:
        for parameter, master in zip(low, high, strict=True):
            master.grad = torch.zeros_like(master) if parameter.grad is None else parameter.grad.float()
    optimizer.optimizer.step()
    optimizer._global_grad_norm = optimizer.optimizer._global_grad_norm
    for low, high in groups:
        torch._foreach_copy_([parameter.data for parameter in low], high)
        for master in high:
            master.grad = None


def refused(engine: Any) -> Bool[Tensor, ""] | bool:
    """Whether the last step changed nothing: on the device without ZeRO, where nobody has asked."""
    found: Tensor | None = getattr(engine.basic_optimizer, "found_inf", None)
    return found.bool() if found is not None else not engine.was_step_applied()


def tower_norms(engine: Any) -> dict[str, Float[Tensor, ""]]:
    """The gradient's norm in each encoder with its head, before clipping. Between backward and step, by all ranks."""
    stage = engine.zero_optimization_stage()
    pieces: dict[str, list[Tensor]] = {view: [] for view in engine.module.widths}
    for name, parameter in engine.module.named_parameters():
        part, _, rest = name.partition(".")
        gradient = _held(parameter, stage) if part in ("encoders", "heads") else None
        if gradient is not None:
            pieces[rest.partition(".")[0]].append(gradient.float())
    squares = torch.zeros(len(pieces), device=engine.device)
    for place, held in enumerate(pieces.values()):
        if held:
            squares[place] = get_total_norm(held).square()
    if stage:
        dist.all_reduce(squares)
    return dict(zip(pieces, squares.sqrt().unbind(), strict=True))


def _held(parameter: Tensor, stage: int) -> Tensor | None:
    """What this rank holds of a parameter's gradient, averaged over ranks."""
    if stage == 0:
        return parameter.grad
    if stage == 3:
        from deepspeed.utils import safe_get_local_grad

        return safe_get_local_grad(parameter)
    mapping: Any = parameter._hp_mapping  # type: ignore[attr-defined]
    return None if mapping is None else mapping.get_lp_grad_fragment(parameter._index_in_param_group)  # type: ignore[attr-defined]
