"""What each process does in the tests of a step that goes wrong; importable, because spawned processes import it."""

import math
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from pretrain.batch import Batch, collate_chunks
from pretrain.boundary import Boundary
from pretrain.checkpoint import fragments
from pretrain.config import LossConfig, ModelConfig, Precision, PretrainConfig, TrainConfig
from pretrain.encoders.text import TextEncoder
from pretrain.engine import build_engine, join, patience, set_learning_rate
from pretrain.guard import Guard
from pretrain.memory import Memory
from pretrain.model import TwoStreams, Vocabularies
from pretrain.step import Outcome, seed_dropout, train_step
from pretrain.stop import SIGNALS
from pretrain.train import pretrain
from pretrain.watchdog import Watchdog
from sharding.columns import Molecules
from sharding.errors import Ended
from tests.pretrain.cached_ranks import float64_engine, handed_over, model_of
from tests.pretrain.conftest import TINY
from tests.pretrain.ranks import molecules_vocabulary, train

LAST = -1
"""The rank to which things happen: the last one, so that the first learns it from another."""


class Steps:
    """A trainer's step after step on this rank's share of the same molecules."""

    def __init__(self, engine: Any, train: TrainConfig, molecules: Molecules, rank: int, world: int) -> None:
        self.engine, self.train, self.rank = engine, train, rank
        share = len(molecules) // world
        self.molecules = molecules.slice(rank * share, (rank + 1) * share)
        self.guard = Guard(train.spike, engine.device, world)
        self.memory = Memory(engine, Boundary(patience(train)), share, train.chunk)
        self.step = 0

    def __call__(self) -> Outcome:
        self.step += 1
        set_learning_rate(self.engine, self.step, self.train)
        cut, seed = partial(collate_chunks, self.molecules), partial(seed_dropout, 0, self.step, self.rank)
        outcome = train_step(self.engine, cut, seed, LossConfig(), self.guard, self.memory, norms=True)
        self.guard.note(self.step, outcome.verdict, outcome.refused, outcome.stray)
        return outcome


def everything(engine: Any) -> list[torch.Tensor]:
    """Copies of all that a step may change on this rank: masters and moments, the weights that compute, the count."""
    found = [
        tensor.clone()
        for fragment in fragments.held(engine)
        for tensor in fragments.tensors(engine, fragment).values()
    ]
    # ZeRO-3 gathers some weights whole for as long as it likes
    parameters = [getattr(parameter, "ds_tensor", parameter) for parameter in engine.module.parameters()]
    weights = [parameter.detach().clone() for parameter in parameters]
    return [*found, *weights, torch.tensor(fragments.adam_steps(engine))]


def same(some: list[torch.Tensor], others: list[torch.Tensor]) -> bool:
    """Bit for bit."""
    return all(torch.equal(a, b) for a, b in zip(some, others, strict=True))


@contextmanager
def wrong(engine: Any, kind: str) -> Iterator[None]:
    """The encoders' projections, or their derivatives, go wrong in this process."""

    def change(_module: Any, _given: Any, result: Any) -> Any:
        projections, temperature = result
        local = projections["local"]
        if kind == "gradient":
            if local.requires_grad:
                local.register_hook(lambda gradient: gradient * math.inf)
        else:
            local = local + torch.full_like(local, float(kind))
        return projections | {"local": local}, temperature

    handle = engine.module.register_forward_hook(change)
    try:
        yield
    finally:
        handle.remove()


def bad_steps(
    rank: int, world: int, molecules: Molecules, cases: list[tuple[int, Precision]], chunks: list[int]
) -> dict[str, Any]:
    """By stage, precision and cut: what a good step and bad ones changed on this rank, and what the guard said."""
    found = {}
    for stage, precision in cases:
        train = TrainConfig(
            batch=len(molecules), zero_stage=stage, precision=precision, learning_rate=1e-3, warmup_steps=1
        )
        engine = build_engine(tiny(molecules), train, join(train))
        steps = Steps(engine, train, molecules, rank, world)
        for chunk in chunks:
            steps.memory.chunk = chunk
            found[f"ZeRO-{stage} {precision} chunk={chunk}"] = _one_by_one(steps, rank - world == LAST)
        engine.destroy()
    return found


def tiny(molecules: Molecules) -> TwoStreams:
    """A model all of whose weights belong to a tower."""
    torch.manual_seed(0)
    sizes = Vocabularies(*molecules_vocabulary(molecules))
    return TwoStreams(ModelConfig(**TINY | {"text_layers": 1}), LossConfig(), sizes)


def _one_by_one(steps: Steps, here: bool) -> dict[str, Any]:
    before = everything(steps.engine)
    outcome = steps()
    total, towers = (
        float(steps.engine.get_global_grad_norm()),
        [float(norm) for norm in outcome.norms.values()],
    )
    report: dict[str, Any] = {
        "a good step changes": not same(before, everything(steps.engine)),
        "norms": (total, math.hypot(*towers)),
        "unchanged": {},
        "reasons": [],
    }
    assert steps.guard.settle() == []
    for kind in ("nan", "inf", "spike", "gradient"):
        before = everything(steps.engine)
        # as after many steps: of a loss far below this one, or far above
        mean = outcome.verdict.loss.item() * (0.01 if kind == "spike" else 100.0)
        steps.guard.restore({**steps.guard.state(), "memory": [100.0, mean, 1e-6]})
        with wrong(steps.engine, kind) if here and kind != "spike" else nullcontext():
            steps()
        report["unchanged"][kind] = same(before, everything(steps.engine))
        report["reasons"] += [bad.reason for bad in steps.guard.settle()]
    report["in a row"] = steps.guard.in_a_row
    before = everything(steps.engine)
    steps()
    report["the next one changes"] = not same(before, everything(steps.engine))
    report["it is fine"] = steps.guard.settle() == [] and steps.guard.in_a_row == 0
    report["finite"] = all(tensor.isfinite().all() for tensor in everything(steps.engine))
    return report


@contextmanager
def no_memory(engine: Any, where: str, times: int) -> Iterator[list[str]]:
    """In the middle of a forward or a backward of this process, the device's memory runs out, so often."""
    happened: list[str] = []

    def fail(gradient: Any = None) -> Any:
        if len(happened) < times:
            happened.append(where)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return gradient

    def during(_module: Any, _given: Any, result: Any) -> None:
        if where == "forward":
            fail()
        elif result.requires_grad:
            result.register_hook(fail)

    handle = engine.module.encoders["text"].register_forward_hook(
        lambda module, given, result: during(module, given, result[1])
    )
    try:
        yield happened
    finally:
        handle.remove()


def repeated(
    rank: int, world: int, molecules: Molecules, cases: list[tuple[int, int, str]]
) -> dict[tuple[int, int, str], Any]:
    """By (stage, chunk, place): float64 gradients handed to the optimizer, without and with memory running out."""
    found = {}
    for stage, chunk, where in cases:
        handed, chunks = [], 0
        for times in (0, 2):
            train = TrainConfig(batch=len(molecules), zero_stage=stage, chunk=chunk)
            engine = float64_engine(
                model_of(molecules, 0.0, torch.float64), stage, len(molecules), join(train)
            )
            steps = Steps(engine, train, molecules, rank, world)
            step: Callable[[], None] = engine.step
            gradients: list[torch.Tensor] = []
            engine.step = lambda engine=engine, gradients=gradients: gradients.extend(handed_over(engine))
            with no_memory(engine, where, times if rank - world == LAST else 0):
                steps()
            engine.step = step
            engine.step()  # as one that was never in doubt
            handed.append(gradients)
            chunks = steps.memory.chunk
            engine.destroy()
        found[stage, chunk, where] = (*handed, chunks)
    return found


def run_that_goes_wrong(rank: int, world: int, options: PretrainConfig, first: int) -> tuple[str, int]:
    """A run whose loss is not finite on the last rank from a step on: how it ended; its molecules beside the run."""
    forward, seen = TwoStreams.forward, []

    def forward_or_nan(model: TwoStreams, batch: Batch) -> Any:
        projections, temperature = forward(model, batch)
        if model.training:
            seen.append(batch.ids)
            if rank - world == LAST and len(seen) >= first:
                projections = {view: rows * math.nan for view, rows in projections.items()}
        return projections, temperature

    TwoStreams.forward = forward_or_nan  # type: ignore[method-assign]
    try:
        pretrain(options)
        return "", 0
    except Ended as ended:
        return str(ended), ended.code
    finally:
        TwoStreams.forward = forward  # type: ignore[method-assign]
        torch.save(seen, Path(options.run).parent / f"seen-{rank}.pt")


def signalled(rank: int, world: int, options: PretrainConfig, number: int, after: int) -> tuple[str, int]:
    """A run whose last rank, and no other, gets a signal in the middle of a step: how it ended."""
    forward, steps = TwoStreams.forward, []

    def forward_with_signal(model: TwoStreams, batch: Batch) -> Any:
        if model.training:
            steps.append(None)
            if rank - world == LAST and len(steps) == after:
                os.kill(os.getpid(), number)
        return forward(model, batch)

    TwoStreams.forward = forward_with_signal  # type: ignore[method-assign]
    before = [signal.getsignal(each) for each in SIGNALS]
    try:
        pretrain(options)
        return "", 0
    except Ended as ended:
        return str(ended), ended.code
    finally:
        TwoStreams.forward = forward  # type: ignore[method-assign]
        assert [signal.getsignal(each) for each in SIGNALS] == before
        assert "prefetch" not in {thread.name for thread in threading.enumerate()}


def stopped_and_straight(
    rank: int, world: int, straight: PretrainConfig, stopped: PretrainConfig, after: int
) -> list[Any]:
    """A run without a stop; and one that is stopped in that step, and goes on."""
    return [
        train(rank, world, straight),
        signalled(rank, world, stopped, signal.SIGTERM, after),
        train(rank, world, stopped),
    ]


def small_device(rank: int, world: int, options: PretrainConfig, most: int) -> tuple[dict[str, Any], int]:
    """A run on a device that holds the graph of so many molecules; and how often its memory ran out."""
    forward, refusals = TextEncoder.forward, []

    def forward_if_it_fits(encoder: TextEncoder, strings: Any) -> Any:
        result = forward(encoder, strings)
        if torch.is_grad_enabled() and len(result[1]) > most:
            refusals.append(len(result[1]))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return result

    TextEncoder.forward = forward_if_it_fits  # type: ignore[method-assign]
    try:
        return train(rank, world, options), len(refusals)
    finally:
        TextEncoder.forward = forward  # type: ignore[method-assign]


def hanging(rank: int, world: int, folder: str, limit_s: float) -> None:
    """The last rank waits in a collective for the others, which do not come before somebody ends them."""
    if rank - world != LAST:
        threading.Event().wait()
    with Watchdog(limit_s, Path(folder), rank) as watchdog:
        watchdog.alive("step 7")
        dist.all_reduce(torch.zeros(1))
