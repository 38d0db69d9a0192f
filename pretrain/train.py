"""The loop: shards in, a run folder out, and what happens at a step on one screen.

    PretrainConfig  ->  run/ with metrics, evaluations and checkpoints
A step is a function of (configuration, shards, step): its molecules come from the lanes, its learning rate from the
warm-up and the cosine, the dropout of each chunk from a seed of (seed, step, rank, chunk). So a resumed run is the run
that was never stopped.

A run ends well with its last evaluation; or in good order, by `Ended`: 3 after too many bad steps (pretrain/guard.py),
75 or 130 after a signal (pretrain/stop.py). docs/reliability.md has all exit codes.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.distributed as dist

from pretrain import checkpoint
from pretrain.batch import Prefetch
from pretrain.boundary import Boundary
from pretrain.config import PretrainConfig, SameMolecule
from pretrain.drift import check_folder
from pretrain.engine import build_engine, joined, patience, set_learning_rate
from pretrain.evaluation import Evaluation
from pretrain.guard import Guard
from pretrain.head_start import give_head_start
from pretrain.labelled import Labelled, read_labelled
from pretrain.memory import Memory
from pretrain.model import TwoStreams, Vocabularies
from pretrain.plan import StepMolecules, batches_from, plan_data
from pretrain.progress import Window
from pretrain.record import Record
from pretrain.skipped import write_skipped
from pretrain.step import Outcome, seed_dropout, train_step
from pretrain.stop import Stop
from pretrain.trackers import check_trackers
from pretrain.watchdog import Watchdog
from sharding.errors import Ended
from sharding.progress import ProgressLine
from sharding.read import Lanes, Reader, Shards


@dataclass(frozen=True, kw_only=True)
class Run:
    """What the loop works with. Every rank has one."""

    config: PretrainConfig
    shards: Shards
    lanes: Lanes
    batches: Prefetch[StepMolecules]
    engine: Any
    evaluation: Evaluation
    guard: Guard
    memory: Memory
    boundary: Boundary
    stop: Stop
    watchdog: Watchdog
    saver: checkpoint.Saver
    record: Record
    line: ProgressLine
    window: Window


def pretrain(config: PretrainConfig) -> dict[str, float]:
    """Train to `train.steps` and return the last evaluation; nothing when all steps were done before."""
    shards = Shards(Path(config.data), skeletons=config.loss.same_molecule is SameMolecule.skeleton)
    check_folder(config)
    check_trackers(config.wandb)
    labelled = read_labelled(config.evaluation, shards)
    with Stop() as stop, joined(config.train) as device:
        stacks = Path(config.run) / "stacks"
        with Watchdog(config.train.hang_s, stacks, dist.get_rank()) as watchdog:
            return _pretrain(config, shards, labelled, device, stop, watchdog)


def _pretrain(
    config: PretrainConfig,
    shards: Shards,
    labelled: Labelled | None,
    device: torch.device,
    stop: Stop,
    watchdog: Watchdog,
) -> dict[str, float]:
    """`pretrain` on a rank that has met the others."""
    train, rank, world = config.train, dist.get_rank(), dist.get_world_size()
    lanes, gallery = plan_data(shards, config, rank, world)
    reader = Reader(shards, lanes, rank=rank, world=world)
    about = {"world": world, "zero_stage": train.zero_stage, "shards": shards.fingerprint}
    found = checkpoint.choose(Path(config.run) / "checkpoints")
    engine, guard, memory, start = as_it_was(config, shards, lanes, device, found, about)
    record = Record(Path(config.run), enabled=rank == 0)
    told = record.begin(config, about | {"lanes": lanes.lanes, "steps_per_epoch": lanes.steps}, start)
    with ExitStack() as stack:
        stack.callback(record.close)
        line = stack.enter_context(ProgressLine("pretrain", train.steps, start, enabled=rank == 0))
        for text in told:
            line.say(text)
        steps = batches_from(reader, lanes, start, lambda: memory.chunk, device)
        batches = Prefetch(steps, train.prefetch)
        stack.callback(batches.close)
        run = Run(
            config=config,
            shards=shards,
            lanes=lanes,
            batches=batches,
            engine=engine,
            evaluation=Evaluation(engine, gallery, labelled, record, line),
            guard=guard,
            memory=memory,
            boundary=memory.boundary,
            stop=stop,
            watchdog=watchdog,
            saver=stack.enter_context(
                checkpoint.Saver(engine, Path(config.run) / "checkpoints", about, train)
            ),
            record=record,
            line=line,
            window=Window(config, device, record.seconds),
        )
        if found is not None:
            line.say(f"resumed at step {start:,} from {found}")
        evaluation = _loop(run, start)
    engine.destroy()
    return evaluation


def as_it_was(
    config: PretrainConfig,
    shards: Shards,
    lanes: Lanes,
    device: torch.device,
    found: Path | None,
    about: dict[str, Any],
) -> tuple[Any, Guard, Memory, int]:
    """Engine, guard, memory and step: new ones, or those of the checkpoint that was found."""
    train, world = config.train, dist.get_world_size()
    model = new_model(shards, config).to(device)
    if found is None and train.head_start:
        give_head_start(model, shards, lanes, train.head_start)
    engine = build_engine(model, train, device)
    guard = Guard(train.spike, device, world)
    memory = Memory(engine, Boundary(patience(train)), train.batch // world, train.chunk)
    if found is None:
        return engine, guard, memory, 0
    start, state = checkpoint.restore(engine, found, about)
    guard.restore(state["guard"])
    memory.restore(state["memory"])
    return engine, guard, memory, start


def _loop(run: Run, start: int) -> dict[str, float]:
    """The steps that are left. Every rank makes the same collective calls at the same steps."""
    train, rank = run.config.train, dist.get_rank()
    evaluation = _before_the_first(run, start)
    for step in range(start + 1, train.steps + 1):
        last = step == train.steps
        logs = step % train.log_every == 0 or last
        molecules = run.window.wait_for(run.batches)
        rate = set_learning_rate(run.engine, step, train)
        seed = partial(seed_dropout, train.seed, step, rank)
        outcome = train_step(
            run.engine, molecules.cut, seed, run.config.loss, run.guard, run.memory, norms=logs
        )
        run.window.add(outcome.losses, run.guard.note(step, outcome.verdict, outcome.refused, outcome.stray))
        run.watchdog.alive(f"step {step:,}")
        stopped = any(run.boundary.answer()) and not last  # asked at the step before
        run.boundary.ask(bool(run.stop.asked))
        saves = step % train.save_every == 0 or last or stopped
        if logs or saves:
            _settle(run)
        if logs:
            run.record.write("metrics", {"step": step, "learning_rate": rate, **_metrics(run, outcome)})
        if step % train.evaluate_every == 0 or last:
            evaluation = _evaluated(run, step)
        if saves:
            with run.line.aside("checkpoint", train.save_every):
                run.saver.save(step, {"guard": run.guard.state(), "memory": run.memory.state()})
            run.window.restart()
        else:
            run.saver.poll()
        run.watchdog.alive(f"step {step:,}")
        run.line.advance(1, run.window.note)
        if stopped:
            _leave(run, f"stopped by {_reason(run)} after step {step:,}, which is saved", 75)
    run.saver.close()
    run.boundary.close()
    return evaluation


def _before_the_first(run: Run, start: int) -> dict[str, float]:
    """What training has to beat: the evaluation of a run that begins."""
    _leave_if_asked(run, start)
    evaluation = {} if start else _evaluated(run, 0)
    _leave_if_asked(run, start)
    return evaluation


def _leave_if_asked(run: Run, start: int) -> None:
    """End a run that was asked to stop before its first step."""
    if run.boundary.any(bool(run.stop.asked)):
        saved = f"step {start:,} is saved as before" if start else "there is nothing to save yet"
        _leave(run, f"stopped by {_reason(run)} before the first step; {saved}", 75 if start else 130)


def _metrics(run: Run, outcome: Outcome) -> dict[str, float]:
    """The window's means, and of its last step what changes slowly. Waits for the device."""
    norms = {"gradient_norm": run.engine.get_global_grad_norm()}
    norms |= {f"gradient_norm_{tower}": norm for tower, norm in outcome.norms.items()}
    return {
        **run.window.close(run.guard.skipped),
        "temperature": float(outcome.temperature),
        **{name: float(norm) for name, norm in norms.items()},
    }


def _evaluated(run: Run, step: int) -> dict[str, float]:
    with run.line.aside("evaluation", run.config.train.evaluate_every):
        found = run.evaluation(step)
    run.watchdog.alive(f"the evaluation at step {step:,}")
    run.window.restart()  # its time is not the loop's
    return found


def _settle(run: Run) -> None:
    """Ask the device which steps were bad, write them down, and end the run when there were too many in a row."""
    bad_ones = run.guard.settle()
    for bad in bad_ones:
        run.line.say(f"step {bad.step:,} changed nothing: {bad.reason} ({bad.loss:.4g}); see skipped.jsonl")
        write_skipped(run.record, bad, run.shards, run.lanes, dist.get_world_size())
    if run.guard.in_a_row >= run.config.train.stop_after_bad:
        _leave(
            run,
            f"{run.guard.in_a_row} steps in a row changed nothing, the last one because {bad_ones[-1].reason} "
            f"(train.stop_after_bad={run.config.train.stop_after_bad}). The checkpoints before them stay in "
            f"{run.saver.folder}; {run.record.folder}/skipped.jsonl names steps and molecules. Lower "
            "train.learning_rate, or raise train.spike if the losses are sound, with resume=changed",
            3,
        )


def _reason(run: Run) -> str:
    return run.stop.asked or "a signal to another rank"


def _leave(run: Run, message: str, code: int) -> NoReturn:
    """End in good order: all ranks are here, at the same step, and nothing is left on its way."""
    run.saver.close()
    run.boundary.close()
    run.engine.destroy()
    raise Ended(f"{message}. {'The same command goes on from there.' if code == 75 else ''}".rstrip(), code)


def new_model(shards: Shards, config: PretrainConfig) -> TwoStreams:
    """Seeded weights: the same on every rank."""
    torch.manual_seed(config.train.seed)
    sizes = Vocabularies(shards.tokenizers.smiles.size, shards.tokenizers.text.size)
    return TwoStreams(config.model, config.loss, sizes)
