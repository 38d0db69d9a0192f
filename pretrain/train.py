"""The loop: shards in, a run folder out, and what happens at a step on one screen.

    PretrainConfig  ->  run/ with metrics, evaluations and checkpoints
A step is a function of (configuration, shards, step): its molecules come from the lanes, the dropout of each
chunk of them from a seed of (seed, step, rank, chunk). So a resumed run is the run that was never stopped.
"""

from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from pretrain import checkpoint
from pretrain.batch import Batch, Prefetch
from pretrain.config import PretrainConfig, SameMolecule
from pretrain.diagnostics import evaluate
from pretrain.drift import check_folder
from pretrain.engine import build_engine, join, learning_rate_factor
from pretrain.head_start import give_head_start
from pretrain.model import TwoStreams, Vocabularies
from pretrain.plan import batches_from, plan_data
from pretrain.progress import Window, recalls
from pretrain.record import Record
from pretrain.step import seed_dropout, train_step
from sharding.progress import ProgressLine
from sharding.read import Reader, Shards


def pretrain(config: PretrainConfig) -> dict[str, float]:
    """Train to `train.steps` and return the last evaluation; nothing when all steps were done before."""
    shards = Shards(Path(config.data), skeletons=config.loss.same_molecule is SameMolecule.skeleton)
    check_folder(config)
    device = join(config.train)
    rank, world = dist.get_rank(), dist.get_world_size()
    lanes, gallery = plan_data(shards, config, rank, world)
    reader = Reader(shards, lanes, rank=rank, world=world)
    about = {"world": world, "zero_stage": config.train.zero_stage, "shards": shards.fingerprint}
    folder = Path(config.run) / "checkpoints"

    model = new_model(shards, config).to(device)
    found = checkpoint.choose(folder)
    if found is None and config.train.head_start:
        give_head_start(model, shards, lanes, config.train.head_start)
    engine = build_engine(model, config.train, device)
    record = Record(Path(config.run), enabled=rank == 0)
    start, _ = (0, {}) if found is None else checkpoint.restore(engine, found, about)
    engine.lr_scheduler.last_epoch = start
    for group in engine.optimizer.param_groups:
        group["lr"] = config.train.learning_rate * learning_rate_factor(start, config.train)
    record.begin(config, about | {"lanes": lanes.lanes, "steps_per_epoch": lanes.steps}, start)
    with ProgressLine("pretrain", config.train.steps, start, enabled=rank == 0) as line:
        if found is not None:
            line.say(f"resumed at step {start:,} from {found}")
        saver = checkpoint.Saver(engine, folder, about, config.train)
        steps = batches_from(reader, lanes, start, config.train.chunk, device)
        batches = Prefetch(steps, config.train.prefetch)
        try:
            with saver:
                evaluation = _loop(engine, batches, gallery, config, record, line, saver)
        finally:
            batches.close()
            record.close()
    engine.destroy()
    return evaluation


def _loop(
    engine: Any,
    batches: Prefetch[list[Batch]],
    gallery: list[Batch],
    config: PretrainConfig,
    record: Record,
    line: ProgressLine,
    saver: checkpoint.Saver,
) -> dict[str, float]:
    """The steps that are left. Every rank makes the same collective calls at the same steps."""
    train, rank, evaluation = config.train, dist.get_rank(), {}
    window = Window(dist.get_world_size(), train.batch)

    def evaluated(step: int) -> dict[str, float]:
        found, histograms = evaluate(engine, gallery)
        record.write("evaluation", {"step": step, **found})
        record.write("histograms", {"step": step, **histograms})
        line.say(f"step {step:,}  held out: {recalls(found)}")
        window.restart()  # its time is not the loop's
        return found

    if line.done == 0:
        evaluation = evaluated(0)  # what training has to beat
    for step in range(line.done + 1, train.steps + 1):
        chunks = window.wait_for(batches)
        seed = partial(seed_dropout, train.seed, step, rank)
        window.add(train_step(engine, chunks, seed, config.loss))
        last = step == train.steps
        if step % train.log_every == 0 or last:
            metrics = window.close() | {"learning_rate": engine.get_lr()[0]}
            norm = engine.get_global_grad_norm()
            if norm is not None:  # DeepSpeed does not keep it for float32 without ZeRO
                metrics["gradient_norm"] = float(norm)
            record.write("metrics", {"step": step, **metrics})
        if step % train.evaluate_every == 0 or last:
            evaluation = evaluated(step)
        if step % train.save_every == 0 or last:
            saver.save(step, {})
            window.restart()
        line.advance(1, window.note)
    return evaluation


def new_model(shards: Shards, config: PretrainConfig) -> TwoStreams:
    """Seeded weights: the same on every rank."""
    torch.manual_seed(config.train.seed)
    sizes = Vocabularies(shards.tokenizers.smiles.size, shards.tokenizers.text.size)
    return TwoStreams(config.model, config.loss, sizes)
