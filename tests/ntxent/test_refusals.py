"""Inputs that have no answer say so, and inputs that merely look odd do not."""

import math
import subprocess
import sys

import pytest
import torch

from pretrain.ntxent import ntxent_loss
from pretrain.ntxent.choice import choose

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
        (VIEW, VIEW.to("meta"), "one device; they are on cpu and meta"),
        (VIEW.tolist(), VIEW, "tensors; they are list and Tensor"),
    ],
)
def test_views_without_a_loss(first, second, message):
    with pytest.raises(ValueError, match=message):
        ntxent_loss(first, second, temperature=0.1)


@pytest.mark.parametrize("temperature", [0.0099, 0.0, -1.0, math.nan])
@pytest.mark.parametrize("kind", [float, torch.tensor])
def test_low_temperatures(temperature, kind):
    with pytest.raises(ValueError, match=r"at least 0\.01"):
        ntxent_loss(VIEW, VIEW, temperature=kind(temperature))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_low_temperature_on_a_gpu_is_nan():
    """Its value is not read, so the loss has to say it."""
    low = torch.tensor(0.009, device="cuda", requires_grad=True)
    loss = ntxent_loss(VIEW.cuda(), VIEW.cuda(), temperature=low)
    loss.backward()
    assert loss.isnan() and low.grad.isnan()


@pytest.mark.parametrize(
    ("temperature", "message"),
    [
        (torch.full((4,), 0.1), "one temperature"),
        (torch.tensor(1), "floating point; it is torch.int64"),
        (torch.tensor(0.1, device="meta"), "temperature is on meta, the views are on cpu"),
        ("0.1", "a number or a tensor; it is a str"),
    ],
)
def test_no_temperature(temperature, message):
    with pytest.raises(ValueError, match=message):
        ntxent_loss(VIEW, VIEW, temperature=temperature)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (torch.arange(3), r"4 molecules; they are \(3,\) torch.int64"),
        (torch.arange(4.0), r"int64.*\(4,\) torch.float32"),
        (torch.arange(8).view(4, 2), r"\(4, 2\)"),
        ([0, 1, 2, 3], "they are list"),
        (torch.arange(4, device="meta"), "ids are on meta, the views are on cpu"),
    ],
)
def test_bad_ids(ids, message):
    with pytest.raises(ValueError, match=message):
        ntxent_loss(VIEW, VIEW, temperature=0.1, ids=ids)


@pytest.mark.parametrize(
    "temperature",
    [torch.tensor(0.01), torch.tensor(0.01, dtype=torch.bfloat16), torch.tensor(100.0).log().neg().exp()],
)
def test_the_bound_itself_survives_rounding(temperature):
    """A model clamps log(1/temperature) at log 100 in its own precision; that must not raise."""
    assert ntxent_loss(VIEW, VIEW, temperature=temperature).isfinite()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"implementation": "dense"}, "'dense'"),
        ({"negatives": "nobody"}, "'nobody'"),
        ({"form": "moco"}, "'moco'"),
    ],
)
def test_unknown_options(option, message):
    with pytest.raises(ValueError, match=message):
        ntxent_loss(VIEW, VIEW, temperature=0.1, **option)


def test_the_kernel_where_there_is_no_gpu():
    """Asked for by name it is not replaced in silence."""
    with pytest.raises(ValueError, match=r"'cuda' cannot be had: .*CUDA device"):
        ntxent_loss(VIEW, VIEW, temperature=0.1, implementation="cuda")


def test_a_kernel_that_cannot_work_is_told_once(caplog):
    """The width is refused before a GPU is looked for, so this needs none."""
    for _ in range(3):
        assert choose("auto", torch.device("cuda"), torch.float32, 100) == "chunked"
    assert len(caplog.messages) == 1 and "width" in caplog.messages[0]


@pytest.mark.parametrize(("device", "precision"), [("cpu", torch.float32), ("cuda", torch.float64)])
def test_where_nobody_expects_the_kernel_nothing_is_told(device, precision, caplog):
    """A CPU, and double precision."""
    assert choose("auto", torch.device(device), precision, 100) == "chunked" and not caplog.messages


def test_second_derivatives_are_refused():
    """The handwritten gradient cannot be derived again; a penalty on it would silently do nothing."""
    view = VIEW.clone().requires_grad_()
    with pytest.raises(RuntimeError, match="second derivative"):
        torch.autograd.grad(ntxent_loss(view, VIEW, temperature=0.1), view, create_graph=True)


def test_torch_and_jaxtyping_are_enough():
    """A machine for measurement has no DeepSpeed, RDKit, Hydra or Ray."""
    code = "import sys, pretrain.ntxent; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    others = {"deepspeed", "rdkit", "hydra", "ray", "transformers", "torch_geometric"}
    assert not others & set(loaded.stdout.split())
