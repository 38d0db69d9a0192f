"""The losses of a short run that never change: what a refactor must keep bit for bit.

    OMP_NUM_THREADS=1 python -m tests.pretrain.golden            compare, and say where they part
    OMP_NUM_THREADS=1 python -m tests.pretrain.golden --write    after a change that is meant to change numbers

50 steps of 16 of 200 bundled molecules, one rank, one thread, float32, the real model at toy width, no dropout.
`tests/data/golden_losses.json` has the environment that they were made in, and each loss as a hexadecimal float. In
that environment they are equal bit for bit; in another, whose sums have another order, to `ELSEWHERE`.
"""

import argparse
import gzip
import json
import math
import platform
import tempfile
from pathlib import Path
from typing import Any

import torch

from pretrain.config import EvaluationConfig, LossConfig, ModelConfig, PretrainConfig, TrainConfig
from pretrain.train import pretrain
from sharding.config import ShardConfig
from sharding.job import shard
from tests.distributed import run_ranks
from tests.pretrain.conftest import TINY

DATA = Path(__file__).parents[1] / "data"
FILE = DATA / "golden_losses.json"
STEPS, MOLECULES = 50, 200
ELSEWHERE = 1e-4
"""Relative. Without AVX2 (ATEN_CPU_CAPABILITY=default), losses were at most 9.7e-6 from these."""


def environment() -> dict[str, str]:
    """What decides the order of sums."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else []
    processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {
        "torch": torch.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "processor": processor,
    }


def losses(rank: int, world: int, folder: Path) -> list[float]:
    """Shards, a run, and the loss of each of its steps."""
    molecules = gzip.decompress((DATA / "zinc_5k.smi.gz").read_bytes()).decode().split()[:MOLECULES]
    (folder / "in.smi").write_text("\n".join(molecules) + "\n")
    shard(ShardConfig(input=str(folder / "in.smi"), output=str(folder / "shards")))
    pretrain(
        PretrainConfig(
            data=str(folder / "shards"),
            run=str(folder / "run"),
            model=ModelConfig(**TINY),
            loss=LossConfig(learn_temperature=True),
            train=TrainConfig(
                steps=STEPS, batch=16, lanes=4, warmup_steps=5, learning_rate=3e-4, head_start=64, log_every=1
            ),
            evaluation=EvaluationConfig(held_out=32),
        )
    )
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def golden() -> dict[str, Any]:
    """The file."""
    found: dict[str, Any] = json.loads(FILE.read_text())
    return found


def furthest(found: list[float], expected: list[float]) -> float:
    """Largest relative difference of two runs."""
    return max(abs(a - b) / abs(b) for a, b in zip(found, expected, strict=True))


def main() -> None:
    """Compare or write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="these losses are the golden ones from now on")
    write = parser.parse_args().write
    with tempfile.TemporaryDirectory() as folder:
        (found,) = run_ranks(losses, 1, Path(folder), Path(folder))
    assert len(found) == STEPS and all(map(math.isfinite, found))
    if write:
        content = {"environment": environment(), "losses": [loss.hex() for loss in found]}
        FILE.write_text(json.dumps(content, indent=1) + "\n")
    expected = [float.fromhex(loss) for loss in golden()["losses"]]
    first = next((step for step in range(STEPS) if found[step] != expected[step]), None)
    told = "equal bit for bit" if first is None else f"part at step {first + 1}"
    print(f"{told}; at most {furthest(found, expected):.1e} apart; from {found[0]:.4f} to {found[-1]:.4f}")


if __name__ == "__main__":
    main()
