"""The two products of NT-Xent that cost anything, in torch, a tile at a time.

m rows, k columns, d width; unit vectors. The arithmetic and the results are of t's dtype.
    negative_sums: rows (m, d), columns (k, d)  ->  sums over columns (m,), and by option over rows (k,)
    pull:          rows (m, d), columns (k, d), weights (m,) and (k,)  ->  weighted sums of columns (m, d)

They are the sums over negatives in (2') and (4') of `pretrain.ntxent`: with e_ij = exp(t <u_i, v_j> - c),

    row_sums_i = sum_j e_ij,  column_sums_j = sum_i e_ij
    pull_i     = sum_j e_ij (row_weights_i + column_weights_j) v_j

where e_ij counts as zero unless column j is a negative of row i. Row 0 is column `own`, or its positive is:

    pair = n > 0   row i is column own + i, of 2n, and its positive is n columns further or back
    pair = 0       column own + i is row i's positive; the rows themselves are no columns
    own = -1       all columns are others' views: neither row i nor its positive is among them

Columns with the row's id are no negatives either; without ids every column has its own.

Where the rows are a slice of the columns, the same memory, their square is symmetric: a tile above its
diagonal serves its rows and, transposed, its columns. Sums run in a fixed order without atomics: equal input
gives equal bits. The custom operators of `pretrain.ntxent.kernel` have these signatures too.
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
    tiles = _Tiles(rows, columns, t, row_ids, column_ids, own, pair)
    row_sums = t.new_zeros(len(rows))
    column_sums = t.new_zeros(len(columns) if both else 0)
    for tile in tiles.each(once=not both):
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
    tiles = _Tiles(rows, columns, t, row_ids, column_ids, own, pair)
    out = t.new_zeros(rows.shape)
    scratch = tiles.buffer()
    for tile in tiles.each(once=True):
        weights = scratch[: tile.exponentials.numel()].view_as(tile.exponentials)
        torch.add(row_weights[tile.rows, None], column_weights[tile.columns], out=weights)
        out[tile.rows].addmm_(weights.mul_(tile.exponentials), tiles.columns[tile.columns])
        if tile.mirror:
            torch.add(column_weights[tile.mirror.columns, None], row_weights[tile.mirror.rows], out=weights)
            weights.mul_(tile.exponentials)
            out[tile.mirror.rows].addmm_(weights.T, tiles.columns[tile.mirror.columns])
    return out


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


class _Tiles:
    """e_ij a tile at a time, from the arguments that both products share."""

    def __init__(
        self,
        rows: Tensor,
        columns: Tensor,
        t: Tensor,
        row_ids: Tensor | None,
        column_ids: Tensor | None,
        own: int,
        pair: int,
    ) -> None:
        self.rows, self.columns, self.t = rows.to(t.dtype), columns.to(t.dtype), t
        self.own, self.pair = own, pair
        self.end = (
            own + len(rows) if own >= 0 else 0
        )  # of the columns from `own` on where some pairs are masked
        self.edge = min(EDGE[t.device.type], max(len(rows), len(columns)))
        self.repeats = None
        if row_ids is not None and column_ids is not None:
            self.repeats = _Repeats(row_ids, column_ids, own, pair)
        self.symmetric = pair > 0 and _is_slice(rows, columns, own) and _is_slice(row_ids, column_ids, own)

    def buffer(self) -> Tensor:
        """Room for one tile."""
        return self.t.new_empty(self.edge**2)

    def each(self, *, once: bool) -> Iterator[_Tile]:
        """All tiles, in one buffer: each is gone when the next is asked for.

        `once` leaves out those below the diagonal of a symmetric square, which are others' mirrors.
        """
        once = once and self.symmetric
        # exp(x) = 2^(x log2 e), and the power of two is the cheaper function
        rate, shift = self.t * math.log2(math.e), (self.t - 60).clamp_min(0) * math.log2(math.e)
        buffer = self.buffer()
        for i in _chunks(0, len(self.rows), self.edge):
            scaled = self.rows[i] * rate
            for j in self._column_chunks():
                square = self.own <= j.start < self.end
                mirrored = once and square and j.start - self.own != i.start
                if mirrored and j.start - self.own < i.start:
                    continue
                tile = buffer[: len(scaled) * (j.stop - j.start)].view(len(scaled), -1)
                torch.mm(scaled, self.columns[j].T, out=tile).sub_(shift).exp2_()
                self._mask(tile, i, j, square)
                yield _Tile(i, j, tile, self._mirror(i, j) if mirrored else None)

    def _column_chunks(self) -> list[slice]:
        """No chunk crosses an end of the columns where pairs are masked."""
        spans = (0, self.own), (max(self.own, 0), self.end), (self.end, len(self.columns))
        return [chunk for span in spans for chunk in _chunks(*span, self.edge)]

    def _mask(self, tile: Tensor, i: slice, j: slice, square: bool) -> None:
        if square:  # where j - i is one of these, column j is row i itself or its positive
            for offset in {self.own, self.own + self.pair, self.own - self.pair}:
                tile.diagonal(offset + i.start - j.start).zero_()
        if self.repeats is not None:
            self.repeats.mask(tile, i, j)

    def _mirror(self, i: slice, j: slice) -> _Mirror:
        own = self.own
        return _Mirror(slice(j.start - own, j.stop - own), slice(i.start + own, i.stop + own))


class _Repeats:
    """Equal ids beyond a row itself and its positive: few, as a rule, so only they are compared."""

    def __init__(self, row_ids: Tensor, column_ids: Tensor, own: int, pair: int) -> None:
        self.row_ids, self.column_ids = row_ids, column_ids
        ordered = column_ids.sort().values
        count = torch.searchsorted(ordered, row_ids, right=True) - torch.searchsorted(ordered, row_ids)
        if own >= 0:
            square = column_ids[own : own + len(row_ids)]
            for known in {0, pair}:
                count -= (square.roll(known) == row_ids).long()
        self.rows = count > 0
        self.columns = torch.isin(column_ids, row_ids[self.rows])

    def mask(self, tile: Tensor, i: slice, j: slice) -> None:
        """Zero the tile where the ids are equal."""
        rows, columns = self.rows[i].nonzero()[:, 0], self.columns[j].nonzero()[:, 0]
        if len(rows) and len(columns):
            row, column = (self.row_ids[i][rows, None] == self.column_ids[j][columns]).nonzero().unbind(1)
            tile[rows[row], columns[column]] = 0


def _chunks(start: int, stop: int, edge: int) -> list[slice]:
    return [slice(k, min(k + edge, stop)) for k in range(start, stop, edge)]


def _is_slice(part: Tensor | None, whole: Tensor | None, start: int) -> bool:
    """Whether `part` is the memory of `whole` from `start` on; None is part of None."""
    if part is None or whole is None:
        return part is whole
    return 0 <= start < len(whole) and part.data_ptr() == whole[start].data_ptr()
