"""NT-Xent without its similarities, and with its gradient written by hand.

n molecules, m = 2n views of this rank, d width, r ranks.
    first (n, d), second (n, d), temperature ()  ->  mean loss () over this rank's views

Equations (2')-(4'), (5) and (6) of `pretrain.ntxent`, for Chen et al. 2020 (SimCLR), arXiv 2002.05709,
section 2.1, and for Radford et al. 2021 (CLIP), arXiv 2103.00020, section 2.3. There the m x m similarities
are held for the backward; here forward and backward compute them in passing, so memory is a few m x d arrays.

Only two products meet all pairs of views: `negative_sums` and `pull`, which exist in torch
(`pretrain.ntxent.tiles`) and in CUDA (`pretrain.ntxent.kernel`). All else is here, once: normalisation,
positives, softplus, temperature, projection, ranks. The forward gathers the other ranks' rows and 1/Z, and
then the backward needs nobody.

For the kernel the unit rows are rounded to bfloat16, once, and everything that follows, positives too, is the
loss of the rounded rows. All other arithmetic is in single or double precision.
"""

from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import logsigmoid

from pretrain.ntxent.distributed import Ranks, gather


def ntxent_closed_form(
    first: Float[Tensor, "n d"],
    second: Float[Tensor, "n d"],
    temperature: Float[Tensor, ""],
    ids: Int64[Tensor, " n"] | None,
    ranks: Ranks,
    *,
    clip: bool,
    products: ModuleType,
    rounding: torch.dtype,
) -> Float[Tensor, ""]:
    """The mean of (3') over this rank's 2n views, in the temperature's dtype; `rounding` is the unit rows'."""
    loss: Tensor = _ClosedForm.apply(first, second, temperature, ids, ranks, clip, products, rounding)
    return loss


class _ClosedForm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        first: Tensor,
        second: Tensor,
        temperature: Tensor,
        ids: Tensor | None,
        ranks: Ranks,
        clip: bool,
        products: ModuleType,
        rounding: torch.dtype,
    ) -> Tensor:
        n = len(first)
        unit, lengths = _normalised(first, second, temperature.dtype, rounding)
        blocks = unit.split(n if clip else 2 * n)
        gathered = [gather(block, ranks).flatten(0, 1) for block in blocks]
        if ids is not None:
            ids = gather(ids.repeat(2 // len(blocks)), ranks).flatten()
        meetings = _Meetings(products, gathered, ids, ranks.rank, n)

        t = 1 / temperature
        shift = (t - 60).clamp_min(0)
        positive = (t * (unit[:n].to(t.dtype) * unit[n:]).sum(1)).repeat(2)
        negative = meetings.negative_sums(t)
        margin = negative.log() + shift - positive  # x of (2'), and -inf where there is no negative
        total = negative + (positive - shift).exp()
        # Ten times the smallest normal number (1e-37 in float32), so that the reciprocal is finite too.
        reciprocal = 1 / total.clamp_min_(10 * torch.finfo(t.dtype).tiny)
        weights = [gather(part, ranks).flatten() for part in reciprocal.split(len(blocks[0]))]

        ctx.save_for_backward(temperature, margin, lengths, ids, *gathered, *weights)
        ctx.products, ctx.rank, ctx.dtypes = products, ranks.rank, (first.dtype, second.dtype)
        # softplus(x), which torch's own softplus replaces by x from x = 20 on, wrong by 2e-9 in float64
        return -logsigmoid(-margin).mean()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph=True: a second derivative would silently be zero
            raise RuntimeError("this NT-Xent has no second derivative: use implementation='reference'")
        temperature, margin, lengths, ids, *saved = ctx.saved_tensors
        gathered, weights = saved[: len(saved) // 2], saved[len(saved) // 2 :]
        n = len(margin) // 2
        meetings = _Meetings(ctx.products, gathered, ids, ctx.rank, n)
        t = 1 / temperature

        push = margin.sigmoid()
        push = (push[:n] + push[n:])[:, None]
        # (4') divides by this rank's m only: data parallelism's mean over ranks does the rest
        scale = upstream * t / len(margin)
        gradients = _views(meetings.pull(t, weights), n)
        units = _views(meetings.rows, n)
        to_t = torch.zeros_like(t)
        for gradient, unit, partner, length in zip(
            gradients, units, reversed(units), lengths.split(n), strict=True
        ):
            gradient.addcmul_(partner, push, value=-1).mul_(scale)
            along = (unit * gradient).sum(1, keepdim=True)
            to_t += along.sum() / (2 * t)  # (5)
            gradient.addcmul_(unit, along, value=-1).div_(length)  # (6)
        first, second = (gradient.to(dtype) for gradient, dtype in zip(gradients, ctx.dtypes, strict=True))
        return first, second, -(t**2) * to_t, None, None, None, None, None


class _Meetings:
    """Who meets whom: all views meet all (SimCLR), or each first meets each second and the reverse (CLIP).

    `gathered` is every rank's rows in one tensor (r 2n, d), or the first and the second views apart.
    """

    def __init__(
        self, products: ModuleType, gathered: list[Tensor], ids: Tensor | None, rank: int, n: int
    ) -> None:
        views = 2 // len(gathered)
        self._products, self._own, self._pair = products, rank * views * n, n if views == 2 else 0
        ours = slice(self._own, self._own + views * n)
        self.rows = [everyone[ours] for everyone in gathered]
        self._columns = gathered[::-1]
        self._ids = (None, None) if ids is None else (ids[ours], ids)
        self._ours = ours

    def negative_sums(self, t: Tensor) -> Tensor:
        """N of (2') for this rank's first and second views."""
        clip_alone = self._pair == 0 and len(self._columns[0]) == len(self.rows[0])
        if clip_alone:  # one pass gives both directions
            return torch.cat(self._products.negative_sums(*self.rows, t, *self._ids, 0, 0, True))
        sums = [
            self._products.negative_sums(rows, columns, t, *self._ids, self._own, self._pair, False)[0]
            for rows, columns in zip(self.rows, self._columns, strict=True)
        ]
        return torch.cat(sums)

    def pull(self, t: Tensor, weights: list[Tensor]) -> list[Tensor]:
        """The sum over negatives in (4'), in the order of `rows`; `weights` are 1/Z in that of `gathered`."""
        return [
            self._products.pull(rows, columns, t, *self._ids, self._own, self._pair, ours[self._ours], theirs)
            for rows, columns, ours, theirs in zip(
                self.rows, self._columns, weights, reversed(weights), strict=True
            )
        ]


def _normalised(
    first: Tensor, second: Tensor, precision: torch.dtype, rounding: torch.dtype
) -> tuple[Tensor, Tensor]:
    """All unit rows (2n, d), rounded, and the lengths (2n, 1) that they had."""
    n, d = first.shape
    unit = first.new_empty(2 * n, d, dtype=rounding)
    lengths = first.new_empty(2 * n, 1, dtype=precision)
    for view, rows, length in zip((first, second), unit.split(n), lengths.split(n), strict=True):
        torch.linalg.vector_norm(view, dim=1, keepdim=True, dtype=precision, out=length).clamp_min_(1e-12)
        torch.div(view, length, out=rows)
    return unit, lengths


def _views(blocks: list[Tensor], n: int) -> list[Tensor]:
    """First views and second views apart, without a copy."""
    return [view for block in blocks for view in block.split(n)]
