"""Which slices of which parameters this rank holds in float32 with Adam's moments, on every ZeRO stage.

    engine  ->  Fragments: elements [start, start + numel) of a flat parameter, and where they lie in the optimizer

    stage 0       every rank holds every parameter whole; they write a world-th part of each
    stages 1, 2   one flat partition of each parameter group a rank, cut without regard to the parameters
    stage 3       a world-th part of each parameter, in flat groups, the last part padded
In float32 without ZeRO the weights are the masters; elsewhere the weights that compute are copies of the masters, to be
made again after loading.

DeepSpeed 0.19: what is read of it here is `basic_optimizer` (the AdamW behind every stage), `fp16_groups` and
`fp32_groups` (bfloat16 without ZeRO), `_hp_mapping` (stages 1, 2), `grad_position` and the flat groups (stage 3).
Adam's step count is one for all parameters: a step that is refused counts for none. DeepSpeed makes a step without
gradients when it builds the bfloat16 optimizer without ZeRO; `build_engine` takes it off the count again.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

MOMENTS = ("exp_avg", "exp_avg_sq")
KINDS = ("weight", *MOMENTS)
"""What is kept of a parameter, as float32: the master, Adam's first and second moment."""


@dataclass(frozen=True)
class Fragment:
    """Neighbouring elements of one parameter, laid out flat."""

    name: str
    """The parameter's, in the module."""
    start: int
    """Its first element's place in the parameter."""
    numel: int
    master: Tensor
    """The optimizer's float32 tensor that holds them; it keys Adam's state."""
    offset: int
    """The first element's place in the master."""

    def of(self, tensor: Tensor) -> Tensor:
        """These elements of the master, or of a moment of its size: a view."""
        return tensor.detach().view(-1)[self.offset : self.offset + self.numel]

    def part(self, rank: int, world: int) -> "Fragment":
        """The rank-th of `world` parts, which may be empty."""
        begin, end = (self.numel * place // world for place in (rank, rank + 1))
        return replace(self, start=self.start + begin, numel=end - begin, offset=self.offset + begin)


def held(engine: Any) -> list[Fragment]:
    """What this rank holds, and what it has to be given when a checkpoint is loaded."""
    stage = engine.zero_optimization_stage()
    find = _whole if stage == 0 else _partition if stage < 3 else _partitions
    return list(find(engine))


def written(engine: Any, rank: int, world: int) -> list[Fragment]:
    """What this rank writes: all ranks' together are each element once."""
    parts = held(engine)
    if engine.zero_optimization_stage() == 0:
        parts = [fragment.part(rank, world) for fragment in parts]
    return [fragment for fragment in parts if fragment.numel]


def tensors(engine: Any, fragment: Fragment) -> dict[str, Tensor]:
    """Views of the fragment by kind; before Adam's first step its moments are zero."""
    state = engine.basic_optimizer.state.get(fragment.master, {})
    weight = fragment.of(fragment.master)
    moments = {kind: fragment.of(state[kind]) if state else torch.zeros_like(weight) for kind in MOMENTS}
    return {"weight": weight, **moments}


def adam_steps(engine: Any) -> int:
    """How many steps Adam has counted, for its bias correction."""
    return next((int(state["step"]) for state in engine.basic_optimizer.state.values() if state), 0)


def begin_adam(engine: Any, steps: int) -> None:
    """Give every master Adam's state, with this step count: AdamW itself makes it at the first step."""
    optimizer = engine.basic_optimizer
    options = optimizer.defaults
    for fragment in held(engine):
        master, state = fragment.master, optimizer.state[fragment.master]
        if not state:
            beside = options["capturable"] or options["fused"]
            state["step"] = torch.zeros((), device=master.device if beside else "cpu")
            state.update({kind: torch.zeros_like(master.detach()) for kind in MOMENTS})
        state["step"].fill_(steps)


@torch.no_grad()
def renew_weights(engine: Any) -> None:
    """The weights that compute become the masters, rounded to their type. Every rank calls it."""
    optimizer, stage = engine.optimizer, engine.zero_optimization_stage()
    if stage == 0:
        for fragment, parameter in zip(held(engine), engine.module.parameters(), strict=True):
            parameter.copy_(fragment.master)
    elif stage < 3:
        optimizer.update_lp_params()
    else:
        optimizer.checkpoint_event_prologue()  # small parameters are kept gathered: partitioned, then gathered anew
        for group in range(len(optimizer.fp16_groups)):
            optimizer._reassign_or_swap_out_partitioned_parameters(group)
        optimizer.checkpoint_event_epilogue()


def shapes(engine: Any) -> dict[str, list[int]]:
    """The whole parameters' shapes by name."""
    return {name: list(getattr(p, "ds_shape", p.shape)) for name, p in engine.module.named_parameters()}


def _whole(engine: Any) -> Iterator[Fragment]:
    optimizer = engine.optimizer
    masters: dict[Any, Tensor] = {}
    if hasattr(optimizer, "fp32_groups"):  # bfloat16
        for low, high in zip(optimizer.fp16_groups, optimizer.fp32_groups, strict=True):
            masters.update(zip(low, high, strict=True))
    for name, parameter in engine.module.named_parameters():
        yield Fragment(name, 0, parameter.numel(), masters.get(parameter, parameter), 0)


def _partition(engine: Any) -> Iterator[Fragment]:
    flat = engine.optimizer.single_partition_of_fp32_groups
    for name, parameter in engine.module.named_parameters():
        mapping = parameter._hp_mapping
        if mapping is not None:  # else another rank has all of it
            low, high = mapping.lp_fragment_address, mapping.hp_fragment_address
            yield Fragment(name, low.start, low.numel, flat[mapping.param_group_index], high.start)


def _partitions(engine: Any) -> Iterator[Fragment]:
    optimizer = engine.optimizer
    for name, parameter in engine.module.named_parameters():
        group, offset, numel = optimizer.grad_position[optimizer.get_param_id(parameter)]
        start = numel * engine.global_rank
        within = max(0, min(numel, parameter.ds_numel - start))  # the rest is padding
        yield Fragment(name, start, within, optimizer.fp32_partitioned_groups_flat[group], offset)
