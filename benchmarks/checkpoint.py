"""Seconds to save and to load a checkpoint, in the foreground and in the background, beside the time of a step.

    OMP_NUM_THREADS=1 python -m benchmarks.checkpoint --write                            the CPU, small and base
    python -m benchmarks.checkpoint --models base --batch 4096 --zero-stage 1 --write    a GPU

    save, foreground   the loop stands still until all is on the disk (fsync) and published
    save, background   the loop stands still for a copy; `durable` is when a thread has written it and it is published
    load               SHA-256 of all files (`choose`), then slices into the engine (`restore`)
    overhead           a save, as a part of 500 steps: the default interval

One process, wall time, the median of several. The files were just written, so they are read from memory.
"""

import argparse
import gzip
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml

from benchmarks.circumstances import circumstances
from benchmarks.devices import file_name, in_words
from pretrain import checkpoint
from pretrain.batch import Batch, collate
from pretrain.cached import objective
from pretrain.config import LossConfig, ModelConfig, TrainConfig
from pretrain.engine import build_engine, join
from pretrain.model import TwoStreams, Vocabularies
from pretrain.step import stream_losses
from sharding.config import RecordConfig
from sharding.featurize import featurize_strings
from sharding.tokens import Tokenizers

HERE = Path(__file__).parent
ZINC = HERE.parent / "tests" / "data" / "zinc_5k.smi.gz"
MODELS = HERE.parent / "configs" / "model"
INTERVAL = TrainConfig().save_every


class Times(NamedTuple):
    """Median seconds of one model."""

    parameters: int
    megabytes: float
    step: float
    foreground: float
    background: float
    durable: float
    verify: float
    restore: float


def measure(name: str, args: argparse.Namespace, folder: Path) -> Times:
    """Build the model, make steps so that Adam has its moments, save and load."""
    train = TrainConfig(batch=args.batch, zero_stage=args.zero_stage, keep=1)
    behind = TrainConfig(batch=args.batch, zero_stage=args.zero_stage, keep=1, background_save=True)
    device = join(train)
    tokenizers = Tokenizers.load()
    sizes = Vocabularies(tokenizers.smiles.size, tokenizers.text.size)
    options = ModelConfig(**yaml.safe_load((MODELS / f"{name}.yaml").read_text()))
    engine = build_engine(TwoStreams(options, LossConfig(), sizes), train, device)
    about = {"world": 1, "zero_stage": args.zero_stage, "shards": "none: a benchmark"}
    smiles = gzip.decompress(ZINC.read_bytes()).decode().split()[: args.batch]
    batch = collate(featurize_strings(smiles, tokenizers, RecordConfig())[0].molecules).to(device)
    steps = [timed(lambda: one_step(engine, batch), device) for _ in range(args.steps + 1)][1:]

    foreground, background, durable, verify, restore = ([] for _ in range(5))
    with checkpoint.Saver(engine, folder, about, train) as saver:
        for step in range(args.repeats):
            foreground.append(timed(lambda step=step: saver.save(step, {}), device))
    with checkpoint.Saver(engine, folder, about, behind) as saver:
        for step in range(args.repeats, 2 * args.repeats):
            begin = time.perf_counter()
            background.append(timed(lambda step=step: saver.save(step, {}), device))
            while saver.saved != step:
                time.sleep(0.001)
                saver.poll()
            durable.append(time.perf_counter() - begin)
    for _ in range(args.repeats):
        verify.append(timed(lambda: checkpoint.choose(folder), device))
        found = checkpoint.choose(folder)
        assert found is not None
        restore.append(timed(lambda found=found: checkpoint.restore(engine, found, about), device))
    parameters = sum(parameter.numel() for parameter in engine.module.parameters())
    size = sum(file.stat().st_size for file in found.iterdir()) / 1e6
    engine.destroy()
    medians = map(statistics.median, (steps, foreground, background, durable, verify, restore))
    return Times(parameters, size, *medians)


def one_step(engine: Any, batch: Batch) -> None:
    """Forward, loss, backward, AdamW."""
    projections, temperature = engine(batch)
    losses = stream_losses(projections, temperature, ids=batch.ids, loss=LossConfig())
    engine.backward(objective(losses))
    engine.step()


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds, the device's work included."""
    begin = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begin


def table(found: dict[str, Times]) -> str:
    """A row a model."""
    lines = [
        "| model | parameters | checkpoint, MB | step, s | save, foreground, s | overhead "
        "| save, background: standing, s | overhead | durable, s | load: verify, s | restore, s |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, times in found.items():
        interval = INTERVAL * times.step
        lines.append(
            f"| {name} | {times.parameters:,} | {times.megabytes:,.1f} | {times.step:.3f} "
            f"| {times.foreground:.3f} | {times.foreground / interval:.3%} "
            f"| {times.background:.3f} | {times.background / interval:.3%} | {times.durable:.3f} "
            f"| {times.verify:.3f} | {times.restore:.3f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Parse, measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["small", "base"], help="files of configs/model")
    parser.add_argument("--batch", type=int, default=128, help="molecules a step")
    parser.add_argument("--zero-stage", type=int, default=0)
    parser.add_argument("--steps", type=int, default=3, help="measured steps, after one as warm-up")
    parser.add_argument("--repeats", type=int, default=5, help="saves and loads of each kind")
    parser.add_argument("--folder", type=Path, help="on the disk to measure; without, the temporary one")
    parser.add_argument(
        "--write", action="store_true", help="append to benchmarks/results/checkpoint-DEVICE.md"
    )
    args = parser.parse_args()
    device = join(TrainConfig(batch=args.batch))
    found = {}
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for name in args.models:
            found[name] = measure(name, args, Path(folder) / name)
    heading = circumstances(
        "checkpoint",
        in_words(device),
        f"torch {torch.__version__}; one rank, ZeRO-{args.zero_stage}; steps of {args.batch:,} molecules; "
        f"medians of {args.repeats} saves and loads; load at the end {os.getloadavg()[0]:.1f}",
    )
    report = f"{heading}\n\n{table(found)}\n"
    print(report)
    if args.write:
        results = HERE / "results" / f"checkpoint-{file_name(device)}.md"
        title = "" if results.exists() else "# Saving and loading checkpoints\n"
        with results.open("a") as stream:
            stream.write(f"{title}\n{report}")


if __name__ == "__main__":
    main()
