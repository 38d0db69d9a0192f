"""How many molecules a second pretraining takes, and what it waits for: three rates side by side, and a rival's.

    OMP_NUM_THREADS=1 python -m benchmarks.training --write                       the CPU, configs/model/small.yaml
    python -m benchmarks.training --model base --batch 4096 --shards runs/zinc --write       a GPU

    loader      shards -> reader -> collate, and nobody to use the batches
    synthetic   forward, loss, backward and optimizer step on batches that are on the device already
    end to end  both, as `pretrain.train` does it
    stock       the same two streams in parts as they come, end to end: benchmarks/training/stock.py

One process, wall time, windows of all in turns, so that a busy machine slows each of them. `data wait` is the part of
the end-to-end time that the step stood waiting for a batch. A rate is the median over windows.
"""

import argparse
import os
import platform
import tempfile
from pathlib import Path

import numpy as np
import torch
import yaml

from benchmarks.circumstances import circumstances
from benchmarks.devices import file_name, in_words
from benchmarks.training.rates import Rates, measure
from benchmarks.training.stock import Rival
from pretrain.batch import collate
from pretrain.config import EvaluationConfig, ModelConfig, PretrainConfig, TrainConfig
from pretrain.engine import bfloat16, join
from pretrain.flops import peak_flops, step_flops
from pretrain.model import STREAMS, Vocabularies
from sharding.columns import Molecules, concatenate
from sharding.config import ShardConfig
from sharding.job import shard
from sharding.read import Shards

RESULTS = Path(__file__).parents[1] / "results"
ROOT = Path(__file__).parents[2]
ZINC = ROOT / "tests" / "data" / "zinc_5k.smi.gz"
MODELS = ROOT / "configs" / "model"
HELD_OUT = 64
RIVALS = 4096
"""Molecules that the rival gets as files: each is a pickle, and they are read again and again."""


def table(rates: Rates, flops: float, peak: float | None) -> str:
    """One row a rate, and what they say together."""
    lines = ["| | molecules/s, median | p5 | p95 |", "|---|---:|---:|---:|"]
    for kind, found in rates.found.items():
        low, high = np.percentile(found, [5, 95])
        lines.append(f"| {kind} | {rates.median(kind):,.0f} | {low:,.0f} | {high:,.0f} |")
    ours, waits = rates.median("end to end"), rates.waits["end to end"]
    told = [
        f"end to end / synthetic: {ours / rates.median('synthetic'):.1%}; "
        f"data wait {np.median(waits):.1%}, at most {max(waits):.1%} of a window",
        f"{flops * ours / 1e9:,.1f} model GFLOP/s end to end"
        + (f", MFU {flops * ours / peak:.1%}" if peak else ""),
    ]
    if "stock parts, end to end" in rates.found:
        theirs = rates.found["stock parts, end to end"]
        pairs = [mine / other for mine, other in zip(rates.found["end to end"], theirs, strict=True)]
        told.append(
            f"end to end / stock parts: {ours / np.median(theirs):.2f} x of medians; "
            f"neighbouring windows {min(pairs):.2f} to {max(pairs):.2f} x"
        )
    return "\n".join([*lines, "", *(f"* {line}" for line in told)])


def heading(config: PretrainConfig, args: argparse.Namespace, shards: Shards, device: torch.device) -> str:
    """The circumstances."""
    precision = "bfloat16" if bfloat16(config.train.precision, device) else "float32"
    return circumstances(
        "training",
        in_words(device),
        f"torch {torch.__version__}, Python {platform.python_version()}",
        f"model {args.model}, {precision}; batches of {config.train.batch:,} of "
        f"{shards.manifest['n_ok']:,} molecules; {args.steps} steps a window, {args.windows} windows of each "
        f"kind after {args.warm_up} as warm-up; load of the machine at the end {os.getloadavg()[0]:.1f}",
    )


def options() -> argparse.Namespace:
    """The command line."""
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
    parser.add_argument("--windows", type=int, default=5, help="measured windows of each kind")
    parser.add_argument("--warm-up", type=int, default=1, help="windows of each kind before them")
    parser.add_argument("--no-stock", action="store_true", help="leave the rival out")
    parser.add_argument(
        "--write", action="store_true", help="append to benchmarks/results/training-DEVICE.md"
    )
    return parser.parse_args()


def report(args: argparse.Namespace, folder: Path) -> tuple[str, torch.device]:
    """Measure and tell."""
    root = args.shards or folder / "shards"
    if args.shards is None:
        shard(ShardConfig(input=str(ZINC), output=str(root)))
    config = PretrainConfig(
        data=str(root),
        run=str(folder / "run"),
        model=ModelConfig(**yaml.safe_load((MODELS / f"{args.model}.yaml").read_text())),
        train=TrainConfig(batch=args.batch, chunk=args.chunk, steps=10_000),
        evaluation=EvaluationConfig(held_out=HELD_OUT),
    )
    shards, device = Shards(root), join(config.train)
    sample = first_molecules(shards, max(RIVALS, args.batch))
    vocabularies = Vocabularies(shards.tokenizers.smiles.size, shards.tokenizers.text.size)
    rival = (
        None
        if args.no_stock
        else Rival(config.model, vocabularies, sample, args.batch, folder / "pickles", device)
    )
    sizes = {"steps": args.steps, "windows": args.windows, "warm_up": args.warm_up}
    try:
        rates = measure(config, shards, device, rival, **sizes)
    finally:
        if rival is not None:
            rival.close()
    dtype = torch.bfloat16 if bfloat16(config.train.precision, device) else torch.float32
    flops = step_flops(config.model, STREAMS, collate(sample)) / len(sample)
    found = table(rates, flops, peak_flops(device, dtype))
    return f"{heading(config, args, shards, device)}\n\n{found}\n", device


def first_molecules(shards: Shards, count: int) -> Molecules:
    """At most so many, from the first blocks."""
    parts, found = [], 0
    for ref in shards.blocks:
        parts.append(shards.read(ref))
        found += len(parts[-1])
        if found >= count:
            break
    molecules = concatenate(parts)
    return molecules.slice(0, min(count, len(molecules)))


def main() -> None:
    """Measure, print, and write if asked to."""
    args = options()
    with tempfile.TemporaryDirectory() as folder:
        text, device = report(args, Path(folder))
    print(text)
    if args.write:
        results = RESULTS / f"training-{file_name(device)}.md"
        title = "" if results.exists() else "# Pretraining, molecules a second\n"
        with results.open("a") as stream:
            stream.write(f"{title}\n{text}")


if __name__ == "__main__":
    main()
