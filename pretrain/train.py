"""The loop: shards in, a run folder out, and what happens at a step on one screen.

    PretrainConfig  ->  run/ with metrics, evaluations and checkpoints
A step is a function of (configuration, shards, step): its molecules come from the lanes, the dropout of each
chunk of them from a seed of (seed, step, rank, chunk). So a resumed run is the run that was never stopped.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from pretrain import checkpoint
from pretrain.batch import Batch, Prefetch, collate, collate_chunks
from pretrain.cached import cached_backward, objective
from pretrain.config import LossConfig, PretrainConfig, SameMolecule
from pretrain.diagnostics import evaluate, from_all_ranks
from pretrain.engine import build_engine, join
from pretrain.head_start import start_heads
from pretrain.model import STREAMS, TwoStreams, Vocabularies
from pretrain.ntxent import ntxent_loss
from pretrain.progress import Window, recalls
from pretrain.record import Record, check_folder
from sharding.columns import Molecules, concatenate
from sharding.errors import UserError
from sharding.progress import ProgressLine
from sharding.read import Lanes, Reader, Shards, choose_lanes
from sharding.table import BlockTable


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
    fresh = agree(checkpoint.newest, folder) is None
    if fresh and config.train.head_start:
        give_head_start(model, shards, lanes, config.train.head_start)
    engine = build_engine(model, config.train, device)
    record = Record(Path(config.run), enabled=rank == 0)
    start = 0 if fresh else checkpoint.resume(engine, folder, about)
    record.begin(config, about | {"lanes": lanes.lanes, "steps_per_epoch": lanes.steps}, start)
    with ProgressLine("pretrain", config.train.steps, start, enabled=rank == 0) as line:
        if not fresh:
            line.say(f"resumed at step {start:,} from {folder}")
        steps = _steps(reader, lanes, start, config.train.chunk, device)
        batches = Prefetch(steps, config.train.prefetch)
        try:
            evaluation = _loop(engine, batches, gallery, config, record, line, about)
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
    about: dict[str, Any],
) -> dict[str, float]:
    """The steps that are left. Every rank makes the same collective calls at the same steps."""
    train, rank, evaluation = config.train, dist.get_rank(), {}
    window = Window(about["world"], train.batch)

    def evaluated(step: int) -> dict[str, float]:
        found = evaluate(engine, gallery)
        record.write("evaluation", {"step": step, **found})
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
            checkpoint.save(engine, Path(config.run) / "checkpoints", step, about, train.keep)
            window.restart()
        line.advance(1, window.note)
    return evaluation


def new_model(shards: Shards, config: PretrainConfig) -> TwoStreams:
    """Seeded weights: the same on every rank."""
    torch.manual_seed(config.train.seed)
    sizes = Vocabularies(shards.tokenizers.smiles.size, shards.tokenizers.text.size)
    return TwoStreams(config.model, config.loss, sizes)


@torch.no_grad()
def give_head_start(model: TwoStreams, shards: Shards, lanes: Lanes, count: int) -> None:
    """Set the projection heads from the first `count` training molecules, encoded by all ranks together."""
    rank, world = dist.get_rank(), dist.get_world_size()
    needed = int(np.searchsorted(np.cumsum(lanes.blocks.rows), count)) + 1
    molecules = concatenate([shards.read(ref) for ref in lanes.blocks[:needed]])
    each = min(count, len(molecules)) // world
    device = next(model.parameters()).device
    model.eval()
    parts: dict[str, list[torch.Tensor]] = {}
    for begin in range(rank * each, (rank + 1) * each, 256):
        batch = collate(molecules.slice(begin, min(begin + 256, (rank + 1) * each)))
        for view, vectors in model.encode(batch.to(device)).items():
            parts.setdefault(view, []).append(vectors)
    views = {view: from_all_ranks(torch.cat(vectors)).cpu() for view, vectors in parts.items()}
    model.heads.cpu()  # one arithmetic on every machine, and float64 wherever the model runs
    for first, second in (pair for name, pair in STREAMS.items() if name in model.streams):
        start_heads(model.head(first), model.head(second), views[first], views[second])
    model.to(device).train()


def agree(question: Callable[[Path], int | None], folder: Path) -> int | None:
    """Rank 0's answer, on every rank: others may see a shared file system later."""
    answer = [question(folder) if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(answer, src=0)
    return answer[0]


def train_step(
    engine: Any, chunks: list[Batch], seed: Callable[[int], None], loss: LossConfig
) -> dict[str, Tensor]:
    """Forward, NT-Xent of each stream, backward, optimizer step. The local losses, detached.

    More than one chunk go through the encoders one after the other, see `pretrain.cached`. `seed(k)` starts the
    dropout of chunk k.
    """
    ids = torch.cat([chunk.ids for chunk in chunks]).to(engine.device)
    losses = partial(stream_losses, ids=ids, loss=loss)
    if len(chunks) > 1:
        found = cached_backward(engine, chunks, seed, losses)
    else:
        seed(0)
        found = losses(*engine(chunks[0].to(engine.device)))
        engine.backward(objective(found))
    engine.step()
    return {stream: value.detach() for stream, value in found.items()}


def stream_losses(
    projections: dict[str, Tensor], temperature: Tensor | float, *, ids: Tensor, loss: LossConfig
) -> dict[str, Tensor]:
    """NT-Xent of each stream that is trained, over the molecules of all ranks. ids (n,) are of this rank's rows."""
    nobody = loss.same_molecule is SameMolecule.none
    return {
        stream: ntxent_loss(
            projections[first],
            projections[second],
            temperature=temperature,
            ids=None if nobody else ids,
            negatives=loss.negatives.value,
        )
        for stream, (first, second) in STREAMS.items()
        if first in projections
    }


def plan_data(shards: Shards, config: PretrainConfig, rank: int, world: int) -> tuple[Lanes, list[Batch]]:
    """The training order, and this rank's share of the held-out gallery as batches."""
    training, held_out = shards.split(config.evaluation.held_out)
    if not training:
        raise UserError(
            f"{config.data} has {shards.manifest['n_ok']:,} molecules, and evaluation.held_out="
            f"{config.evaluation.held_out:,} leaves none to train on. Hold out fewer."
        )
    lanes = config.train.lanes or choose_lanes(len(training), config.train.batch)
    plan = Lanes(blocks=training, batch=config.train.batch, lanes=lanes, seed=config.train.seed)
    gallery = gallery_molecules(shards, held_out, config.evaluation.held_out)
    each = len(gallery) // world
    if each < 2:
        raise UserError(f"evaluation.held_out={config.evaluation.held_out} gives {world} ranks no gallery.")
    size = max(2, config.train.chunk or config.train.batch // world)
    return plan, [
        collate(gallery.slice(begin, min(begin + size, (rank + 1) * each)))
        for begin in range(rank * each, (rank + 1) * each, size)
    ]


def gallery_molecules(shards: Shards, held_out: BlockTable, count: int) -> Molecules:
    """The first `count` molecules of the held-out blocks."""
    molecules = concatenate([shards.read(ref) for ref in held_out])
    return molecules.slice(0, min(count, len(molecules)))


def _steps(
    reader: Reader, lanes: Lanes, done: int, chunk: int, device: torch.device
) -> Iterator[list[Batch]]:
    """The chunks of each step after `done`, pinned when the device is not the CPU."""
    for _, _, molecules in reader(*divmod(done, lanes.steps)):
        chunks = collate_chunks(molecules, chunk)
        yield [part.pin_memory() for part in chunks] if device.type == "cuda" else chunks


def seed_dropout(seed: int, step: int, rank: int, chunk: int) -> None:
    """Start the dropout of a chunk: a function of its place, not a state that a checkpoint would have to carry."""
    place = np.random.SeedSequence((seed, step, rank, chunk))
    torch.manual_seed(int(place.generate_state(1, np.uint64)[0] >> 1))
