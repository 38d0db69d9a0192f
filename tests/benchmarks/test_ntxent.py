"""The benchmark of the loss measures what it says: equal losses, true floors, honest rows."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.ntxent.cost import Ceilings, floor
from benchmarks.ntxent.exact import errors, exact, exact_of_rows
from benchmarks.ntxent.forms import form
from benchmarks.ntxent.measure import inputs, step
from benchmarks.ntxent.numerics import STAGES, kernel, projected, relative, views
from benchmarks.ntxent.rounds import Limits, Rounds
from benchmarks.ntxent.table import COLUMNS, lines
from pretrain.ntxent import ntxent_loss

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["reference", "textbook", "lean", "lightly", "chunked"])
def test_all_forms_are_the_same_loss(name):
    """Ratios between different losses would mean nothing."""
    if name == "lightly" and importlib.util.find_spec("lightly") is None:
        pytest.skip("lightly is not installed: docs/ntxent.md")
    leaves = inputs(48, 24, CPU)
    found = errors(*step(form(name, CPU), leaves), exact(*leaves, torch.float32))
    assert found.loss < 1e-4  # a small loss, of which (3) in float32 keeps four figures
    assert found.gradients < 1e-5


def test_the_truth_is_the_definition():
    leaves = [leaf.detach().double().requires_grad_() for leaf in inputs(48, 24, CPU)]
    loss = ntxent_loss(*leaves[:2], temperature=leaves[2], implementation="reference")
    true_loss, true_gradients = exact(*leaves, torch.float32)
    torch.testing.assert_close(loss, true_loss, rtol=1e-13, atol=0)
    for found, true in zip(torch.autograd.grad(loss, leaves), true_gradients, strict=True):
        torch.testing.assert_close(found, true, rtol=1e-11, atol=1e-15)


def test_floor_is_the_designs():
    """788 TFLOP/s, 4.3 TB/s, M = 65,536: 6.98 ms at d = 256, and twice that at d = 512."""
    h200 = Ceilings(788e12, 4.3e12, "as measured")
    assert floor(65536, 256, h200) == pytest.approx(6.98e-3, rel=1e-3)
    assert floor(65536, 512, h200) == pytest.approx(13.95e-3, rel=1e-3)
    assert floor(64, 256, h200) == pytest.approx(64 * 256 * 8 / 4.3e12)  # few rows: the bytes


def test_what_cannot_run_says_why_in_its_row():
    rounds = Rounds(["lean", "chunked", "cuda"], CPU, Limits(2, 30, dense_up_to=16, exact_up_to=64))
    found = rounds.at(32, 16)
    assert [one.name for one in found] == ["chunked", "cuda"]  # lean would hold all similarities
    assert len(found[0].times) == 2
    assert found[0].errors.gradients < 1e-5
    assert "CUDA" in found[1].why_not
    for row in lines(32, 16, found, Ceilings(1e10, 1e10, "")):
        assert row.count("|") == len(COLUMNS) + 1


def test_a_form_beyond_our_patience_is_left_out():
    rounds = Rounds(["chunked"], CPU, Limits(1, 2.0, dense_up_to=0, exact_up_to=0))
    rounds.at(32, 16)
    assert "left out: about" in rounds.at(1 << 20, 16)[0].why_not


@pytest.mark.parametrize("tau", [0.05, 0.02, 0.01])
def test_late_in_training_the_positive_must_stay_outside(tau):
    """What docs/ntxent.md tells: rounded inside the product, it takes the gradient with it."""
    rows = torch.cat(views(256, 64, STAGES["late"])).bfloat16()
    _, true, _ = exact_of_rows(rows.double(), torch.tensor(tau, dtype=torch.float64))
    true = projected(true, rows.double())
    inside, outside = (
        relative(projected(kernel(rows.float(), tau, inside=where).gradient, rows.float()), true)
        for where in (True, False)
    )
    assert outside < 2e-3
    assert inside > 3 * outside


def test_needs_torch_numpy_and_jaxtyping_alone(tmp_path):
    """Some machines with a GPU have nothing else."""
    absent = "rdkit ray hydra omegaconf deepspeed webdataset numba transformers torch_geometric yaml lightly"
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {absent.split()!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
    )
    command = "-m benchmarks.ntxent --device cpu --n 32 --d 16 --repeats 1 --forms lightly chunked"
    done = subprocess.run(
        [sys.executable, *command.split()],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "| 64 | 16 | lightly | No module named 'lightly' |" in done.stdout
    assert "| 64 | 16 | chunked |" in done.stdout
