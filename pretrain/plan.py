"""The data of a run: which molecules at which step, on this rank, and the held-out gallery.

    (shards, configuration, rank, world)  ->  lanes, gallery batches;  lanes and a step  ->  the batches from there
    lanes and a step                      ->  every rank's molecules of it, by name and place
Everything is decided by arithmetic from the manifest, so a position in the data is a step number.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from pretrain.batch import Batch, collate, collate_chunks
from pretrain.config import PretrainConfig
from sharding.columns import Molecules, concatenate, offsets
from sharding.errors import UserError
from sharding.read import Lanes, Reader, Shards, choose_lanes, mixed
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


@dataclass
class StepMolecules:
    """This rank's molecules of a step, and their chunks as they are expected to be cut."""

    molecules: Molecules
    size: int
    chunks: list[Batch]

    def cut(self, size: int) -> list[Batch]:
        """In chunks of so many, 0: all in one. Another size than expected is made here and now."""
        return self.chunks if size == self.size else collate_chunks(self.molecules, size)


def batches_from(
    reader: Reader, lanes: Lanes, done: int, chunk: Callable[[], int], device: torch.device
) -> Iterator[StepMolecules]:
    """The molecules of each step after `done`, in chunks, pinned when the device is not the CPU."""
    for _, _, molecules in reader(*divmod(done, lanes.steps)):
        size = chunk()
        chunks = collate_chunks(molecules, size)
        if device.type == "cuda":
            chunks = [part.pin_memory() for part in chunks]
        yield StepMolecules(molecules, size, chunks)


class Place(NamedTuple):
    """A molecule of a step, and where it lies: `block` is the byte at which its block begins, `row` counts in it."""

    rank: int
    id: int
    smiles: str
    shard: str
    block: int
    row: int


def molecules_of(shards: Shards, lanes: Lanes, step: int, world: int) -> Iterator[Place]:
    """The molecules of a step (from 1) over all ranks, in the order in which each rank had them."""
    epoch, within = divmod(step - 1, lanes.steps)
    for rank in range(world):
        for lane in range(rank, lanes.lanes, world):
            order = lanes.lane(epoch, lane)
            begins = offsets(lanes.blocks.rows[order])
            first, last = within * lanes.share, (within + 1) * lanes.share
            index = int(np.searchsorted(begins, first, side="right")) - 1
            while index < len(order) and begins[index] < last:
                rows = slice(max(0, first - int(begins[index])), last - int(begins[index]))
                yield from _places(shards, lanes, epoch, int(order[index]), rows, rank)
                index += 1


def _places(
    shards: Shards, lanes: Lanes, epoch: int, position: int, rows: slice, rank: int
) -> Iterator[Place]:
    """The molecules at these rows of a block, in the order of the epoch."""
    ref, order = lanes.blocks[position], lanes.rows(epoch, position)
    ids, smiles, usual = shards.read(ref, order).ids, shards.smiles(ref), np.argsort(mixed(ref.rows))
    for row, number in zip(order[rows].tolist(), ids[rows].tolist(), strict=True):
        yield Place(rank, number, smiles[usual[row]], ref.file, ref.offset, row)
