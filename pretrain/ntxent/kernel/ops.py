"""The two products as torch operators: `molparallax::negative_sums` and `molparallax::pull`.

m rows, k columns, d width.
    negative_sums: rows (m, d), columns (k, d), t ()  ->  (m,), (k,) or empty
    pull:          rows (m, d), columns (k, d), t (), weights (m,) and (k,)  ->  (m, d)

Arguments and results are those of `pretrain.ntxent.tiles`, which computes them on a CPU; on a CUDA device the
kernel does. So they can be traced, compiled and differentiated once. With a_i, b_j the gradients that reach the
sums, the gradient of the rows is t times the pull with weights a and b, that of the columns t times the pull
with rows and columns exchanged, and that of t, with c = max(0, t - 60),

    sum_i <u_i, pull_i> - c' (sum_i a_i row_sums_i + sum_j b_j column_sums_j)
"""

from typing import Any

import torch
from torch import Tensor

from pretrain.ntxent import tiles
from pretrain.ntxent.kernel.binding import problem_of
from pretrain.ntxent.kernel.library import kernel_on


@torch.library.custom_op("molparallax::negative_sums", mutates_args=())
def negative_sums(
    rows: Tensor,
    columns: Tensor,
    t: Tensor,
    row_ids: Tensor | None,
    column_ids: Tensor | None,
    own: int,
    pair: int,
    both: bool,
) -> tuple[Tensor, Tensor]:
    """Row sums, and column sums if `both` are asked for, else an empty tensor."""
    return tiles.negative_sums(rows, columns, t, row_ids, column_ids, own, pair, both)


@torch.library.custom_op("molparallax::pull", mutates_args=())
def pull(
    rows: Tensor,
    columns: Tensor,
    t: Tensor,
    row_ids: Tensor | None,
    column_ids: Tensor | None,
    own: int,
    pair: int,
    row_weights: Tensor,
    column_weights: Tensor,
) -> Tensor:
    """What all negatives together do to each row."""
    return tiles.pull(rows, columns, t, row_ids, column_ids, own, pair, row_weights, column_weights)


@negative_sums.register_kernel("cuda")
def _(rows: Tensor, columns: Tensor, t: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    *others, both = rest
    binding, path = kernel_on(rows.device)
    return binding.negative_sums(path, problem_of(rows, columns, t, *others), both)


@pull.register_kernel("cuda")
def _(rows: Tensor, columns: Tensor, t: Tensor, *rest: Any) -> Tensor:
    *others, row_weights, column_weights = rest
    binding, path = kernel_on(rows.device)
    return binding.pull(path, problem_of(rows, columns, t, *others), row_weights, column_weights)


@negative_sums.register_fake
def _(rows: Tensor, columns: Tensor, t: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return t.new_empty(rows.shape[0]), t.new_empty(columns.shape[0] if rest[-1] else 0)


@pull.register_fake
def _(rows: Tensor, _columns: Tensor, t: Tensor, *_: Any) -> Tensor:
    return t.new_empty(rows.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.own, ctx.pair, ctx.both = inputs
    ctx.save_for_backward(*tensors, *output)


def _gradient_of_sums(ctx: Any, to_rows: Tensor, to_columns: Tensor) -> tuple[Tensor | None, ...]:
    rows, columns, t, row_ids, column_ids, row_sums, column_sums = ctx.saved_tensors
    a, b = to_rows, to_columns if ctx.both else t.new_zeros(len(columns))
    of_rows = of_columns = of_t = None
    if ctx.needs_input_grad[0] or ctx.needs_input_grad[2]:
        pulled = torch.ops.molparallax.pull(rows, columns, t, row_ids, column_ids, ctx.own, ctx.pair, a, b)
        of_rows = (t * pulled).to(rows.dtype)
        shifted = (t > 60).to(t.dtype)
        of_t = (rows.to(t.dtype) * pulled).sum() - shifted * (a @ row_sums)
        if ctx.both:
            of_t = of_t - shifted * (b @ column_sums)
    if ctx.needs_input_grad[1]:
        of_columns = (t * _pull_of_columns(ctx, a, b)).to(columns.dtype)
    return of_rows, of_columns, of_t, None, None, None, None, None


def _pull_of_columns(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
    """Rows and columns exchanged: only the columns from `own` on have rows that are masked."""
    rows, columns, t, row_ids, column_ids, *_ = ctx.saved_tensors
    start = max(ctx.own, 0)
    end = start + len(rows) if ctx.own >= 0 else 0
    parts = []
    for part, own in ((slice(0, start), -1), (slice(start, end), 0), (slice(end, len(columns)), -1)):
        if part.start == part.stop:
            continue
        ids = None if column_ids is None else column_ids[part]
        pair = ctx.pair if own == 0 else 0
        parts.append(torch.ops.molparallax.pull(columns[part], rows, t, ids, row_ids, own, pair, b[part], a))
    return torch.cat(parts)


negative_sums.register_autograd(_gradient_of_sums, setup_context=_save)
