"""What each process does in the tests of checkpoints; importable, because spawned processes import it."""

import io
import json
import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from datetime import timedelta
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

import pretrain.train as pretrain_module
from pretrain import checkpoint
from pretrain.batch import collate
from pretrain.cached import objective
from pretrain.checkpoint.fragments import KINDS, adam_steps, begin_adam, held, renew_weights, tensors
from pretrain.checkpoint.restore import contents
from pretrain.config import LossConfig, Precision, PretrainConfig, Streams, TrainConfig
from pretrain.engine import build_engine, join
from pretrain.plan import plan_data
from pretrain.step import stream_losses
from pretrain.train import new_model, pretrain
from sharding.errors import UserError
from sharding.read import Reader, Shards
from tests.pretrain.ranks import config

ABOUT = {"shards": "0123456789abcdef"}
KEPT, LAST = 2, 4
"""Steps of a journey: the one that is saved, and the last."""
Kind = tuple[int, str]
"""ZeRO stage and precision."""
KINDS_OF_RUN: list[Kind] = [(stage, precision) for precision in ("float32", "bfloat16") for stage in range(4)]


def options_of(kind: Kind, data: str) -> PretrainConfig:
    """A tiny run of the graph stream."""
    stage, precision = kind
    found = config(data, "", zero_stage=stage, precision=Precision(precision))
    found.loss = LossConfig(learn_temperature=True, streams=Streams.graph)
    return found


def journey(
    rank: int, world: int, data: str, folder: str, kinds: list[Kind], begin: int
) -> dict[Kind, dict[str, Any]]:
    """Each kind of run for some steps from `begin`: restored there unless it is 0, saved on the way.

    What was found: losses and molecules of each global batch, and whether all was bit for bit as in the checkpoint.
    """
    found = {}
    for kind in kinds:
        options = options_of(kind, data)
        home = Path(folder) / "-".join(map(str, kind))
        with engine_of(options) as (engine, shards):
            about = {"world": world, "zero_stage": kind[0], **ABOUT}
            same = None
            if begin:
                step, state = checkpoint.restore(engine, home / f"step-{begin}", about)
                assert (step, state) == (begin, {"kind": list(kind)})
                same = differs(engine, home / f"step-{begin}")
            with checkpoint.Saver(engine, home, about, TrainConfig(keep=9)) as saver:
                lines = []
                for step in range(begin + 1, begin + LAST + 1):
                    lines.append(one_step(engine, options, shards, step))
                    if step - begin == KEPT:
                        saver.save(step, {"kind": list(kind)})
            found[kind] = {"differs": same, "lines": lines, "adam_steps": adam_steps(engine)}
    return found


def all_pairs(
    rank: int, world: int, data: str, folder: str, kinds: list[Kind]
) -> dict[tuple[Kind, Kind], Any]:
    """Every kind's checkpoint into an engine of every stage of its precision."""
    found = {}
    for target in kinds:
        with engine_of(options_of(target, data)) as (engine, _):
            for source in kinds:
                if source[1] == target[1]:
                    saved = Path(folder) / "-".join(map(str, source)) / f"step-{KEPT}"
                    checkpoint.restore(engine, saved, ABOUT)
                    found[source, target] = differs(engine, saved)
    return found


@contextmanager
def engine_of(options: PretrainConfig) -> Iterator[tuple[Any, Shards]]:
    """The engine of a run that begins."""
    device = join(options.train)
    shards = Shards(Path(options.data))
    engine = build_engine(new_model(shards, options), options.train, device)
    yield engine, shards
    engine.destroy()


def one_step(engine: Any, options: PretrainConfig, shards: Shards, step: int) -> tuple[float, list[int]]:
    """The loss of the global batch, and its molecules."""
    rank, world = dist.get_rank(), dist.get_world_size()
    lanes, _ = plan_data(shards, options, rank, world)
    _, _, molecules = next(Reader(shards, lanes, rank=rank, world=world)(*divmod(step - 1, lanes.steps)))
    batch = collate(molecules)
    for group in engine.basic_optimizer.param_groups:
        group["lr"] = 1e-3
    loss = objective(stream_losses(*engine(batch), ids=batch.ids, loss=options.loss))
    engine.backward(loss)
    engine.step()
    everyone: list[Any] = [None] * world
    dist.all_gather_object(everyone, (loss.item(), batch.ids.tolist()))
    return sum(part for part, _ in everyone) / world, sorted(one for _, ids in everyone for one in ids)


def differs(engine: Any, saved: Path) -> list[str]:
    """What in this rank's engine is not the checkpoint's, bit for bit: masters, moments, computing weights."""
    import deepspeed

    expected = contents(saved)
    told = json.loads((saved / "state.json").read_text())
    wrong = [] if adam_steps(engine) == told["adam_steps"] else ["Adam's step count"]
    for fragment in held(engine):
        part = slice(fragment.start, fragment.start + fragment.numel)
        for kind, tensor in tensors(engine, fragment).items():
            if not torch.equal(tensor, expected[kind][fragment.name].view(-1)[part]):
                wrong.append(f"{kind} of {fragment.name}")
    with deepspeed.zero.GatheredParameters(list(engine.module.parameters())):
        for name, parameter in engine.module.named_parameters():
            if not torch.equal(parameter.detach(), expected["weight"][name].to(parameter.dtype)):
                wrong.append(name)
    return wrong


def small_engine(stage: int, value: float = 0.0, width: int = 30) -> Any:
    """Not the project's model: of 2 parameters that have a value, so that a checkpoint shows which one it is."""
    train = TrainConfig(batch=4, zero_stage=stage)
    device = join(train)
    engine = build_engine(nn.Linear(width, 5), train, device)
    fill(engine, value)
    return engine


def fill(engine: Any, value: float) -> None:
    """Give weights a value and the moments others; a step would do it in more time."""
    begin_adam(engine, int(value))
    for fragment in held(engine):
        for place, tensor in enumerate(tensors(engine, fragment).values()):
            tensor.fill_(value + 1000 * place)
    renew_weights(engine)


def values(saved: Path) -> set[float]:
    """The distinct weights in a checkpoint of `small_engine`; its moments must be of the same moment."""
    kept = contents(saved)
    found = {
        kind: {one for tensor in kept[kind].values() for one in tensor.unique().tolist()} for kind in KINDS
    }
    for place, kind in enumerate(KINDS):
        assert found[kind] == {value + 1000 * place for value in found["weight"]}
    return found["weight"]


def mistake(action: Callable[[], object]) -> str:
    """The class and the message of what a user is told."""
    try:
        action()
    except UserError as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def saves(rank: int, world: int, folder: str) -> dict[str, Any]:
    """Saves that succeed, fail and are passed over; what each rank is told, and what is on the disk then."""
    home, found = Path(folder), {}
    about = {"world": world, "zero_stage": 1, **ABOUT}
    engine = small_engine(1)

    def there(name: str) -> list[str]:
        dist.barrier()
        listed = sorted(file.name for file in (home / name).iterdir())
        dist.barrier()
        return listed

    with checkpoint.Saver(engine, home / "kept", about, TrainConfig(keep=2, keep_every=4)) as saver:
        for step in range(1, 8):
            fill(engine, step)
            saver.save(step, {"step": step})
            saver.save(step, {"a step is written once": True})
        found["kept"] = there("kept")

    for background in (False, True):
        name = f"full-{background}"
        train = TrainConfig(background_save=background)
        with checkpoint.Saver(engine, home / name, about, train) as saver:
            fill(engine, 1)
            saver.save(1, {})
        with full_disk(at=100 if rank == 1 else None):
            found[name] = mistake(partial(save_and_close, engine, home / name, about, train))
        found[f"{name} leaves"] = there(name)

    with checkpoint.Saver(engine, home / "behind", about, TrainConfig(background_save=True)) as saver:
        fill(engine, 5)
        saver.save(5, {})
        fill(engine, 6)  # training goes on while a thread writes what was
        while saver.saved is None:
            saver.poll()
        found["behind"] = checkpoint.newest(home / "behind")
        saver.save(6, {})
    found["behind leaves"] = there("behind")

    own = checkpoint.Saver(engine, home / f"own-{rank}", about, TrainConfig())
    found["not shared"] = mistake(lambda: own.save(1, {}))
    engine.destroy()
    return found


def save_and_close(engine: Any, folder: Path, about: dict[str, Any], train: TrainConfig) -> None:
    """A save of step 2, wherever it is written."""
    with checkpoint.Saver(engine, folder, about, train) as saver:
        saver.save(2, {})


@contextmanager
def full_disk(at: int | None) -> Iterator[None]:
    """Files of this process cannot grow beyond so many bytes: an error of the operating system, as a full disk is."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if at is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (at, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def loads(rank: int, world: int, folders: dict[str, str]) -> dict[str, Any]:
    """What comes of checkpoints in these folders: the value of the weights, or what the user is told."""
    engine, found = small_engine(3), {}

    def load(folder: str) -> None:
        chosen = checkpoint.choose(Path(folder))
        if chosen is None:
            raise UserError("none")
        step, state = checkpoint.restore(engine, chosen, ABOUT)
        assert not differs(engine, chosen)
        found[name] = (step, state, chosen.name)

    for name, folder in folders.items():
        with redirect_stderr(io.StringIO()) as warned:
            told = mistake(partial(load, folder.format(rank=rank)))
        if told != "nothing":
            found[name] = told
        found[f"{name}, said"] = warned.getvalue() if rank == 0 else ""
        assert rank == 0 or not warned.getvalue()
    whole = Path(folders["whole"])
    newest = whole / f"step-{checkpoint.newest(whole)}"
    found["other shards"] = mistake(
        lambda: checkpoint.restore(engine, newest, {"shards": "fedcba9876543210"})
    )
    other = small_engine(0, width=31)
    found["other model"] = mistake(lambda: checkpoint.restore(other, newest, ABOUT))
    other.destroy()
    engine.destroy()
    return found


def mistakes(rank: int, world: int, data: str, folder: str) -> dict[str, str]:
    """What a user is told who asks two ranks for what they cannot do."""
    run = str(Path(folder) / "run")
    os.environ.update(
        {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
    )  # as a launcher does
    return {
        "batch": mistake(lambda: pretrain(config(data, run, batch=15, lanes=1))),
        "lanes": mistake(lambda: pretrain(config(data, run, lanes=1))),
        "shards": mistake(lambda: pretrain(config(folder, run))),
    }


def save_until_killed(rank: int, meeting: str, folder: str, background: bool, tell: Connection) -> None:
    """One of two ranks that load the newest checkpoint and save the next ones, until it is killed.

    It tells ("loaded", step), then ("begin", step) and, once published, ("published", step), each with the time.
    """
    with Path(os.devnull).open("w") as silent:  # the other's death is no news
        os.dup2(silent.fileno(), 2)
    patience = timedelta(seconds=60)
    dist.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=2, timeout=patience
    )
    engine = small_engine(0)
    about = {"world": 2, "zero_stage": 0, **ABOUT}
    step, found = 0, checkpoint.choose(Path(folder))
    if found is not None:
        step, state = checkpoint.restore(engine, found, about)
        assert state == {"step": step}
        assert not differs(engine, found)
        assert values(found) == {float(step)}
    tell.send(("loaded", step, time.monotonic()))
    train = TrainConfig(keep=2, background_save=background)
    with checkpoint.Saver(engine, Path(folder), about, train) as saver:
        while True:
            step += 1
            fill(engine, step)
            tell.send(("begin", step, time.monotonic()))
            saver.save(step, {"step": step})
            while saver.saved != step:
                saver.poll()
            tell.send(("published", step, time.monotonic()))


def noted_run(options: PretrainConfig, log: str) -> None:
    """The real run in a process of its own; the molecules of each step go to a file, which outlives a SIGKILL."""
    torch.set_num_threads(1)
    step_of_train = pretrain_module.train_step

    def noting(engine: Any, cut: Any, seed: Any, *rest: Any, **options: Any) -> Any:
        ids = [one for chunk in cut(0) for one in chunk.ids.tolist()]
        with Path(log).open("a") as stream:
            stream.write(json.dumps([seed.args[1], ids]) + "\n")
        return step_of_train(engine, cut, seed, *rest, **options)

    pretrain_module.train_step = noting
    pretrain(options)
