"""Each form of the loss against the definition, in float64 and to its last digits."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.ntxent import ntxent_loss

# Edges of a tile: one element; ragged, with positives on and off a tile's diagonal; equal to n; more than m.
CHUNKS = [{"chunk": 1}, {"chunk": 5}, {"chunk": 13}, {"chunk": 1024}]
FORMS = [{"implementation": "reference"}, *CHUNKS]
TEMPERATURES = [0.5, 0.1, 0.05, 0.01]

exactly = {"rtol": 1e-11, "atol": 1e-12}


def views(n=13, d=8, noise=0.5, seed=0):
    """Two noisy views of n molecules; 13 makes 26 rows, no multiple of any tile here but 13."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(n, d, dtype=torch.float64, generator=generator)
    return first, first + noise * torch.randn(n, d, dtype=torch.float64, generator=generator)


def loss_and_gradients(first, second, temperature, **form):
    """Loss, and its gradients by first, second and temperature; upstream is 3, so that scaling shows.

    A temperature given as a float is rounded to float32 first: the same one in every precision.
    """
    inputs = first, second, torch.as_tensor(temperature).to(first)
    leaves = [leaf.clone().requires_grad_() for leaf in inputs]
    loss = ntxent_loss(*leaves, **form)
    return loss.detach(), *torch.autograd.grad(3 * loss, leaves)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("form", CHUNKS, ids=str)
def test_tiles_equal_the_definition(form, temperature):
    """Loss, both gradients, the temperature's gradient: those that autograd finds for (1)-(3)."""
    expected = loss_and_gradients(*views(), temperature, implementation="reference")
    outcome = loss_and_gradients(*views(), temperature, **form)
    # Against 80-bit floats at 0.01, it is the definition's temperature gradient that is off by 3e-11.
    torch.testing.assert_close(outcome, expected, rtol=1e-12, atol=1e-14 / temperature**2)


@pytest.mark.parametrize("temperature", [0.1, 0.08, 0.07])
def test_opposed_views_keep_their_last_digits(temperature):
    """x of (2') is around 20, where torch's softplus drops the exp(-x) that float64 still resolves."""
    first, _ = views()
    expected = ntxent_loss(first, -first, temperature, implementation="reference")
    torch.testing.assert_close(ntxent_loss(first, -first, temperature), expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_textbook_loops(form):
    """Algorithm 1 of the SimCLR paper, number by number."""
    first, second = views(n=5)
    rows, n, tau = [*first.tolist(), *second.tolist()], 5, 0.2

    def similarity(i, j):
        dot = sum(a * b for a, b in zip(rows[i], rows[j], strict=True))
        return dot / math.hypot(*rows[i]) / math.hypot(*rows[j])

    total = 0.0
    for i in range(2 * n):
        others = 0.0
        for k in range(2 * n):
            if k != i:
                others += math.exp(similarity(i, k) / tau)
        total -= math.log(math.exp(similarity(i, (i + n) % (2 * n)) / tau) / others)
    assert ntxent_loss(first, second, tau, **form).item() == pytest.approx(total / (2 * n), rel=1e-13)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_equal_rows_cost_the_log_of_the_candidates(form, temperature):
    """Every candidate is as likely as the positive: log(2n - 1), at any temperature, with no gradient."""
    same = torch.randn(1, 8, dtype=torch.float64).expand(17, 8)
    loss, *gradients = loss_and_gradients(same, same, temperature, **form)
    assert loss.item() == pytest.approx(math.log(33), rel=1e-12)
    assert all(gradient.abs().max() < 1e-13 / temperature**2 for gradient in gradients)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_swapping_the_views_changes_nothing(form):
    """Neither view is the anchor."""
    first, second = views()
    loss, of_first, of_second, of_temperature = loss_and_gradients(first, second, 0.1, **form)
    swapped = loss_and_gradients(second, first, 0.1, **form)
    torch.testing.assert_close(swapped, (loss, of_second, of_first, of_temperature), **exactly)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_permuting_molecules_permutes_gradients(form):
    """A batch is a set: tiles and diagonals must not show."""
    first, second = views()
    order = torch.randperm(len(first), generator=torch.Generator().manual_seed(1))
    loss, of_first, of_second, of_temperature = loss_and_gradients(first, second, 0.1, **form)
    permuted = loss_and_gradients(first[order], second[order], 0.1, **form)
    torch.testing.assert_close(permuted, (loss, of_first[order], of_second[order], of_temperature), **exactly)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_length_does_not_matter(form):
    """Projections are normalised inside: scaling a row scales its gradient down and leaves the loss."""
    first, second = views()
    loss, of_first, *_ = loss_and_gradients(first, second, 0.1, **form)
    longer, of_longer, *_ = loss_and_gradients(4 * first, second, 0.1, **form)
    torch.testing.assert_close((longer, 4 * of_longer), (loss, of_first), **exactly)
    # (6): the gradient is tangent to the sphere
    assert (of_first * first).sum(1).abs().max() < 1e-12


@pytest.mark.parametrize("form", CHUNKS, ids=str)
def test_gradcheck(form):
    """Finite differences, which share no formula with anything here."""
    inputs = [*views(n=4, d=3), torch.tensor(0.3, dtype=torch.float64)]
    for tensor in inputs:
        tensor.requires_grad_()
    assert torch.autograd.gradcheck(lambda *leaves: ntxent_loss(*leaves, **form), inputs)


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(2, 12),
    d=st.integers(1, 9),
    chunk=st.integers(1, 30),
    temperature=st.floats(0.01, 2.0),
    seed=st.integers(0, 2**16),
)
def test_any_shape_any_tile(n, d, chunk, temperature, seed):
    """d = 1 included, where every cosine is 1 or -1, up to exponents of 60 under the shift."""
    first, second = views(n, d, seed=seed)
    expected = loss_and_gradients(first, second, temperature, implementation="reference")
    outcome = loss_and_gradients(first, second, temperature, chunk=chunk)
    # Gradients grow with 1/temperature and 1/|z|; near a zero row the rounding grows with them.
    size = max(temperature**-2, *(gradient.abs().max().item() for gradient in expected[1:]))
    torch.testing.assert_close(outcome, expected, rtol=1e-9, atol=1e-12 * size)


def test_bits_repeat():
    """No atomics, one order of summation."""
    first, second = (view.float() for view in views(n=301, d=32))
    once = loss_and_gradients(first, second, 0.07, chunk=100)
    for _ in range(3):
        assert all(map(torch.equal, once, loss_and_gradients(first, second, 0.07, chunk=100)))


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_only_what_is_asked_for_gets_a_gradient(form):
    """A fixed temperature and a frozen view are ordinary."""
    first, second = views()
    first.requires_grad_()
    ntxent_loss(first, second, 0.1, **form).backward()
    assert first.grad.abs().sum() > 0 and second.grad is None
