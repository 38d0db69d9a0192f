"""How many molecules a second pretraining takes, and what it waits for: three rates side by side.

    OMP_NUM_THREADS=1 python -m benchmarks.training --write                       the CPU, configs/model/small.yaml
    python -m benchmarks.training --model base --batch 4096 --shards runs/zinc --write       a GPU

    loader      shards -> reader -> collate, and nobody to use the batches
    synthetic   forward, loss, backward and optimizer step on batches that are on the device already
    end to end  both, as `pretrain.train` does it

One process, wall time, windows of the three in turns, so that a busy machine slows each of them. `data wait` is the
part of the end-to-end time that the step stood waiting for a batch. A rate is the median over windows.
"""

import argparse
import itertools
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import yaml

from benchmarks.circumstances import circumstances
from benchmarks.devices import file_name, in_words
from pretrain.batch import Batch, Prefetch
from pretrain.config import EvaluationConfig, ModelConfig, PretrainConfig, TrainConfig
from pretrain.engine import bfloat16, build_engine, join
from pretrain.plan import plan_data
from pretrain.step import seed_dropout, train_step
from pretrain.train import new_model
from sharding.config import ShardConfig
from sharding.job import shard
from sharding.read import Reader, Shards

HERE = Path(__file__).parent
ZINC = HERE.parent / "tests" / "data" / "zinc_5k.smi.gz"
MODELS = HERE.parent / "configs" / "model"
HELD_OUT = 64
LOADED = 64
"""Batches of a loader's window: it is much faster than the steps, and one block feeds several batches."""
ON_DEVICE = 4
"""Synthetic batches that take turns: their shapes differ, as real ones do."""


class Rates:
    """Molecules a second of each window, by kind."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.found: dict[str, list[float]] = {}
        self.waits: list[float] = []

    def window(self, kind: str, work: Callable[[], tuple[int, float]], *, counted: bool) -> None:
        """Time the work, which returns its molecules and the seconds that it waited for data."""
        self._synchronise()
        begin = time.perf_counter()
        molecules, waited = work()
        self._synchronise()
        elapsed = time.perf_counter() - begin
        if counted:
            self.found.setdefault(kind, []).append(molecules / elapsed)
            if kind == "end to end":
                self.waits.append(waited / elapsed)

    def _synchronise(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def measure(config: PretrainConfig, shards: Shards, steps: int, windows: int) -> tuple[Rates, torch.device]:
    """The three rates: a window of each as warm-up, then `windows` of each."""
    device = join(config.train)
    lanes, _ = plan_data(shards, config, rank=0, world=1)
    engine = build_engine(new_model(shards, config), config.train, device)
    rates, reader, train = Rates(device), Reader(shards, lanes), config.train
    unused = batches_from(reader, lanes, 0, train.chunk, device)
    feed = Prefetch(batches_from(reader, lanes, 0, train.chunk, device), train.prefetch)
    resident = [[part.to(device) for part in next(unused)] for _ in range(ON_DEVICE)]
    numbers = itertools.count(1)

    def one_step(chunks: list[Batch]) -> None:
        train_step(engine, chunks, partial(seed_dropout, train.seed, next(numbers), 0), config.loss)

    def loader() -> tuple[int, float]:
        return sum(part.size for chunks in itertools.islice(unused, LOADED) for part in chunks), 0.0

    def synthetic() -> tuple[int, float]:
        for number in range(steps):
            one_step(resident[number % ON_DEVICE])
        return steps * train.batch, 0.0

    def end_to_end() -> tuple[int, float]:
        waited = 0.0
        for _ in range(steps):
            asked = time.perf_counter()
            chunks = next(feed)
            waited += time.perf_counter() - asked
            one_step(chunks)
        return steps * train.batch, waited

    try:
        for number in range(windows + 1):
            for kind, work in (("loader", loader), ("synthetic", synthetic), ("end to end", end_to_end)):
                rates.window(kind, work, counted=number > 0)
    finally:
        feed.close()
        engine.destroy()
    return rates, device


def table(rates: Rates) -> str:
    """One row a rate, and what the end-to-end one loses."""
    median = {kind: statistics.median(found) for kind, found in rates.found.items()}
    lines = ["| | molecules/s, median | slowest | fastest |", "|---|---:|---:|---:|"]
    lines += [
        f"| {kind} | {median[kind]:,.0f} | {min(found):,.0f} | {max(found):,.0f} |"
        for kind, found in rates.found.items()
    ]
    part = median["end to end"] / median["synthetic"]
    return "\n".join(
        [
            *lines,
            "",
            f"* end to end / synthetic: {part:.1%}; data wait {statistics.median(rates.waits):.1%}",
        ]
    )


def heading(config: PretrainConfig, args: argparse.Namespace, shards: Shards, device: torch.device) -> str:
    """The circumstances."""
    precision = "bfloat16" if bfloat16(config.train.precision, device) else "float32"
    return circumstances(
        "training",
        in_words(device),
        f"torch {torch.__version__}, Python {platform.python_version()}",
        f"model {args.model}, {precision}; batches of {config.train.batch:,} of "
        f"{shards.manifest['n_ok']:,} molecules; {args.steps} steps a window, {args.windows} windows of each "
        f"kind after one as warm-up; load at the end {os.getloadavg()[0]:.1f}",
    )


def main() -> None:
    """Parse, measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--shards", type=Path, help="finished shards; without, the project's 5,000 are sharded first"
    )
    parser.add_argument("--model", default="small", help="a file of configs/model")
    parser.add_argument("--batch", type=int, default=128, help="molecules a step")
    parser.add_argument("--chunk", type=int, default=0, help="molecules through the encoders at once; 0: all")
    parser.add_argument("--steps", type=int, default=4, help="steps a window")
    parser.add_argument("--windows", type=int, default=3, help="measured windows of each kind")
    parser.add_argument(
        "--write", action="store_true", help="append to benchmarks/results/training-DEVICE.md"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = args.shards or Path(folder) / "shards"
        if args.shards is None:
            shard(ShardConfig(input=str(ZINC), output=str(root)))
        config = PretrainConfig(
            data=str(root),
            run=str(Path(folder) / "run"),
            model=ModelConfig(**yaml.safe_load((MODELS / f"{args.model}.yaml").read_text())),
            train=TrainConfig(batch=args.batch, chunk=args.chunk, steps=10_000),
            evaluation=EvaluationConfig(held_out=HELD_OUT),
        )
        shards = Shards(root)
        rates, device = measure(config, shards, args.steps, args.windows)
        report = f"{heading(config, args, shards, device)}\n\n{table(rates)}\n"
    print(report)
    if args.write:
        results = HERE / "results" / f"training-{file_name(device)}.md"
        title = "" if results.exists() else "# Pretraining, molecules a second\n"
        with results.open("a") as stream:
            stream.write(f"{title}\n{report}")


if __name__ == "__main__":
    main()
