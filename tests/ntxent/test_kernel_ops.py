"""The torch operators on a CPU: their schema, their gradient, what a compiler makes of them."""

import pytest
import torch
from torch.nn.functional import normalize

from pretrain.ntxent import tiles
from pretrain.ntxent.kernel import ops

D = 6
PLACES = [  # m, k, own, pair, both
    (10, 10, 0, 5, False),
    (8, 24, 8, 4, False),
    (6, 12, 3, 0, True),
    (5, 9, -1, 0, True),
]


def arguments(m, k, own, pair, ids, t=20.0, dtype=torch.float64):
    """Rows are columns, as they are wherever own >= 0 and pair > 0."""
    generator = torch.Generator().manual_seed(3)
    columns = normalize(torch.randn(k, D, dtype=dtype, generator=generator), dim=1)
    column_ids = torch.randint(k, (k,), generator=generator)
    start = max(own, 0)
    rows, row_ids = columns[start : start + m].clone(), column_ids[start : start + m].clone()
    tensors = rows, columns, torch.tensor(t, dtype=dtype)
    return tensors, ((row_ids, column_ids) if ids else (None, None)), own, pair


@pytest.mark.parametrize(("m", "k", "own", "pair", "both"), PLACES[1:3])
def test_torch_accepts_the_operators(m, k, own, pair, both):
    """Schema, aliasing, fake shapes, registration of the gradient, and tracing through it."""
    tensors, ids, own, pair = arguments(m, k, own, pair, pair > 0, dtype=torch.float32)
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    torch.library.opcheck(ops.negative_sums, (*leaves, *ids, own, pair, both))
    weights = torch.rand(m), torch.rand(k)
    torch.library.opcheck(ops.pull, (*tensors, *ids, own, pair, *weights))


def sums_written_out(rows, columns, t, row_ids, column_ids, own, pair):
    """e (m, k) by autograd."""
    m = len(rows)
    known = torch.zeros(m, len(columns), dtype=torch.bool)
    for i in range(m):
        if own >= 0:
            known[i, [own + i, own + (i + pair) % m]] = True
    if row_ids is not None:
        known |= row_ids[:, None] == column_ids
    return (t * rows @ columns.T - (t - 60).clamp_min(0)).exp().masked_fill(known, 0)


@pytest.mark.parametrize("t", [5.0, 65.0])
@pytest.mark.parametrize("ids", [True, False])
@pytest.mark.parametrize(("m", "k", "own", "pair", "both"), PLACES)
def test_the_gradient(m, k, own, pair, both, ids, t):
    """Of rows, columns and t, against autograd's through the sums written out."""
    tensors, ids, own, pair = arguments(m, k, own, pair, ids, t)
    weights = [torch.linspace(1, 2, size, dtype=torch.float64) for size in (m, k)]

    def gradients(sums):
        leaves = [tensor.clone().requires_grad_() for tensor in tensors]
        row_sums, column_sums = sums(*leaves)
        return torch.autograd.grad(
            (weights[0] * row_sums).sum() + (weights[1] * column_sums).sum() * both, leaves
        )

    def written_out(*leaves):
        e = sums_written_out(*leaves, *ids, own, pair)
        return e.sum(1), e.sum(0)

    def operator(*leaves):
        row_sums, column_sums = ops.negative_sums(*leaves, *ids, own, pair, both)
        return row_sums, column_sums if both else torch.zeros(k).double()

    for ours, exact in zip(gradients(operator), gradients(written_out), strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-10, atol=1e-10 * exact.abs().max().item())


def test_half_precision_rows_get_half_precision_gradients():
    """What the kernel takes; the arithmetic is t's."""
    tensors, ids, own, pair = arguments(10, 10, 0, 5, True, dtype=torch.float32)
    rows, columns = (tensor.bfloat16().requires_grad_() for tensor in tensors[:2])
    row_sums, _ = ops.negative_sums(rows, columns, tensors[2], *ids, own, pair, False)
    row_sums.sum().backward()
    assert row_sums.dtype == torch.float32
    assert rows.grad.dtype == columns.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiler_traces_it_whole(backend):
    """No graph break, and the same numbers."""
    tensors, ids, own, pair = arguments(8, 24, 8, 4, True)

    def loss(*leaves):
        row_sums, column_sums = ops.negative_sums(*leaves, *ids, own, pair, True)
        return row_sums.log1p().sum() + column_sums.log1p().sum()

    def outcome(function):
        leaves = [tensor.clone().requires_grad_() for tensor in tensors]
        value = function(*leaves)
        return value, *torch.autograd.grad(value, leaves)

    torch.testing.assert_close(outcome(torch.compile(loss, fullgraph=True, backend=backend)), outcome(loss))


def test_on_a_cpu_they_are_the_tiles():
    """Bit for bit."""
    tensors, ids, own, pair = arguments(8, 24, 8, 4, True)
    weights = torch.rand(8).double(), torch.rand(24).double()
    assert torch.equal(
        ops.pull(*tensors, *ids, own, pair, *weights), tiles.pull(*tensors, *ids, own, pair, *weights)
    )
