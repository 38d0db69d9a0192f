"""`make gpu`: a part that hangs or fails costs its own result only."""

import sys
import time

import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu import Part


def python(code):
    return (sys.executable, "-c", code)


def test_every_part_gets_its_chance(tmp_path, capfd):
    results = tmp_path / "gpu.md"
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])"
    hangs = f"print('in', flush=True); {child}"
    parts = [
        Part("hangs", python(hangs), 2),
        Part("fails", python("print('so'); raise SystemExit(3)"), 20),
        Part("absent", python(""), 20, "no nvcc"),
        Part("works", python("print('12 passed | all')"), 20),
    ]
    begin = time.monotonic()
    assert not gpu.run_all(parts, results)
    assert (
        time.monotonic() - begin < 30
    )  # the child of the one that hangs has ended too, or its pipe would be open
    rows = results.read_text().splitlines()
    assert rows[0] == "| hangs | stopped after its 2 s; last line: in |"
    assert rows[1].startswith("| fails | failed with 3 after")
    assert rows[1].endswith("so |")
    assert rows[2] == "| absent | left out: no nvcc |"
    assert rows[3].endswith("12 passed / all |")
    assert "12 passed | all" in capfd.readouterr().out


def test_the_plan_fits_into_eight_minutes():
    assert sum(part.limit_s for part in gpu.plan()) <= 8 * 60


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_without_a_gpu_it_says_so(capsys):
    assert gpu.main() == 2
    assert capsys.readouterr().err.count("\n") == 1
