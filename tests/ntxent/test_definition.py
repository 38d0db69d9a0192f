"""Each implementation of the loss against the definition, in float64 and to its last digits."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ntxent.cases import (
    FORMS,
    IMPLEMENTATIONS,
    REPEATED,
    TILED,
    loss_and_gradients,
    loss_of,
    tiles_of,
    views,
)

TEMPERATURES = [0.5, 0.1, 0.05, 0.01]

exactly = {"rtol": 1e-11, "atol": 1e-12}
every_form = pytest.mark.parametrize("form", FORMS)
every_implementation = pytest.mark.parametrize("how", IMPLEMENTATIONS, ids=str)
with_and_without_ids = pytest.mark.parametrize("ids", [None, REPEATED], ids=["all differ", "repeated ids"])


@pytest.mark.parametrize("temperature", TEMPERATURES)
@with_and_without_ids
@every_form
@pytest.mark.parametrize("how", TILED, ids=str)
def test_tiles_equal_the_definition(how, form, ids, temperature):
    """Loss, both gradients, the temperature's gradient: those that autograd finds for (1)-(3)."""
    expected = loss_and_gradients(*views(), temperature, form=form, ids=ids, implementation="reference")
    outcome = loss_and_gradients(*views(), temperature, form=form, ids=ids, **how)
    # Against 80-bit floats at 0.01, it is the definition's temperature gradient that is off by 3e-11.
    torch.testing.assert_close(outcome, expected, rtol=1e-12, atol=1e-14 / temperature**2)


def textbook(first, second, tau, form, ids):
    """Algorithm 1 of the SimCLR paper, number by number; CLIP's rows skip the candidates of their own view."""
    rows, n = [*first.tolist(), *second.tolist()], len(first)
    molecule = list(range(n)) if ids is None else ids.tolist()

    def similarity(i, j):
        dot = sum(a * b for a, b in zip(rows[i], rows[j], strict=True))
        return dot / math.hypot(*rows[i]) / math.hypot(*rows[j])

    total = 0.0
    for i in range(2 * n):
        positive = math.exp(similarity(i, (i + n) % (2 * n)) / tau)
        others = positive
        for k in range(2 * n):
            same_view = (i < n) == (k < n)
            if molecule[i % n] != molecule[k % n] and not (form == "clip" and same_view):
                others += math.exp(similarity(i, k) / tau)
        total -= math.log(positive / others)
    return total / (2 * n)


@with_and_without_ids
@every_form
@every_implementation
def test_textbook_loops(how, form, ids):
    """No tensor operation in common with what it is compared with."""
    outcome = loss_of(*views(), 0.2, form=form, ids=ids, **how)
    assert outcome.item() == pytest.approx(textbook(*views(), 0.2, form, ids), rel=1e-13)


@pytest.mark.parametrize("temperature", [0.1, 0.08, 0.07])
@every_form
def test_opposed_views_keep_their_last_digits(form, temperature):
    """x of (2') is around 20, where torch's softplus drops the exp(-x) that float64 still resolves."""
    first, _ = views()
    expected = loss_of(first, -first, temperature, form=form, implementation="reference")
    torch.testing.assert_close(loss_of(first, -first, temperature, form=form), expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize(("form", "candidates"), [("simclr", 33), ("clip", 17)])
@every_implementation
def test_equal_rows_cost_the_log_of_the_candidates(how, form, candidates, temperature):
    """Every candidate is as likely as the positive: log(2n - 1) or log n, at any temperature, no gradient."""
    same = torch.randn(1, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).expand(17, 8)
    loss, *gradients = loss_and_gradients(same, same, temperature, form=form, **how)
    assert loss.item() == pytest.approx(math.log(candidates), rel=1e-12)
    assert all(gradient.abs().max() < 1e-13 / temperature**2 for gradient in gradients)


@every_form
@every_implementation
def test_one_molecule_only(how, form):
    """Equal ids throughout: no negatives, so nothing to tell apart; loss and gradients are zero."""
    same = torch.full((13,), 5)
    for outcome in loss_and_gradients(*views(), 0.01, form=form, ids=same, **how):
        assert outcome.abs().max() == 0


@every_form
@every_implementation
def test_ids_that_all_differ_change_nothing(how, form):
    """Bit for bit."""
    ids = torch.arange(13) * -(10**17)
    plain = loss_and_gradients(*views(), 0.1, form=form, **how)
    assert all(map(torch.equal, loss_and_gradients(*views(), 0.1, form=form, ids=ids, **how), plain))


@every_form
@every_implementation
def test_swapping_the_views_changes_nothing(how, form):
    """Neither view is the anchor."""
    first, second = views()
    loss, of_first, of_second, of_temperature = loss_and_gradients(first, second, 0.1, form=form, **how)
    swapped = loss_and_gradients(second, first, 0.1, form=form, **how)
    torch.testing.assert_close(swapped, (loss, of_second, of_first, of_temperature), **exactly)


@every_form
@every_implementation
def test_permuting_molecules_permutes_gradients(how, form):
    """A batch is a set: tiles and diagonals must not show."""
    first, second = views()
    order = torch.randperm(len(first), generator=torch.Generator().manual_seed(1))
    how = {"form": form, **how}
    loss, of_first, of_second, of_temperature = loss_and_gradients(first, second, 0.1, ids=REPEATED, **how)
    permuted = loss_and_gradients(first[order], second[order], 0.1, ids=REPEATED[order], **how)
    torch.testing.assert_close(permuted, (loss, of_first[order], of_second[order], of_temperature), **exactly)


@every_form
@every_implementation
def test_length_does_not_matter(how, form):
    """Projections are normalised inside: scaling a row scales its gradient down and leaves the loss."""
    first, second = views()
    loss, of_first, *_ = loss_and_gradients(first, second, 0.1, form=form, **how)
    longer, of_longer, *_ = loss_and_gradients(4 * first, second, 0.1, form=form, **how)
    torch.testing.assert_close((longer, 4 * of_longer), (loss, of_first), **exactly)
    # (6): the gradient is tangent to the sphere
    assert (of_first * first).sum(1).abs().max() < 1e-12


@every_form
@pytest.mark.parametrize("edge", [1, 5, 512])
def test_gradcheck(edge, form):
    """Finite differences, which share no formula with anything here."""
    inputs = [*views(n=4, d=3), torch.tensor(0.3, dtype=torch.float64)]
    for tensor in inputs:
        tensor.requires_grad_()
    ids = torch.tensor([0, 1, 0, 2])
    with tiles_of(edge):
        assert torch.autograd.gradcheck(
            lambda *leaves: loss_of(*leaves, form=form, ids=ids, edge=edge), inputs
        )


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(2, 12),
    d=st.integers(1, 9),
    edge=st.integers(1, 30),
    temperature=st.floats(0.01, 2.0),
    form=st.sampled_from(FORMS),
    kinds=st.one_of(st.none(), st.integers(1, 12)),
    seed=st.integers(0, 2**16),
)
def test_any_shape_any_tile_any_ids(n, d, edge, temperature, form, kinds, seed):
    """d = 1 included, where every cosine is 1 or -1, up to exponents of 60 under the shift."""
    first, second = views(n, d, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    ids = None if kinds is None else torch.randint(-kinds, kinds, (n,), generator=generator)
    expected = loss_and_gradients(first, second, temperature, form=form, ids=ids, implementation="reference")
    outcome = loss_and_gradients(first, second, temperature, form=form, ids=ids, edge=edge)
    # Gradients grow with 1/temperature and 1/|z|; near a zero row the rounding grows with them.
    size = max(temperature**-2, *(gradient.abs().max().item() for gradient in expected[1:]))
    torch.testing.assert_close(outcome, expected, rtol=1e-9, atol=1e-12 * size)


@every_form
def test_bits_repeat(form):
    """No atomics, one order of summation."""
    first, second = (view.float() for view in views(n=301, d=32))
    options = {"edge": 100, "form": form, "ids": torch.arange(301) // 2}
    once = loss_and_gradients(first, second, 0.07, **options)
    for _ in range(3):
        assert all(map(torch.equal, once, loss_and_gradients(first, second, 0.07, **options)))


@every_form
@every_implementation
def test_only_what_is_asked_for_gets_a_gradient(how, form):
    """A fixed temperature and a frozen view are ordinary."""
    first, second = views()
    first.requires_grad_()
    loss_of(first, second, 0.1, form=form, **how).backward()
    assert first.grad.abs().sum() > 0 and second.grad is None
