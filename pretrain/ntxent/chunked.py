"""NT-Xent in tiles: the similarities exist a tile at a time, and the gradient is written by hand.

n molecules, m = 2n views of this rank, d width, r ranks.
    first (n, d), second (n, d), temperature ()  ->  mean loss () over this rank's views

Equations (2')-(4'), (5) and (6) of `pretrain.ntxent`, for Chen et al. 2020 (SimCLR), arXiv 2002.05709,
section 2.1. There the m x m similarities are held for the backward; here both passes compute them, so
memory is a few m x d arrays and two tiles.

Own views against own views is a symmetric square, of which only the upper triangle is computed: a tile
serves its rows and, transposed, its columns. That leaves two of the definition's three m x m x d products.
Views of other ranks are rectangles, where each rank works for its own rows. Sums run in a fixed order
without atomics: equal input gives equal bits.
"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from pretrain.ntxent.distributed import Ranks, gather


def ntxent_chunked(
    first: Float[Tensor, "n d"],
    second: Float[Tensor, "n d"],
    temperature: Float[Tensor, ""],
    *,
    ranks: Ranks = Ranks(),  # noqa: B008 an immutable tuple
    chunk: int = 1024,
) -> Float[Tensor, ""]:
    """The mean of (3') over this rank's 2n views, all of one dtype, float32 or float64."""
    loss: Tensor = _Chunked.apply(torch.cat([first, second]), temperature, ranks, chunk)
    return loss


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, views: Tensor, temperature: Tensor, ranks: Ranks, chunk: int) -> Tensor:
        length = torch.linalg.vector_norm(views, dim=1, keepdim=True).clamp_min_(1e-12)
        unit = views / length
        everyone = gather(unit, ranks)
        tiles = _Tiles(everyone, ranks.rank, 1 / temperature, chunk)

        positive = tiles.t * (unit * _partners(unit)).sum(1)
        # Ten times the smallest normal number (1e-37 in float32), so that its reciprocal is finite too.
        negative = _negative_sums(tiles).clamp_min_(10 * torch.finfo(unit.dtype).tiny)
        margin = negative.log() + tiles.shift - positive  # x of (2')
        reciprocal = gather(1 / (negative + (positive - tiles.shift).exp()), ranks)

        ctx.save_for_backward(everyone, length, reciprocal, margin, temperature)
        ctx.rank, ctx.chunk = ranks.rank, chunk
        # softplus(x), which torch's own softplus replaces by x from x = 20 on, wrong by 2e-9 in float64
        return -logsigmoid(-margin).mean()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor, None, None]:
        if torch.is_grad_enabled():  # create_graph=True: a second derivative would silently be zero
            raise RuntimeError("chunked NT-Xent has no second derivative: use implementation='reference'")
        everyone, length, reciprocal, margin, temperature = ctx.saved_tensors
        tiles = _Tiles(everyone, ctx.rank, 1 / temperature, ctx.chunk)
        unit = tiles.unit

        gradient = _pull_of_negatives(tiles, reciprocal)
        push = margin.sigmoid()
        push += _partners(push)
        gradient.addcmul_(_partners(unit), push[:, None], value=-1)
        # (4'), divided by this rank's m only: data parallelism's mean over ranks does the rest
        gradient *= upstream * tiles.t / len(unit)

        along = (unit * gradient).sum(1, keepdim=True)
        to_temperature = -tiles.t / 2 * along.sum()  # (5), and dt/dtau = -t^2
        gradient.addcmul_(unit, along, value=-1).div_(length)  # (6)
        return gradient, to_temperature, None, None


class _Tiles:
    """Tiles of exp(s_ij - c), zero at i = j and at positives.

    All tiles lie in one buffer: each is the consumer's to change, and is gone when it asks for the next.
    """

    def __init__(self, everyone: Tensor, rank: int, t: Tensor, chunk: int) -> None:
        self.everyone, self.rank, self.t = everyone, rank, t  # everyone (r, m, d)
        self.unit = everyone[rank]
        self.shift = (t - 60).clamp_min(0)
        m = len(self.unit)
        self._chunks = [slice(start, min(start + chunk, m)) for start in range(0, m, chunk)]
        self._buffer, self._scratch = everyone.new_empty(2, min(chunk, m) ** 2)

    def triangle(self) -> Iterator[tuple[slice, slice, Tensor]]:
        """Own rows against own columns, on and above the diagonal."""
        for k, rows in enumerate(self._chunks):
            scaled = self.unit[rows] * self.t
            for columns in self._chunks[k:]:
                tile = self._exponentials(scaled, self.unit[columns])
                n = len(self.unit) // 2
                for partner in (-n, 0, n):  # where j - i is one of these, j is i's positive or i itself
                    tile.diagonal(partner + rows.start - columns.start).zero_()
                yield rows, columns, tile

    def rectangles(self) -> Iterator[tuple[slice, int, slice, Tensor]]:
        """Own rows against every other rank's columns; they hold negatives only."""
        for rows in self._chunks:
            scaled = self.unit[rows] * self.t
            for other in range(len(self.everyone)):
                if other == self.rank:
                    continue
                for columns in self._chunks:
                    yield rows, other, columns, self._exponentials(scaled, self.everyone[other, columns])

    def weigh(self, tile: Tensor, of_rows: Tensor, of_columns: Tensor) -> Tensor:
        """The tile, in place, times the sum of its row's and its column's reciprocal: P_ij + P_ji."""
        sums = self._scratch[: tile.numel()].view_as(tile)
        return tile.mul_(torch.add(of_rows[:, None], of_columns, out=sums))

    def _exponentials(self, scaled: Tensor, columns: Tensor) -> Tensor:
        tile = self._buffer[: len(scaled) * len(columns)].view(len(scaled), len(columns))
        return torch.mm(scaled, columns.T, out=tile).sub_(self.shift).exp_()


def _negative_sums(tiles: _Tiles) -> Tensor:
    """N of (2') for this rank's rows."""
    sums = tiles.unit.new_zeros(len(tiles.unit))
    for rows, columns, tile in tiles.triangle():
        sums[rows] += tile.sum(1)
        if rows != columns:
            sums[columns] += tile.sum(0)
    for rows, _, _, tile in tiles.rectangles():
        sums[rows] += tile.sum(1)
    return sums


def _pull_of_negatives(tiles: _Tiles, reciprocal: Tensor) -> Tensor:
    """The sum over negatives in (4') for this rank's rows; `reciprocal` (r, m) is 1/Z of every rank."""
    ours = reciprocal[tiles.rank]
    pull = torch.zeros_like(tiles.unit)
    for rows, columns, tile in tiles.triangle():
        weights = tiles.weigh(tile, ours[rows], ours[columns])
        pull[rows].addmm_(weights, tiles.unit[columns])
        if rows != columns:
            pull[columns].addmm_(weights.T, tiles.unit[rows])
    for rows, other, columns, tile in tiles.rectangles():
        weights = tiles.weigh(tile, ours[rows], reciprocal[other, columns])
        pull[rows].addmm_(weights, tiles.everyone[other, columns])
    return pull


def _partners(rows: Tensor) -> Tensor:
    """Row p(i) at i: the halves change places."""
    return rows.roll(len(rows) // 2, 0)
