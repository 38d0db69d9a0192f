"""The two products of NT-Xent that cost anything, in torch, a tile at a time.

m rows, k columns, d width; unit vectors. The arithmetic and the results are of t's dtype.
    negative_sums: rows (m, d), columns (k, d)  ->  sums over columns (m,), and by option over rows (k,)
    pull:          rows (m, d), columns (k, d), weights (m,) and (k,)  ->  weighted sums of columns (m, d)

They are the sums over negatives in (2') and (4') of `pretrain.ntxent`: with e_ij = exp(t <u_i, v_j> - c),

    row_sums_i = sum_j e_ij,  column_sums_j = sum_i e_ij
    pull_i     = sum_j e_ij (row_weights_i + column_weights_j) v_j

where e_ij counts as zero unless column j is a negative of row i. Row 0 is column `own`, or its positive is:

    pair = n > 0   rows are the columns own ... own + 2n, and row i's positive is n rows further or back
    pair = 0       column own + i is row i's positive; the rows themselves are no columns
    own = -1       all columns are others' views: neither row i nor its positive is among them

Columns with the row's id are no negatives either; without ids every column has its own.

Where the rows are columns, their square is symmetric: a tile above its diagonal serves its rows and,
transposed, its columns. Sums run in a fixed order without atomics: equal input gives equal bits. The
custom operators of `pretrain.ntxent.kernel` have these signatures too.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

EDGE = {"cpu": 512, "cuda": 4096}
"""Rows and columns of a tile: on a CPU it stays in the cache, on a GPU it fills the device."""


def negative_sums(
    rows: Float[Tensor, "m d"],
    columns: Float[Tensor, "k d"],
    t: Float[Tensor, ""],
    row_ids: Int64[Tensor, " m"] | None,
    column_ids: Int64[Tensor, " k"] | None,
    own: int,
    pair: int,
    both: bool,
) -> tuple[Float[Tensor, " m"], Float[Tensor, " sums"]]:
    """Row sums, and column sums if `both` are asked for, else an empty tensor."""
    problem = _Problem(rows.to(t.dtype), columns.to(t.dtype), t, row_ids, column_ids, own, pair)
    row_sums = t.new_zeros(len(rows))
    column_sums = t.new_zeros(len(columns) if both else 0)
    for tile in _tiles(problem, symmetric=not both):
        row_sums[tile.rows] += tile.exponentials.sum(1)
        if both:
            column_sums[tile.columns] += tile.exponentials.sum(0)
        if tile.mirror:
            row_sums[tile.mirror.rows] += tile.exponentials.sum(0)
    return row_sums, column_sums


def pull(
    rows: Float[Tensor, "m d"],
    columns: Float[Tensor, "k d"],
    t: Float[Tensor, ""],
    row_ids: Int64[Tensor, " m"] | None,
    column_ids: Int64[Tensor, " k"] | None,
    own: int,
    pair: int,
    row_weights: Float[Tensor, " m"],
    column_weights: Float[Tensor, " k"],
) -> Float[Tensor, "m d"]:
    """What all negatives together do to each row."""
    problem = _Problem(rows.to(t.dtype), columns.to(t.dtype), t, row_ids, column_ids, own, pair)
    out = t.new_zeros(rows.shape)
    scratch = t.new_empty(_edge(problem) ** 2)
    for tile in _tiles(problem, symmetric=True):
        weights = scratch[: tile.exponentials.numel()].view_as(tile.exponentials)
        torch.add(row_weights[tile.rows, None], column_weights[tile.columns], out=weights)
        out[tile.rows].addmm_(weights.mul_(tile.exponentials), problem.columns[tile.columns])
        if tile.mirror:
            torch.add(column_weights[tile.mirror.columns, None], row_weights[tile.mirror.rows], out=weights)
            out[tile.mirror.rows].addmm_(
                weights.mul_(tile.exponentials).T, problem.columns[tile.mirror.columns]
            )
    return out


class _Problem(NamedTuple):
    """The arguments that both products share."""

    rows: Tensor
    columns: Tensor
    t: Tensor
    row_ids: Tensor | None
    column_ids: Tensor | None
    own: int
    pair: int


class _Mirror(NamedTuple):
    """The rows and columns of a tile's transpose."""

    rows: slice
    columns: slice


class _Tile(NamedTuple):
    rows: slice
    columns: slice
    exponentials: Tensor
    mirror: _Mirror | None
    """Where the transpose belongs too, if it is no tile of its own."""


def _edge(problem: _Problem) -> int:
    return min(EDGE[problem.t.device.type], max(len(problem.rows), len(problem.columns)))


def _tiles(problem: _Problem, symmetric: bool) -> Iterator[_Tile]:
    """Tiles of e_ij, all in one buffer: each is gone when the next is asked for."""
    rows, columns, t, _, _, own, pair = problem
    edge, m = _edge(problem), len(rows)
    # exp(x) = 2^(x log2 e), and the power of two is the cheaper function
    rate, shift = t * math.log2(math.e), (t - 60).clamp_min(0) * math.log2(math.e)
    repeats = _Repeats(problem)
    buffer = t.new_empty(edge**2)
    end = own + m if own >= 0 else 0  # of the square, which begins at max(own, 0)
    spans = [(0, own), (max(own, 0), end), (end, len(columns))]
    for i in _chunks(0, m, edge):
        scaled = rows[i] * rate
        for j in (chunk for span in spans for chunk in _chunks(*span, edge)):
            square = own <= j.start < end
            mirrored = symmetric and square and pair > 0
            if mirrored and j.start - own < i.start:
                continue
            tile = buffer[: len(scaled) * (j.stop - j.start)].view(len(scaled), -1)
            torch.mm(scaled, columns[j].T, out=tile).sub_(shift).exp2_()
            if square:  # where j - i is one of these, j is row i itself or its positive
                for offset in {own, own + pair, own - pair}:
                    tile.diagonal(offset + i.start - j.start).zero_()
            repeats.mask(tile, i, j)
            beyond = mirrored and j.start - own > i.start
            mirror = _Mirror(_moved(j, -own), _moved(i, own)) if beyond else None
            yield _Tile(i, j, tile, mirror)


def _chunks(start: int, stop: int, edge: int) -> list[slice]:
    return [slice(k, min(k + edge, stop)) for k in range(start, stop, edge)]


def _moved(chunk: slice, by: int) -> slice:
    return slice(chunk.start + by, chunk.stop + by)


class _Repeats:
    """Equal ids beyond a row itself and its positive: few, as a rule, so only they are compared."""

    def __init__(self, problem: _Problem) -> None:
        _, _, _, self.row_ids, self.column_ids, own, pair = problem
        if self.row_ids is None or self.column_ids is None:
            return
        ordered = self.column_ids.sort().values
        count = torch.searchsorted(ordered, self.row_ids, right=True)
        count -= torch.searchsorted(ordered, self.row_ids)
        if own >= 0:
            at_home = self.column_ids[own : own + len(self.row_ids)]
            for known in {0, pair}:
                count -= (at_home.roll(known) == self.row_ids).long()
        self.rows = count > 0
        self.columns = torch.isin(self.column_ids, self.row_ids[self.rows])

    def mask(self, tile: Tensor, i: slice, j: slice) -> None:
        """Zero the tile where the ids are equal."""
        if self.row_ids is None or self.column_ids is None:
            return
        rows, columns = self.rows[i].nonzero(), self.columns[j].nonzero().T
        if rows.numel() and columns.numel():
            equal = self.row_ids[i][rows] == self.column_ids[j][columns]
            tile[rows, columns] = tile[rows, columns].masked_fill_(equal, 0)
