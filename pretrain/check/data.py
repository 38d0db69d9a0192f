"""Is the data there, and fast enough? Shards, a sample of their blocks, the order of training, the loader alone.

Shards, configuration  ->  lines of the account; molecules per second of the loader
"""

import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from pretrain.batch import Batch
from pretrain.check.account import Account
from pretrain.config import PretrainConfig
from pretrain.plan import batches_from
from sharding.read import DamagedShard, Lanes, Reader, Shards

SAMPLE = 64
"""Blocks that are read and verified."""
LOADING_S = 1.0
"""How long the loader is watched alone."""


def look_at_shards(account: Account, shards: Shards) -> None:
    """The manifest is read already; are its shards there, and are some of their blocks whole?"""
    entries = shards.manifest["shards"]
    here, world = dist.get_rank(), dist.get_world_size()
    lost = [told for entry in entries[here::world] if (told := _wrong_size(shards.root, entry))]
    if account.problems_of("shards", lost):
        return
    account.ok(
        "shards",
        f"{shards.manifest['n_ok']:,} molecules in {len(shards.blocks):,} blocks of {len(entries):,} shards, all "
        f"of their size; fingerprint {shards.fingerprint[:12]}",
    )
    places = np.unique(np.linspace(0, len(shards.blocks) - 1, SAMPLE).astype(int)).tolist()
    broken = [told for place in places[here::world] if (told := _broken(shards, place))]
    if not account.problems_of("blocks", broken):
        account.ok(
            "blocks", f"{len(places)} of {len(shards.blocks):,} read: checksums and rows are the manifest's"
        )


def _wrong_size(root: Path, entry: dict[str, object]) -> str:
    file = root / str(entry["file"])
    if not file.is_file():
        return f"{file} is missing. Restore it, or launch/shard.py mode=repair"
    size = file.stat().st_size
    if size == entry["bytes"]:
        return ""
    return f"{file} has {size:,} of {entry['bytes']:,} bytes. Restore it, or launch/shard.py mode=repair"


def _broken(shards: Shards, place: int) -> str:
    try:
        shards.read(shards.blocks[place])
    except DamagedShard as error:
        return str(error)
    return ""


def look_at_order(account: Account, config: PretrainConfig, lanes: Lanes, gallery: list[Batch]) -> None:
    """What the lanes make of the molecules."""
    train, world = config.train, dist.get_world_size()
    account.ok(
        "order",
        f"{lanes.lanes} lanes on {world} rank{'s' * (world > 1)}, {train.batch:,} molecules a step: {lanes.steps:,} "
        f"steps an epoch, {train.steps:,} steps are {train.steps / lanes.steps:,.3g} epochs",
    )
    each = sum(batch.size for batch in gallery)
    held = f"{each * world:,} held-out molecules, chance of recall@1 is {1 / (each * world):.2%}"
    if each * world < config.evaluation.held_out:
        account.note("gallery", f"{held}: fewer than evaluation.held_out={config.evaluation.held_out:,}")
    else:
        account.ok("gallery", held)


def loader_rate(reader: Reader, lanes: Lanes, start: int, chunk: int, device: torch.device) -> float:
    """Molecules per second of all ranks together, when nobody trains: as fast as the slowest rank."""
    steps = batches_from(reader, lanes, start, lambda: chunk, device)
    next(steps)  # opens the lanes, which a step of a run does not
    begun, count = time.perf_counter(), 0
    while time.perf_counter() - begun < LOADING_S:
        next(steps)
        count += 1
    rate = torch.tensor(count * lanes.batch / (time.perf_counter() - begun), device=device)
    dist.all_reduce(rate, op=dist.ReduceOp.MIN)
    return float(rate)


def look_at_loader(account: Account, loader: float, step: float) -> None:
    """Molecules per second that the loader makes and that the steps take: will the device starve?"""
    said = f"{loader:,.0f} molecules/s by the loader alone, {loader / step:,.1f} x what the steps take"
    if loader > 1.2 * step:
        account.ok("loader", said)
    else:
        account.note("loader", f"{said}: the steps would wait. More ranks, or a faster disk, would help")
