"""The kernel's tiling, as a model with small tiles, against the sums written out in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from pretrain.ntxent import tiles
from tests.ntxent import tiling


@st.composite
def problems(draw):
    """Unit rows of bfloat16, in every form, with and without ids; two sets of weights."""
    n = draw(st.integers(1, 15))
    pair = draw(st.sampled_from([0, n]))
    m = 2 * n if pair else draw(st.integers(1, 30))
    own = draw(st.integers(-1, 20))
    k = max(own, 0) + m + draw(st.integers(0, 20))
    if draw(st.booleans()):
        own, k = 0, m
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    columns = normalize(torch.randn(k, 8, generator=generator), dim=1).bfloat16().float()
    column_ids = torch.randint(k, (k,), generator=generator) if draw(st.booleans()) else None
    rows, row_ids = columns, column_ids
    if (own, k) != (0, m) or not pair:
        rows = columns[max(own, 0) :][:m].clone()
        row_ids = None if column_ids is None else column_ids[max(own, 0) :][:m].clone()
    t = torch.tensor(draw(st.sampled_from([1.0, 20.0, 60.0, 100.0])))
    weights = tuple(torch.rand(size, generator=generator) / k for size in (m, k))
    return tiling.Problem(rows, columns, t, row_ids, column_ids, own, pair), weights


def in_double(problem):
    return [x.double() if isinstance(x, torch.Tensor) and x.is_floating_point() else x for x in problem]


@settings(max_examples=40, deadline=None)
@given(
    drawn=problems(), side=st.sampled_from([8, 16, 32]), strip=st.sampled_from([2, 4, 8]), both=st.booleans()
)
def test_sums(drawn, side, strip, both):
    """Every place in the scratch is written once, by rows or by columns, and all add up."""
    problem, _ = drawn
    triangle = not both and problem.rows is problem.columns
    pieces = tiling.pieces(problem.m, side), tiling.pieces(problem.k, side)
    plan = tiling.SumsPlan(side, *pieces, triangle, both)
    right = tiles.negative_sums(*in_double(problem), both)
    for ours, exact in zip(tiling.sums(problem, plan, strip, tile=8), right, strict=True):
        torch.testing.assert_close(
            ours.double(), exact, rtol=2e-5, atol=1e-6 * exact.max().item() if len(exact) else 0
        )


@settings(max_examples=40, deadline=None)
@given(
    drawn=problems(),
    splits=st.integers(1, 5),
    block_rows=st.sampled_from([4, 8]),
    tile=st.sampled_from([2, 4]),
)
def test_pull(drawn, splits, block_rows, tile):
    """Split columns and rounded weights; a weight is off by 2^-9 of itself at most."""
    problem, weights = drawn
    splits = min(splits, tiling.pieces(problem.k, tile))
    ours = tiling.pull(problem, weights, splits, block_rows, tile)
    double = in_double(problem), [part.double() for part in weights]
    exact = tiles.pull(*double[0], *double[1])
    dense = (problem.t.double() * double[0][0] @ double[0][1].T - (problem.t - 60).clamp_min(0)).exp()
    bound = (dense * (double[1][0][:, None] + double[1][1])) @ double[0][1].abs() * 2**-8 + 1e-12
    assert ((ours - exact).abs() <= bound).all()


@pytest.mark.parametrize(
    ("m", "multiprocessors", "side"), [(65_536, 132, 1024), (1_048_576, 132, 2048), (256, 132, 128)]
)
def test_the_side_of_a_super_tile(m, multiprocessors, side):
    """As docs/ntxent.md tells it."""
    assert tiling.plan_sums(m, m, True, False, multiprocessors).side == side
