"""The two products alone, against their sums written out; the kernel's signatures, so its oracle too."""

import pytest
import torch

from pretrain.ntxent.tiles import negative_sums, pull
from tests.ntxent.cases import tiles_of

M, D, T = 14, 6, torch.tensor(12.0, dtype=torch.float64)

# own and pair of 14 rows among 28 columns: first, in the middle and last of them, in both forms; strangers.
PLACES = [(0, 7), (9, 7), (14, 7), (0, 0), (9, 0), (14, 0), (-1, 7), (-1, 0)]


def problem(own, pair, ids, k=28, copied=False):
    """Rows that are a slice of the columns (SimCLR), or a copy, or others (CLIP); `ids` of so many kinds."""
    generator = torch.Generator().manual_seed(5)

    def unit(count):
        rows = torch.randn(count, D, dtype=torch.float64, generator=generator)
        return rows / rows.norm(dim=1, keepdim=True)

    columns = unit(k)
    rows = columns[own : own + M] if own >= 0 and pair else unit(M)
    if copied:
        rows = rows.clone()
    if not ids:
        return rows, columns, T, None, None, own, pair
    column_ids = torch.randint(ids, (k,), generator=generator)
    row_ids = (
        column_ids[own : own + M] if own >= 0 and pair else torch.randint(ids, (M,), generator=generator)
    )
    return rows, columns, T, row_ids, column_ids, own, pair


def exponentials(rows, columns, t, row_ids, column_ids, own, pair):
    """e (m, k), element by element."""
    e = (t * (rows @ columns.T) - (t - 60).clamp_min(0)).exp()
    for i in range(M):
        if own >= 0:
            e[i, own + i] = 0
            if pair:
                e[i, own + (i + pair) % M] = 0
        for j in range(len(columns)):
            if row_ids is not None and row_ids[i] == column_ids[j]:
                e[i, j] = 0
    return e


@pytest.mark.parametrize("edge", [1, 4, 100])
@pytest.mark.parametrize("ids", [0, 3, 40])
@pytest.mark.parametrize(("own", "pair"), PLACES)
def test_the_sums(own, pair, ids, edge):
    """Both of them, alone and together; weights of a row and of its column need not be equal."""
    given = problem(own, pair, ids)
    e = exponentials(*given)
    row_weights, column_weights = torch.linspace(1, 2, M).double(), torch.linspace(-1, 3, 28).double()
    with tiles_of(edge):
        sums, none = negative_sums(*given, False)
        torch.testing.assert_close(sums, e.sum(1))
        assert none.shape == (0,)
        torch.testing.assert_close(negative_sums(*given, True), (e.sum(1), e.sum(0)))
        weights = row_weights[:, None] + column_weights
        torch.testing.assert_close(pull(*given, row_weights, column_weights), (e * weights) @ given[1])


@pytest.mark.parametrize("ids", [0, 3])
def test_a_copy_of_the_columns_gives_the_same(ids):
    """The triangle is a shortcut for rows that are the columns' memory, and changes rounding at most."""
    weights = torch.linspace(1, 2, M).double(), torch.linspace(-1, 3, 28).double()
    given, copied = problem(9, 7, ids), problem(9, 7, ids, copied=True)
    with tiles_of(4):
        torch.testing.assert_close(negative_sums(*copied, False), negative_sums(*given, False))
        torch.testing.assert_close(pull(*copied, *weights), pull(*given, *weights))


def test_half_precision_rows_compute_in_the_precision_of_t():
    """What the kernel's operator does on a CPU."""
    rows, columns, *rest = problem(9, 7, 0)
    halves = rows.bfloat16(), columns.bfloat16()
    sums, _ = negative_sums(*halves, *rest, False)
    wholes = (half.double() for half in halves)
    assert sums.dtype == torch.float64 and torch.equal(sums, negative_sums(*wholes, *rest, False)[0])
