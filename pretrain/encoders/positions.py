r"""What tokens say to distances, and distances to tokens: two terms of disentangled attention as one bias.

k strings of L tokens, h heads, d width of a head, C = 2 L - 1 distances.
    query, key (h, k, L, d), keys K and queries Q of the distances (h, C, d)  ->  s (h, k, L, L)

    s_ij = q_i . K_(i-j)  +  k_j . Q_(i-j)                 K from the distance L - 1 down, Q from 1 - L up
One matrix product a head gives the q . K of all distances; the L that row i needs begin one column further left than
those of row i - 1, so they are a view of the product with another stride: nothing is gathered. The gradient is a copy
into the same view, and two products: nothing is scattered, and every sum has one order, also on a GPU. The second
term is the first with rows and columns exchanged.
Rows are taken a block at a time: r rows need L + r - 1 distances, all L of them 2 L - 1, half of them in vain.

The definition gathers with an index (L, L); there also the logarithmic buckets' sums are in whatever order atomic
additions have.
"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

ROWS = 32
"""Rows of a block on a CPU. A GPU takes all at once: there a call costs more than the products in vain."""


def position_scores(
    query: Float[Tensor, "h k L d"],
    key: Float[Tensor, "h k L d"],
    keys: Float[Tensor, "h C d"],
    queries: Float[Tensor, "h C d"],
) -> Float[Tensor, "h k L L"]:
    """s_ij of the module's head."""
    scores: Tensor = _PositionScores.apply(query, key, keys, queries)
    return scores


class _PositionScores(Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, keys: Tensor, queries: Tensor) -> Tensor:
        ctx.save_for_backward(query, key, keys, queries)
        scores = query.new_empty(*query.shape[:3], query.shape[2])
        for rows, distances in blocks(query):
            scores[:, :, rows] = shifted(products(query[:, :, rows], keys[:, distances]))
        for columns, distances in blocks(key):
            scores[..., columns] += shifted(products(key[:, :, columns], queries[:, distances])).mT
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, derivative: Tensor) -> tuple[Tensor, ...]:
        query, key, keys, queries = ctx.saved_tensors
        found = []
        for rows_of, table, wanted in ((query, keys, derivative), (key, queries, derivative.mT)):
            of_rows, of_table = torch.empty_like(rows_of), torch.zeros_like(table)
            for rows, distances in blocks(rows_of):
                block = rows_of[:, :, rows]
                into = block.new_zeros(*block.shape[:3], distances.stop - distances.start)
                shifted(into).copy_(wanted[:, :, rows])
                flat = into.flatten(1, 2)
                of_rows[:, :, rows] = flat.bmm(table[:, distances]).view(block.shape)
                of_table[:, distances] += flat.mT.bmm(block.flatten(1, 2))
            found.append((of_rows, of_table))
        (of_query, of_keys), (of_key, of_queries) = found
        return of_query, of_key, of_keys, of_queries


def blocks(rows: Float[Tensor, "h k L d"]) -> Iterator[tuple[slice, slice]]:
    """Rows a ... b - 1 of each block, and the distances that they need: from their table's L - b to 2 L - 2 - a."""
    length = rows.shape[2]
    count = 1 if rows.is_cuda else -(-length // ROWS)
    for number in range(count):
        first, last = number * length // count, (number + 1) * length // count
        yield slice(first, last), slice(length - last, 2 * length - 1 - first)


def products(block: Float[Tensor, "h k r d"], table: Float[Tensor, "h c d"]) -> Float[Tensor, "h k r c"]:
    """Every row with every distance."""
    return block.flatten(1, 2).bmm(table.mT).view(*block.shape[:3], -1)


def shifted(products: Float[Tensor, "h k r c"]) -> Float[Tensor, "h k r L"]:
    """The view of a contiguous block in which each row begins where its distances do; c = L + r - 1."""
    heads, strings, rows, most = products.shape
    strides = (strings * rows * most, rows * most, most - 1, 1)
    return products.as_strided((heads, strings, rows, most - rows + 1), strides, rows - 1)
