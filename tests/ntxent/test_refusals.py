"""Inputs that have no answer say so, and inputs that merely look odd do not."""

import math
import subprocess
import sys

import pytest
import torch

from pretrain.ntxent import ntxent_loss

VIEW = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (VIEW, VIEW[:3], r"row by row.*\(4, 3\) and \(3, 3\)"),
        (VIEW[0], VIEW[0], r"\(n, d\)"),
        (VIEW[:0], VIEW[:0], "n = 0"),
        (VIEW[:, :0], VIEW[:, :0], "d = 0"),
        (VIEW[:1], VIEW[:1], "at least two"),
        (VIEW.long(), VIEW.long(), "floating point"),
    ],
)
def test_views_without_a_loss(first, second, message):
    with pytest.raises(ValueError, match=message):
        ntxent_loss(first, second, 0.1)


@pytest.mark.parametrize("temperature", [0.0099, 0.0, -1.0, math.nan])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_low_temperatures(temperature, as_tensor):
    with pytest.raises(ValueError, match=r"at least 0\.01"):
        ntxent_loss(VIEW, VIEW, torch.tensor(temperature, requires_grad=True) if as_tensor else temperature)


@pytest.mark.parametrize(
    "temperature",
    [torch.tensor(0.01), torch.tensor(0.01, dtype=torch.bfloat16), torch.tensor(100.0).log().neg().exp()],
)
def test_the_bound_itself_survives_rounding(temperature):
    """A model clamps log(1/temperature) at log 100 in its own precision; that must not raise."""
    assert ntxent_loss(VIEW, VIEW, temperature).isfinite()


def test_a_temperature_for_each_row():
    with pytest.raises(ValueError, match="one temperature"):
        ntxent_loss(VIEW, VIEW, torch.full((4,), 0.1))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"implementation": "dense"}, "'dense'"),
        ({"negatives": "nobody"}, "'nobody'"),
        ({"chunk": 0}, "chunk"),
    ],
)
def test_unknown_options(option, message):
    with pytest.raises(ValueError, match=message):
        ntxent_loss(VIEW, VIEW, 0.1, **option)


def test_second_derivatives_are_refused():
    """The handwritten gradient cannot be derived again; a penalty on it would silently do nothing."""
    view = VIEW.clone().requires_grad_()
    with pytest.raises(RuntimeError, match="second derivative"):
        torch.autograd.grad(ntxent_loss(view, VIEW, 0.1), view, create_graph=True)


def test_torch_and_jaxtyping_are_enough():
    """A machine for measurement has no DeepSpeed, RDKit, Hydra or Ray."""
    code = "import sys, pretrain.ntxent; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    others = {"deepspeed", "rdkit", "hydra", "ray", "transformers", "torch_geometric"}
    assert not others & set(loaded.stdout.split())
