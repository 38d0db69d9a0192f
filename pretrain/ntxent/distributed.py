"""Which ranks' views are negatives, and the one collective that brings them here.

r ranks, any shape.
    ours (...)  ->  everyone (r, ...), in rank order, the same on every rank

Gathering the negatives of all workers is from Chen et al. 2020 (SimCLR), arXiv 2002.05709, section 2.2.
There, as in most code, the gather is differentiated and its backward communicates again. Here it lies
outside autograd: (4') of `pretrain.ntxent` needs only every rank's rows u and reciprocal sums 1/Z, so a
rank that has both computes the exact gradient of its own rows alone. Only the reference differentiates it.

Every rank brings the same shape, which `pretrain.ntxent.agreement` has made sure of: with unequal ones
gloo ends the process, and NCCL may hang.
"""

from typing import Any, Literal, NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributed import ProcessGroup

Negatives = Literal["everyone", "this_rank"]


class Ranks(NamedTuple):
    """The processes whose views meet in one loss."""

    rank: int = 0
    """Ours, counted within the group."""
    world: int = 1
    group: ProcessGroup | None = None
    """None is every process."""


def ranks_sharing(negatives: Negatives, group: ProcessGroup | None) -> Ranks:
    """The ranks of `group`, or this process alone if asked for or if there is no process group."""
    if negatives not in ("everyone", "this_rank"):
        raise ValueError(f"negatives is 'everyone' or 'this_rank', not {negatives!r}")
    if negatives == "this_rank" or not (dist.is_available() and dist.is_initialized()):
        return Ranks()
    rank = dist.get_rank(group)
    if rank < 0:
        raise ValueError("this process is not a member of the group whose negatives it asked for")
    return Ranks(rank, dist.get_world_size(group), group)


def gather(ours: Shaped[Tensor, "..."], ranks: Ranks) -> Shaped[Tensor, "r ..."]:
    """`ours` of every rank, stacked. Not differentiable: for use where autograd is off."""
    if ranks.world == 1:
        return ours[None]
    everyone = ours.new_empty(ranks.world, *ours.shape)
    # The list form: the single-tensor form was renamed between torch 2.11 and 2.13 and its old name warns.
    dist.all_gather(list(everyone.unbind()), ours.contiguous(), group=ranks.group)
    return everyone


def gather_with_gradient(ours: Float[Tensor, "..."], ranks: Ranks) -> Float[Tensor, "r ..."]:
    """`ours` of every rank, stacked; all ranks' gradients of it come back, summed, to the rank it is from."""
    if ranks.world == 1:
        return ours[None]
    everyone: Tensor = _Gather.apply(ours, ranks)
    return everyone


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ours: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        return gather(ours, ranks)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        total = upstream.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=ctx.ranks.group)
        return total[ctx.ranks.rank], None
