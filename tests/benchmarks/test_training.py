"""The benchmark of the training runs the loop's own step."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_three_rates_and_the_rivals(shards_folder):
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
    kinds = "loader|synthetic|end to end|stock parts, end to end"
    rates = {
        kind: float(found.replace(",", ""))
        for kind, found in re.findall(rf"\| ({kinds}) \| ([\d,]+) \|", done.stdout)
    }
    assert rates["loader"] > rates["synthetic"] > 0
    assert rates["end to end"] > 0 < rates["stock parts, end to end"]
    for told in ("data wait", "model GFLOP/s", "x of medians"):
        assert told in done.stdout
