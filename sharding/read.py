"""The reader: which molecules this rank sees at which step, decided by arithmetic before anything is opened.

    (manifest, seed, epoch, step), rank, world  ->  Molecules: this rank's share of the global batch

A seeded permutation of the blocks is dealt to C lanes, whatever the world size; a lane yields m = batch / C
molecules a step, and rank r owns the lanes l with l mod world = r. So every rank has the same number of steps
(min over lanes, from the manifest), a position is four integers, resuming is a seek, and the global batches
are the same molecules on 1, 2 or 8 ranks. Rows were shuffled when written; here blocks, and rows in a block,
are shuffled again every epoch.

A block is one range read, checked against the manifest's CRC-32 and row count: a truncated or altered shard
is an error that names it, never a shorter epoch.
"""

import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharding import block
from sharding.columns import Molecules, concatenate, offsets
from sharding.errors import UserError
from sharding.manifest import load_manifest
from sharding.table import BlockRef, BlockTable
from sharding.tokens import Tokenizers

PAUSES = (0.2, 1.0, 5.0)
"""Seconds before a read that failed is tried again."""
NEEDED = {"schema", "fingerprint", "n_ok", "settings", "shards"}
"""What the reader takes from a manifest of any schema."""
FINAL = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)


class DamagedShard(UserError):
    """A shard's bytes are not those that the manifest promises."""


def mixed(rows: int) -> NDArray[np.int64]:
    """A fixed order that mixes a block's rows: they are stored alike by alike, and any slice should be a sample."""
    return np.random.Generator(np.random.Philox(key=rows)).permutation(rows)


@lru_cache(maxsize=2)
def _deal(seed: int, epoch: int, blocks: int) -> NDArray[np.int64]:
    """The order of an epoch's blocks."""
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(blocks)


class Shards:
    """A finished set of shards. Raises `UserError` for a folder that is none, or of another schema.

    Molecules get the ids of their canonical SMILES, or else of their skeletons, if the shards keep them.
    """

    def __init__(self, root: Path, *, skeletons: bool = False) -> None:
        self.root, self.skeletons = root, skeletons
        self.manifest: dict[str, Any] = load_manifest(root)
        if not isinstance(self.manifest, dict) or not self.manifest.keys() >= NEEDED:
            raise UserError(f"{root}/manifest.json is not that of shards. Give a folder of launch/shard.py.")
        if self.manifest["schema"] != block.SCHEMA_VERSION:
            raise UserError(
                f"{root} has shards of schema {self.manifest['schema']}, this version reads schema "
                f"{block.SCHEMA_VERSION}. Shard the molecules again into a new folder."
            )
        if skeletons and not self.manifest["settings"]["record"].get("skeleton"):
            raise UserError(
                f"{root} keeps no skeletons of its molecules, which loss.same_molecule=skeleton compares. Shard "
                "them again with record.skeleton=true, or use loss.same_molecule=smiles."
            )
        self.tokenizers = Tokenizers.beside(root)
        if self.tokenizers.sha256 != self.manifest["settings"]["tokenizers"]:
            raise UserError(f"{root}/tokenizers are not those that made its tokens. Restore or shard again.")
        self.blocks = BlockTable.load(root, self.manifest)

    @property
    def fingerprint(self) -> str:
        """Identity of input, settings and versions."""
        return str(self.manifest["fingerprint"])

    def members(self, ref: BlockRef) -> dict[str, bytes]:
        """A block's raw members by extension, checked; their rows in the stored order."""
        packed = self._range(ref)
        if len(packed) != ref.bytes or zlib.crc32(packed) != ref.crc32:
            raise DamagedShard(
                f"shard {self.root / ref.file} is damaged in the block at byte {ref.offset:,}: {len(packed):,} "
                f"of {ref.bytes:,} bytes, checksum {'short' if len(packed) != ref.bytes else 'differs'}. "
                "Restore it from a copy, or delete the folder and shard again."
            )
        try:
            return block.tar_members(packed)
        except block.BrokenBlock as error:
            raise self._broken(ref, error) from error

    def read(self, ref: BlockRef, order: NDArray[np.int64] | None = None) -> Molecules:
        """A block's columns, its rows in this order of the stored ones, or else in `mixed` order."""
        members = self.members(ref)
        try:
            rows = mixed(ref.rows) if order is None else order
            molecules = block.decode(members, rows, skeletons=self.skeletons)
        except block.BrokenBlock as error:
            raise self._broken(ref, error) from error
        if len(molecules) != ref.rows:
            raise self._broken(ref, f"{len(molecules)} of {ref.rows} rows")
        return molecules

    def smiles(self, ref: BlockRef) -> list[str]:
        """A block's canonical SMILES, in the order of `read`."""
        return self._strings(ref, "smiles.txt.gz")

    def texts(self, ref: BlockRef) -> list[str]:
        """A block's descriptions, in the order of `read`."""
        return self._strings(ref, "text.txt.gz")

    def _strings(self, ref: BlockRef, member: str) -> list[str]:
        try:
            stored = block.strings(self.members(ref)[member])
        except (block.BrokenBlock, KeyError, UnicodeDecodeError) as error:
            raise self._broken(ref, f"{type(error).__name__}: {error}") from error
        if len(stored) != ref.rows:
            raise self._broken(ref, f"{len(stored)} of {ref.rows} lines of {member}")
        return [stored[row] for row in mixed(ref.rows).tolist()]

    def _range(self, ref: BlockRef) -> bytes:
        """The block's bytes; a file system that fails gets time to recover, a file that is gone does not."""
        file = self.root / ref.file
        for pause in (*PAUSES, None):
            try:
                with file.open("rb", buffering=0) as stream:
                    stream.seek(ref.offset)
                    return stream.read(ref.bytes)
            except OSError as error:
                if pause is None or isinstance(error, FINAL):
                    raise DamagedShard(
                        f"shard {file} cannot be read at byte {ref.offset:,} ({error.strerror}). "
                        "Restore it or shard again."
                    ) from error
            time.sleep(pause)
        raise AssertionError("unreachable")

    def _broken(self, ref: BlockRef, why: object) -> DamagedShard:
        return DamagedShard(
            f"shard {self.root / ref.file}, block at byte {ref.offset:,} is not one of this schema: {why}. "
            "Delete the folder and shard again."
        )

    def split(self, held_out: int) -> tuple[BlockTable, BlockTable]:
        """(training blocks, held-out blocks): the last blocks with at least `held_out` molecules.

        Rows were shuffled by a hash when written and are distinct, so the last ones are a random sample that
        shares no molecule with the rest.
        """
        last = int(np.searchsorted(np.cumsum(self.blocks.rows[::-1]), held_out)) + 1 if held_out > 0 else 0
        taken = max(0, len(self.blocks) - last)
        return self.blocks[:taken], self.blocks[taken:]


@dataclass(frozen=True, kw_only=True)
class Lanes:
    """The order of an epoch: `lanes` sequences of blocks, `batch` molecules a step over all ranks."""

    blocks: BlockTable
    batch: int
    lanes: int
    seed: int

    def __post_init__(self) -> None:
        if self.batch % self.lanes:
            raise UserError(f"train.batch={self.batch} is not divisible by train.lanes={self.lanes}.")
        if self.steps < 1:
            rows = int(self.blocks.rows.sum())
            raise UserError(
                f"{rows:,} training molecules in {len(self.blocks)} blocks give {self.lanes} lanes no step of "
                f"{self.batch} molecules. Use a smaller train.batch, fewer train.lanes, or more molecules."
            )

    @property
    def share(self) -> int:
        """m: molecules of a lane a step."""
        return self.batch // self.lanes

    @cached_property
    def steps(self) -> int:
        """Steps of an epoch: the same for every epoch and rank, so that nobody waits at the end.

        Which blocks meet in a lane changes with the epoch, so the bound takes the smallest blocks of all:
        any lane of that many blocks has at least so many molecules.
        """
        per_lane = len(self.blocks) // self.lanes
        return int(np.sort(self.blocks.rows)[:per_lane].sum()) // self.share

    def lane(self, epoch: int, lane: int) -> NDArray[np.int64]:
        """Positions in `blocks` of this lane's blocks, in order."""
        return _deal(self.seed, epoch, len(self.blocks))[lane :: self.lanes]

    def rows(self, epoch: int, position: int) -> NDArray[np.int64]:
        """The order of the rows in the block at `position` of `blocks`."""
        key = np.random.SeedSequence((self.seed, epoch, position))
        return np.random.Generator(np.random.Philox(key)).permutation(self.blocks[position].rows)


def choose_lanes(n_blocks: int, batch: int) -> int:
    """A power of two up to 64 that divides the batch and leaves each lane at least 8 blocks, if it can."""
    choices = [c for c in (64, 32, 16, 8, 4, 2, 1) if batch % c == 0]
    return next((c for c in choices if n_blocks >= 8 * c), choices[-1])


class Reader:
    """This rank's molecules, step after step, from any (epoch, step) on and without end."""

    def __init__(self, shards: Shards, plan: Lanes, *, rank: int = 0, world: int = 1) -> None:
        if plan.lanes % world:
            raise UserError(
                f"{plan.lanes} lanes cannot be shared by {world} ranks. Set train.lanes to a multiple of {world}"
                " that divides train.batch."
            )
        self.shards, self.plan = shards, plan
        self.mine = [lane for lane in range(plan.lanes) if lane % world == rank]

    def __call__(self, epoch: int, step: int) -> Iterator[tuple[int, int, Molecules]]:
        """(epoch, step, molecules) from this position on."""
        while True:
            lanes = [_Lane(self.shards, self.plan, epoch, lane, step * self.plan.share) for lane in self.mine]
            while step < self.plan.steps:
                yield epoch, step, concatenate([part for lane in lanes for part in lane.next()])
                step += 1
            epoch, step = epoch + 1, 0


class _Lane:
    """One lane's molecules, a block in memory at a time."""

    def __init__(self, shards: Shards, plan: Lanes, epoch: int, lane: int, skip: int) -> None:
        self.shards, self.plan, self.epoch = shards, plan, epoch
        self.order = plan.lane(epoch, lane)
        begins = offsets(plan.blocks.rows[self.order])
        self.index = int(np.searchsorted(begins, skip, side="right")) - 1
        self.row = skip - int(begins[self.index])
        self.parts: list[Molecules] = []
        """What is left of the block in memory, the next part last."""

    def next(self) -> list[Molecules]:
        """A share, in as many parts as blocks that it comes from."""
        parts, missing = [], self.plan.share
        while missing:
            if not self.parts:
                self._load(missing)
            parts.append(self.parts.pop())
            missing -= len(parts[-1])
        return parts

    def _load(self, missing: int) -> None:
        """The next block, cut at once: where the share that is begun ends, and then share by share."""
        position = int(self.order[self.index])
        ref = self.plan.blocks[position]
        block = self.shards.read(ref, self.plan.rows(self.epoch, position))
        bounds = [self.row, *range(self.row + missing, ref.rows, self.plan.share), ref.rows]
        self.parts = block.cut(bounds)[::-1]
        self.row, self.index = 0, self.index + 1
