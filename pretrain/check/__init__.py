"""mode=check: would this run work here, how long would it take, and how much disk? A minute before days.

    PretrainConfig  ->  a line for each thing that was looked at; 0 when all is well, 1 when something would go wrong
A mistake of the user is a `UserError`, as in training. The steps, the evaluation and the checkpoint are those of a run,
with its engine on its ranks; nothing of them is kept, and the run folder stays as it is, or absent.
"""

import math
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from omegaconf import OmegaConf

from pretrain import checkpoint
from pretrain.batch import Prefetch
from pretrain.check.account import Account
from pretrain.check.data import loader_rate, look_at_loader, look_at_order, look_at_shards
from pretrain.check.forecast import Costs, forecast_disk, forecast_time
from pretrain.check.trial import Trial, nearest
from pretrain.checkpoint.agreement import gather
from pretrain.checkpoint.fragments import shapes
from pretrain.config import PretrainConfig, SameMolecule
from pretrain.drift import check_folder, differences
from pretrain.engine import bfloat16, joined
from pretrain.labelled import Labelled, read_labelled
from pretrain.plan import batches_from, plan_data
from pretrain.record import WHERE
from pretrain.trackers import check_trackers
from pretrain.train import as_it_was
from sharding.read import Reader, Shards


def check(config: PretrainConfig) -> int:
    """The exit code: 0, or 1 when something would go wrong. Every rank calls it; the first speaks."""
    begun = time.perf_counter()
    shards = Shards(Path(config.data), skeletons=config.loss.same_molecule is SameMolecule.skeleton)
    check_folder(config)
    check_trackers(config.wandb)
    labelled = read_labelled(config.evaluation, shards)
    with joined(config.train) as device:
        account = Account(enabled=dist.get_rank() == 0)
        look_at_options(account, config)
        look_at_shards(account, shards)
        if account.problems == 0:
            _try(account, config, shards, labelled, device, begun)
        account.close()
    return 1 if account.problems else 0


def look_at_options(account: Account, config: PretrainConfig) -> None:
    """They were resolved on the way here; which are not the defaults?"""
    changes = differences(OmegaConf.structured(PretrainConfig), config)
    given = [f"{change.name}={change.new}" for change in changes if change.name not in WHERE]
    account.ok(
        "options", f"{len(given)} are not the defaults: {' '.join(given)}" if given else "the defaults"
    )


def _try(
    account: Account,
    config: PretrainConfig,
    shards: Shards,
    labelled: Labelled | None,
    device: torch.device,
    begun: float,
) -> None:
    """Everything that needs whole data: what a run does from its start to its first steps, and the forecast."""
    train, rank, world = config.train, dist.get_rank(), dist.get_world_size()
    run = Path(config.run)
    lanes, gallery = plan_data(shards, config, rank, world)
    reader = Reader(shards, lanes, rank=rank, world=world)
    look_at_order(account, config, lanes, gallery)
    about = {"world": world, "zero_stage": train.zero_stage, "shards": shards.fingerprint}
    found = checkpoint.choose(run / "checkpoints")
    engine, guard, memory, start = as_it_was(config, shards, lanes, device, found, about)
    _look_at_model(account, config, engine)
    account.ok("run", f"{run} goes on from step {start:,}" if found else f"{run} begins at step 0")
    batches = Prefetch(batches_from(reader, lanes, start, lambda: memory.chunk, device), train.prefetch)
    trial = Trial(account, config, engine, guard, memory, batches, start)
    try:
        start_s = max(gather(time.perf_counter() - begun))
        step_s = trial.steps()
        trial.look_at_memory()
        evaluation_s = trial.evaluation(gallery, labelled)
        save_s, size = trial.round_trip(about)
    finally:
        batches.close()
    look_at_loader(account, loader_rate(reader, lanes, start, memory.chunk, device), train.batch / step_s)
    forecast_time(account, train, start, Costs(start_s, step_s, evaluation_s, save_s))
    forecast_disk(account, train, run, nearest(run), size)
    memory.boundary.close()
    engine.destroy()


def _look_at_model(account: Account, config: PretrainConfig, engine: Any) -> None:
    """What runs where, in which arithmetic, and how many parameters each tower has."""
    train, world, device = config.train, dist.get_world_size(), engine.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    precision = "bfloat16" if bfloat16(train.precision, device) else "float32"
    account.ok("device", f"{name}, {precision}, {world} rank{'s' * (world > 1)}, ZeRO-{train.zero_stage}")
    towers = dict.fromkeys(engine.module.widths, 0)
    sizes = {name: math.prod(shape) for name, shape in shapes(engine).items()}
    for parameter, size in sizes.items():
        _, _, rest = parameter.partition(".")
        if (tower := rest.partition(".")[0]) in towers:
            towers[tower] += size
    each = ", ".join(f"{tower} {count:,}" for tower, count in towers.items())
    account.ok("parameters", f"{sum(sizes.values()):,}: {each}")
