"""What single and half precision cost, against float64 on the same numbers."""

import pytest
import torch

from tests.ntxent.cases import (
    FORMS,
    IMPLEMENTATIONS,
    clustered,
    loss_and_gradients,
    loss_of,
    relative_error,
    tiles_of,
    views,
)


@pytest.mark.parametrize("temperature", [0.05, 0.02])
def test_late_training_in_float32(temperature):
    """When nearly all probability is the positive's, 1 - P cancels; the form of (3') and (4') does not."""
    first, second = clustered()
    assert 0.96 < torch.cosine_similarity(first, second).mean() < 0.98
    exact = loss_and_gradients(first.double(), second.double(), temperature, implementation="reference")
    outcome = loss_and_gradients(first, second, temperature, edge=100)
    assert relative_error(outcome[0], exact[0]) < 1e-5
    assert max(map(relative_error, outcome[1:], exact[1:])) < 2e-5


@pytest.mark.parametrize("noise", [0.25, 0.02])
def test_never_much_worse_than_autograd_in_float32(noise):
    """At most twice the error that the definition makes in the same precision, and a floor of rounding."""
    first, second = clustered(noise=noise)
    exact = loss_and_gradients(first.double(), second.double(), 0.05, implementation="reference")
    naive = loss_and_gradients(first, second, 0.05, implementation="reference")
    for ours, theirs, truth in zip(loss_and_gradients(first, second, 0.05), naive, exact, strict=True):
        assert relative_error(ours, truth) <= 2 * relative_error(theirs, truth) + 1e-6


@pytest.mark.parametrize("how", IMPLEMENTATIONS, ids=str)
@pytest.mark.parametrize("spread", [1.0, 1e-3], ids=["ordinary", "all alike"])
def test_the_lowest_temperature_is_finite_in_float32(how, spread):
    """exp(100) is not a float32: 0.01 works through the shift, however similar the molecules are."""
    first, second = (1 + spread * view.float() for view in views(n=20))
    outcome = loss_and_gradients(first, second, 0.01, **how)
    assert all(value.isfinite().all() for value in outcome)


def test_vanishing_negatives_are_finite():
    """Opposite clusters at 0.01: all exponentials of negatives underflow, and the loss is simply zero."""
    first = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    loss, *gradients = loss_and_gradients(first, first, 0.01)
    assert loss.item() == pytest.approx(0, abs=1e-30)
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_a_zero_row_is_finite():
    """An encoder may return it; its direction is taken as zero, as torch's normalize does."""
    first, second = views()
    first[3] = 0
    outcome = loss_and_gradients(first, second, 0.1, edge=5)
    torch.testing.assert_close(outcome, loss_and_gradients(first, second, 0.1, implementation="reference"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("how", IMPLEMENTATIONS, ids=str)
def test_half_precision_computes_in_float32(how, form, dtype):
    """Only the gradient is rounded, once, on its way back."""
    halves = [view.to(dtype) for view in views()]
    loss, *gradients = loss_and_gradients(*halves, torch.tensor(0.1, dtype=dtype), form=form, **how)
    tau = torch.tensor(0.1, dtype=dtype).float()
    whole, *exact = loss_and_gradients(*(half.float() for half in halves), tau, form=form, **how)
    assert loss.dtype == torch.float32 and torch.equal(loss, whole)
    assert all(torch.equal(ours, theirs.to(dtype)) for ours, theirs in zip(gradients, exact, strict=True))


def test_each_view_keeps_its_dtype():
    """A float32 view beside a bfloat16 one."""
    first, second = views()
    _, of_first, of_second, _ = loss_and_gradients(first.float(), second.bfloat16(), 0.1)
    assert of_first.dtype == torch.float32 and of_second.dtype == torch.bfloat16


@pytest.mark.parametrize("how", IMPLEMENTATIONS, ids=str)
def test_autocast_changes_nothing(how):
    """A float32 loss stays one when the encoders run in bf16, and its backward does too."""
    first, second = (view.float() for view in views())
    expected = loss_and_gradients(first, second, 0.05, **how)
    leaves = [leaf.clone().requires_grad_() for leaf in (first, second, torch.tensor(0.05))]
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_of(*leaves, **how)
    assert torch.equal(loss, expected[0])
    with tiles_of(how.get("edge", 512)):
        assert all(map(torch.equal, torch.autograd.grad(3 * loss, leaves), expected[1:]))


@pytest.mark.parametrize("how", IMPLEMENTATIONS, ids=str)
def test_a_double_temperature_with_single_views(how):
    """The temperature's gradient comes back in the temperature's dtype."""
    first, second = (view.float() for view in views())
    temperature = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    loss = loss_of(first, second, temperature, **how)
    loss.backward()
    assert loss.dtype == torch.float32 and temperature.grad.dtype == torch.float64


@pytest.mark.parametrize("how", IMPLEMENTATIONS, ids=str)
def test_a_number_is_not_rounded_on_its_way(how):
    """0.1 is 0.1 to the last digit of float64."""
    first, second = views()
    number, tensor = (loss_of(first, second, tau, **how) for tau in (0.1, torch.tensor(0.1).double()))
    assert number != tensor  # the tensor came through float32
    assert number == loss_of(first, second, torch.tensor(0.1, dtype=torch.float64), **how)
