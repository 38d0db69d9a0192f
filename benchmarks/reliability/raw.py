"""A trainer on raw DeepSpeed as its pages write one: initialize, backward, step, save_checkpoint, load_checkpoint.

    deepspeed --num_gpus 2 --module benchmarks.reliability.raw --run FOLDER --steps 6 --save_every 2 --stage 1

A regression of 32 numbers with dropout, over rows of a table (DistributedSampler) or over tar shards (webdataset,
split by node). The default `latest` is on, the data is brought to the step of the checkpoint, as the pages ask of
their reader. What differs from the pages: torch's AdamW and torch's gloo, since DeepSpeed would compile its own.
Leaves metrics.jsonl, and end.json with the final weights' hash.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator
from datetime import timedelta
from itertools import count, islice
from pathlib import Path
from typing import Any

import deepspeed
import torch
import torch.distributed as dist
from deepspeed.utils import safe_get_full_fp32_param
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

from benchmarks.reliability import inject

ROWS, WIDTH, BATCH = 96, 32, 16


class Net(nn.Module):
    """Mean squared error of a small network."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(WIDTH, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 1))

    def forward(self, rows: Tensor) -> Tensor:
        """The loss; the target is the mean of the row."""
        rows = rows.to(self.layers[0].weight.dtype)
        return (self.layers(rows).squeeze(1) - rows.mean(1)).float().pow(2).mean()


def table() -> Tensor:
    """The training rows, the same everywhere."""
    return torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(1))


def from_table(each: int) -> Iterator[Tensor]:
    """Shuffled rows of this rank, epoch after epoch."""
    dataset = TensorDataset(table())
    sampler: DistributedSampler[Any] = DistributedSampler(dataset, shuffle=True, seed=0)
    loader = DataLoader(dataset, batch_size=each, sampler=sampler)
    for epoch in count():
        sampler.set_epoch(epoch)
        for (rows,) in loader:
            yield rows


def from_tars(folder: Path, each: int) -> Iterator[Tensor]:
    """One epoch over this rank's tar shards."""
    import webdataset

    urls = sorted(str(file) for file in folder.glob("*.tar"))
    dataset = webdataset.WebDataset(urls, nodesplitter=webdataset.split_by_node, shardshuffle=False)
    for (rows,) in DataLoader(dataset.decode().to_tuple("npy").batched(each), batch_size=None):
        yield torch.as_tensor(rows)


def configuration(args: argparse.Namespace) -> dict[str, Any]:
    """What the pages call ds_config."""
    return {
        "train_batch_size": BATCH,
        "bf16": {"enabled": args.bf16},
        "zero_optimization": {"stage": args.stage},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }


def finish(engine: Any, run: Path) -> None:
    """Rank 0 writes what became of the weights."""
    weights = [
        safe_get_full_fp32_param(p) if engine.zero_optimization() else p for p in engine.module.parameters()
    ]
    digest = hashlib.sha256(b"".join(w.detach().float().numpy().tobytes() for w in weights)).hexdigest()
    finite = all(bool(w.isfinite().all()) for w in weights)
    if dist.get_rank() == 0:
        end = {"finite": finite, "skipped": engine.skipped_steps, "weights": digest}
        (run / "end.json").write_text(json.dumps(end))


def main() -> None:
    """Train to --steps, or to the end of the tar shards."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--local_rank", type=int, default=-1)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--tars", type=Path, help="folder of tar shards, one epoch of them")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--save_every", type=int, default=2)
    parser.add_argument("--stage", type=int, default=1)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--timeout_s", type=float, default=1800, help="DeepSpeed's default is 30 minutes")
    args = parser.parse_args()
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed("gloo", timeout=timedelta(seconds=args.timeout_s))
    torch.manual_seed(0)
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    engine, *_ = deepspeed.initialize(model=net, optimizer=optimizer, config=configuration(args))
    path, state = engine.load_checkpoint(str(args.run))
    done = state["step"] if path else 0
    if path and dist.get_rank() == 0:
        print(f"resumed at step {done}", file=sys.stderr, flush=True)
    args.run.mkdir(parents=True, exist_ok=True)
    each = BATCH // dist.get_world_size()
    batches = from_tars(args.tars, each) if args.tars else islice(from_table(each), args.steps)
    for step, rows in enumerate(islice(batches, done, None), done + 1):
        loss = engine(rows)
        engine.backward(loss)
        engine.step()
        if dist.get_rank() == 0:
            with (args.run / "metrics.jsonl").open("a") as stream:
                stream.write(json.dumps({"step": step, "rows": len(rows), "loss": loss.item()}) + "\n")
        if step % args.save_every == 0:
            engine.save_checkpoint(str(args.run), client_state={"step": step})
    finish(engine, args.run)


if __name__ == "__main__":
    inject.install()
    main()
