"""What a machine that only trains must have: shards are read, encoded and compared without the tools that made them."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
WITHOUT = ("rdkit", "ray", "deepspeed", "webdataset", "hydra")
SCRIPT = f"""
import sys
sys.modules |= dict.fromkeys({WITHOUT})
import pretrain.batch, pretrain.cached, pretrain.model, pretrain.ntxent, sharding.read
"""


def test_reader_encoders_and_loss_need_neither_chemistry_nor_cluster():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
