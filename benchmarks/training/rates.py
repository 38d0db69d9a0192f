"""Windows of each kind of work in turns, and what they found.

(name, work)  ->  molecules a second of each window, part of its time spent waiting for data
"""

import itertools
import time
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch

from benchmarks.training.stock import Rival
from pretrain.batch import Prefetch
from pretrain.boundary import Boundary
from pretrain.config import PretrainConfig
from pretrain.engine import build_engine, patience, set_learning_rate
from pretrain.guard import Guard
from pretrain.memory import Memory
from pretrain.plan import batches_from, plan_data
from pretrain.step import seed_dropout, train_step
from pretrain.train import new_model
from sharding.read import Reader, Shards

LOADED = 64
"""Batches of a loader's window: it is much faster than the steps, and one block feeds several batches."""
ON_DEVICE = 4
"""Synthetic batches that take turns: their shapes differ, as real ones do."""

Work = Callable[[], tuple[int, float]]
"""Does it; molecules, and seconds of waiting for data."""


class Rates:
    """Molecules a second of each window, and the part of it that was waiting, by kind."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.found: dict[str, list[float]] = {}
        self.waits: dict[str, list[float]] = {}

    def in_turns(self, works: Mapping[str, Work], windows: int, warm_up: int) -> None:
        """So that a busy machine slows each of them; the first windows are not counted."""
        for number in range(warm_up + windows):
            for kind, work in works.items():
                self._synchronise()
                begin = time.perf_counter()
                molecules, waited = work()
                self._synchronise()
                elapsed = time.perf_counter() - begin
                if number >= warm_up:
                    self.found.setdefault(kind, []).append(molecules / elapsed)
                    self.waits.setdefault(kind, []).append(waited / elapsed)

    def median(self, kind: str) -> float:
        """Of the windows."""
        return float(np.median(self.found[kind]))

    def _synchronise(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def measure(
    config: PretrainConfig,
    shards: Shards,
    device: torch.device,
    rival: Rival | None,
    *,
    steps: int,
    windows: int,
    warm_up: int,
) -> Rates:
    """The three rates of the trainer's own parts, and the rival's."""
    lanes, _ = plan_data(shards, config, rank=0, world=1)
    engine = build_engine(new_model(shards, config), config.train, device)
    rates, reader, train = Rates(device), Reader(shards, lanes), config.train
    guard = Guard(train.spike, device, 1)
    memory = Memory(engine, Boundary(patience(train)), train.batch, train.chunk)
    unused = batches_from(reader, lanes, 0, lambda: memory.chunk, device)
    feed = Prefetch(batches_from(reader, lanes, 0, lambda: memory.chunk, device), train.prefetch)
    resident = [[part.to(device) for part in next(unused).chunks] for _ in range(ON_DEVICE)]
    numbers = itertools.count(1)

    def one_step(cut):  # type: ignore[no-untyped-def]
        step = next(numbers)
        set_learning_rate(engine, step, train)
        train_step(engine, cut, partial(seed_dropout, train.seed, step, 0), config.loss, guard, memory)

    def loader() -> tuple[int, float]:
        return sum(len(found.molecules) for found in itertools.islice(unused, LOADED)), 0.0

    def synthetic() -> tuple[int, float]:
        for number in range(steps):
            one_step(lambda _, number=number: resident[number % ON_DEVICE])
        return steps * train.batch, 0.0

    def end_to_end() -> tuple[int, float]:
        waited = 0.0
        for _ in range(steps):
            asked = time.perf_counter()
            molecules = next(feed)
            waited += time.perf_counter() - asked
            one_step(molecules.cut)
        return steps * train.batch, waited

    works: dict[str, Work] = {"loader": loader, "synthetic": synthetic, "end to end": end_to_end}
    if rival is not None:
        works["stock parts, end to end"] = lambda: (rival.steps(steps), 0.0)
    try:
        rates.in_turns(works, windows, warm_up)
    finally:
        feed.close()
        engine.destroy()
    return rates
