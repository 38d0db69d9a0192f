"""The benchmark of the training runs the loop's own step."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_three_rates(shards_folder):
    sizes = ["--batch", "16", "--chunk", "8", "--steps", "1", "--windows", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.training", "--shards", str(shards_folder), *sizes],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    rates = {
        kind: float(found.replace(",", ""))
        for kind, found in re.findall(r"\| (loader|synthetic|end to end) \| ([\d,]+) \|", done.stdout)
    }
    assert rates["loader"] > rates["synthetic"] > 0
    assert rates["end to end"] > 0
    assert "data wait" in done.stdout
