"""How long the run would take, and how much disk: from what one step, one evaluation and one checkpoint took.

Costs, configuration, step to go on from  ->  lines of the account
"""

import math
import shutil
from pathlib import Path
from typing import NamedTuple

from pretrain.check.account import Account
from pretrain.config import TrainConfig
from sharding.progress import duration, in_bytes


class Costs(NamedTuple):
    """Measured here, on all ranks."""

    start_s: float
    """From the start of this command to the first step."""
    step_s: float
    evaluation_s: float
    save_s: float


def times(train: TrainConfig, every: int, start: int) -> int:
    """How often something is done that is done every so many steps, and at the last, after `start`."""
    return -(-train.steps // every) - start // every


def forecast_time(account: Account, train: TrainConfig, start: int, costs: Costs) -> None:
    """All steps that are left, evaluations and saves included."""
    left = train.steps - start
    evaluations = times(train, train.evaluate_every, start) + (start == 0)
    saves = times(train, train.save_every, start)
    parts = (costs.start_s, left * costs.step_s, evaluations * costs.evaluation_s, saves * costs.save_s)
    account.ok(
        "duration",
        f"about {long(sum(parts))}: {left:,} steps {long(parts[1])}, {evaluations:,} evaluations {long(parts[2])}, "
        f"{saves:,} checkpoints {long(parts[3])}",
    )


def forecast_disk(account: Account, train: TrainConfig, run: Path, there: Path, size: int) -> None:
    """The most that the checkpoints take at a time, against what is free; those that are there count as room."""
    count = most_checkpoints(train)
    had = sum(file.stat().st_size for file in run.glob("checkpoints/step-*/*"))
    needed, free = count * size, shutil.disk_usage(there).free
    said = f"{in_bytes(needed)} for at most {count:,} checkpoints at a time of {in_bytes(size)}; {in_bytes(free)} free"
    if needed > free + had:
        account.problem(
            "disk",
            f"{said}. Lower train.keep, raise train.keep_every or train.save_every, or give a larger disk",
        )
    else:
        account.ok("disk", said)


def most_checkpoints(train: TrainConfig) -> int:
    """Kept ones, those kept for good, and the one that is being written."""
    saves = times(train, train.save_every, 0)
    for_good = train.steps // math.lcm(train.save_every, train.keep_every) if train.keep_every else 0
    return min(saves, train.keep + for_good) + 1


def long(seconds: float) -> str:
    """As `duration`, and in days when it is many."""
    return duration(seconds) if seconds < 48 * 3600 else f"{seconds / 86400:,.1f} days"
