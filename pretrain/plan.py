"""The data of a run: which molecules at which step, on this rank, and the held-out gallery.

    (shards, configuration, rank, world)  ->  lanes, gallery batches;  lanes and a step  ->  the batches from there
Everything is decided by arithmetic from the manifest, so a position in the data is a step number.
"""

from collections.abc import Iterator

import torch

from pretrain.batch import Batch, collate, collate_chunks
from pretrain.config import PretrainConfig
from sharding.columns import Molecules, concatenate
from sharding.errors import UserError
from sharding.read import Lanes, Reader, Shards, choose_lanes
from sharding.table import BlockTable


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


def batches_from(
    reader: Reader, lanes: Lanes, done: int, chunk: int, device: torch.device
) -> Iterator[list[Batch]]:
    """The chunks of each step after `done`, pinned when the device is not the CPU."""
    for _, _, molecules in reader(*divmod(done, lanes.steps)):
        chunks = collate_chunks(molecules, chunk)
        yield [part.pin_memory() for part in chunks] if device.type == "cuda" else chunks
