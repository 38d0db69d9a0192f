"""The portable path's tiling as an executable model: the same cuts, masks, roundings and order, in Python.

m rows, k columns, d width.
    sums: rows (m, d), columns (k, d)  ->  (m,), (k,)        pull: and weights (m,), (k,)  ->  (m, d)

It models plan.h, pairs.h, portable_sums.cuh and portable_pull.cuh of `pretrain.ntxent.kernel`, a thread block at a
time. Super-tiles, strips and tiles may be made small, so that small problems have many of them.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

TILE_COLUMNS, LARGEST_SIDE, BAND, LARGEST_SPLIT_BYTES = 128, 2048, 16, 64 << 20
PULL_TILES = {  # d and whether a block may have 163 KB of shared memory -> rows, columns
    (64, True): (128, 64),
    (64, False): (128, 64),
    (128, True): (128, 64),
    (128, False): (128, 64),
    (256, True): (128, 64),
    (256, False): (64, 32),
    (512, True): (64, 32),
    (512, False): (64, 16),
}


class Problem(NamedTuple):
    """The arguments that both products share."""

    rows: Tensor
    columns: Tensor
    t: Tensor
    row_ids: Tensor | None
    column_ids: Tensor | None
    own: int
    pair: int

    @property
    def m(self) -> int:
        return len(self.rows)

    @property
    def k(self) -> int:
        return len(self.columns)


class SumsPlan(NamedTuple):
    """plan_sums."""

    side: int
    rows: int
    columns: int
    triangle: bool
    both: bool

    def scratch_floats(self, m: int, k: int) -> int:
        return self.columns * m + (self.rows * k if self.both else 0)

    def places(self) -> Iterator[tuple[int, int]]:
        """Super-tiles in the order of their blocks, with the idle ones below a triangle's diagonal."""
        for first in range(0, self.rows, BAND):
            for column in range(first if self.triangle else 0, self.columns):
                for row in range(first, min(first + BAND, self.rows)):
                    yield row, column


def pieces(length: int, piece: int) -> int:
    return -(-length // piece)


def plan_sums(
    m: int, k: int, triangle: bool, both: bool, multiprocessors: int, largest: int = LARGEST_SIDE
) -> SumsPlan:
    side = largest
    while side > TILE_COLUMNS:
        rows, columns = pieces(m, side), pieces(k, side)
        if (rows * (rows + 1) // 2 if triangle else rows * columns) >= 8 * multiprocessors:
            break
        side //= 2
    return SumsPlan(side, pieces(m, side), pieces(k, side), triangle, both)


def plan_pull(m: int, k: int, d: int, rows: int, columns: int, multiprocessors: int) -> int:
    """The number of splits."""
    best, busiest = 1, 0.0
    for splits in range(1, min(pieces(k, columns), 64) + 1):
        if splits > 1 and splits * m * d * 4 > LARGEST_SPLIT_BYTES:
            break
        blocks = pieces(m, rows) * splits
        busy = blocks / (pieces(blocks, multiprocessors) * multiprocessors)
        if busy > busiest:
            best, busiest = splits, busy
        if busy >= 0.9:
            break
    return best


def sums(problem: Problem, plan: SumsPlan, strip: int, tile: int) -> tuple[Tensor, Tensor]:
    """Row sums and column sums, by way of the scratch."""
    of_rows = torch.full((plan.columns, problem.m), torch.nan)
    of_columns = of_rows if plan.triangle else torch.full((plan.rows, problem.k), torch.nan)
    for row, column in plan.places():
        if plan.triangle and row > column:
            continue
        first, end = row * plan.side, min((row + 1) * plan.side, problem.m)
        span = range(column * plan.side, min((column + 1) * plan.side, problem.k), tile)
        with_columns = plan.both or (plan.triangle and row < column)
        for i in range(first, end, strip):
            strip_sums = torch.zeros(strip)
            for j in span:
                e = exponentials(problem, i, strip, j, tile)
                strip_sums += e.sum(1)
                if with_columns:
                    place = of_columns[row, j : j + tile]
                    added = e.sum(0)[: len(place)]
                    place.copy_(added if i == first else place + added)
            place = of_rows[column, i : i + strip]
            place.copy_(strip_sums[: len(place)])
    return in_order(of_rows), in_order(of_columns) if plan.both else torch.empty(0)


def pull(problem: Problem, weights: tuple[Tensor, Tensor], splits: int, block_rows: int, tile: int) -> Tensor:
    """The outputs of each split, and their sum in order; weighted exponentials are rounded to bfloat16."""
    tiles = pieces(problem.k, tile)
    parts = torch.full((splits, *problem.rows.shape), torch.nan)
    padded = [torch.cat([part, part.new_zeros(block_rows + tile)]) for part in weights]
    for i in range(0, problem.m, block_rows):
        for split in range(splits):
            total = torch.zeros(block_rows, problem.rows.shape[1])
            for n in range(tiles * split // splits, tiles * (split + 1) // splits):
                j = n * tile
                weight = padded[0][i : i + block_rows, None] + padded[1][j : j + tile]
                w = (exponentials(problem, i, block_rows, j, tile) * weight).bfloat16().float()
                total += w @ taken(problem.columns, j, tile)
            place = parts[split, i : i + block_rows]
            place.copy_(total[: len(place)])
    return in_order(parts)


def exponentials(problem: Problem, i: int, rows: int, j: int, columns: int) -> Tensor:
    """A tile, zero where there is no negative; zeros stand for rows and columns beyond the edge."""
    dots = taken(problem.rows, i, rows) @ taken(problem.columns, j, columns).T
    if not all_negatives(problem, i, rows, j, columns):
        for row in range(rows):
            for column in range(columns):
                if not is_negative(problem, i + row, j + column):
                    dots[row, column] = -torch.inf
    if problem.row_ids is not None and problem.column_ids is not None:
        near = [
            ids[torch.arange(start, start + count).clamp_max(len(ids) - 1)]
            for ids, start, count in ((problem.row_ids, i, rows), (problem.column_ids, j, columns))
        ]
        dots[near[0][:, None] == near[1]] = -torch.inf
    return (dots * problem.t - (problem.t - 60).clamp_min(0)).exp()


def is_negative(problem: Problem, i: int, j: int) -> bool:
    """others_of and is_negative."""
    if i >= problem.m or j >= problem.k:
        return False
    across = problem.pair if i < problem.pair else -problem.pair
    return problem.own < 0 or j - problem.own - i not in (0, across)


def all_negatives(problem: Problem, i: int, rows: int, j: int, columns: int) -> bool:
    """The quick test of a tile."""
    if i + rows > problem.m or j + columns > problem.k:
        return False
    diagonals = {problem.own, problem.own + problem.pair, problem.own - problem.pair}
    crossed = any(j - (i + rows - 1) <= apart <= j + columns - 1 - i for apart in diagonals)
    return problem.own < 0 or not crossed


def taken(vectors: Tensor, start: int, count: int) -> Tensor:
    """Rounded to bfloat16, and zeros beyond the last."""
    part = vectors[start : start + count].bfloat16().float()
    return torch.cat([part, part.new_zeros(count - len(part), part.shape[1])])


def in_order(parts: Tensor) -> Tensor:
    total = torch.zeros_like(parts[0])
    for part in parts:
        total += part
    return total
