"""Writing: a checkpoint gets its name when every rank's part of it is on the disk, and not before.

    Saver.save(step, state)     every rank writes rank-<r>.safetensors into tmp-<step>/, flushes and digests it
    all ranks tell each other   one that could not write ends the run on all of them; the others' checkpoints stay
    rank 0                      MANIFEST.json, rename to step-<step>, flush, then sweep what is not kept
With `train.background_save` the ranks copy what they hold and train on while a thread writes; the agreement follows at
the first step boundary at which all have finished (`poll`), or with the next save, or at the end (`close`). The thread
never talks to other ranks.
"""

import json
import os
import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import torch
import torch.distributed as dist
from torch import Tensor

from pretrain.checkpoint.agreement import cpu_group, refuse_together
from pretrain.checkpoint.agreement import gather as gather_values
from pretrain.checkpoint.fragments import adam_steps, shapes, tensors, written
from pretrain.checkpoint.tensors import Digest, key, write_tensors, write_text
from pretrain.checkpoint.verify import MANIFEST, STATE, folder_of, make_manifest, rank_file, steps
from pretrain.config import TrainConfig

UNFINISHED = "tmp-"
ADVICE = "Mend that and run the same command again: the checkpoints before it stay."


class Part(NamedTuple):
    """What a rank has written of a checkpoint, or why it could not."""

    files: dict[str, Digest]
    mistake: str | None


class _Begun(NamedTuple):
    step: int
    part: Future[Part]


class Saver:
    """Writes a run's checkpoints; every rank makes the same calls at the same steps.

    `about` describes the run in the manifest: world, zero_stage, shards. As a context, it leaves without talking to
    other ranks when an exception passes: they may be elsewhere.
    """

    def __init__(self, engine: Any, folder: Path, about: dict[str, Any], train: TrainConfig) -> None:
        self.engine, self.folder, self.about, self.train = engine, folder, about, train
        self.saved: int | None = None
        """The last step that was published by this object."""
        self._rank, self._world = dist.get_rank(), dist.get_world_size()
        self._group = cpu_group()
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._begun: _Begun | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._writer.shutdown(wait=False)

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Write what the engine is after this step, and `state`, which is JSON. A step is written once."""
        self._settle()
        if step == self.saved:
            return
        temporary = self._begin(step)
        found = {
            key(kind, fragment.name, fragment.start): tensor
            for fragment in written(self.engine, self._rank, self._world)
            for kind, tensor in tensors(self.engine, fragment).items()
        }
        told = None
        if self._rank == 0:
            about = {"adam_steps": adam_steps(self.engine), "parameters": shapes(self.engine)}
            told = json.dumps({"step": step, **about, "state": dict(state)}, indent=1) + "\n"
        if self.train.background_save:
            copies = {name: tensor.to("cpu", copy=True) for name, tensor in found.items()}
            self._begun = _Begun(step, self._writer.submit(_write, temporary, self._rank, copies, told))
        else:
            self._publish(step, _write(temporary, self._rank, found, told))

    def poll(self) -> None:
        """At a step boundary: publish what was begun in the background, if all ranks have finished writing it."""
        if self._begun is None:
            return
        durable = torch.tensor([self._begun.part.done()], dtype=torch.int32)
        dist.all_reduce(durable, op=dist.ReduceOp.MIN, group=self._group)
        if durable.item():
            self._settle()

    def close(self) -> None:
        """Publish what is still on its way."""
        self._settle()
        self._writer.shutdown()

    def _settle(self) -> None:
        """Wait for the save in the background, if there is one, and publish it."""
        if self._begun is not None:
            (step, part), self._begun = self._begun, None
            self._publish(step, part.result())

    def _begin(self, step: int) -> Path:
        """An empty folder for the ranks to write to; what was never finished is swept."""
        temporary, mistake = self.folder / f"{UNFINISHED}{step}", None
        if self._rank == 0:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                for unfinished in self.folder.glob(f"{UNFINISHED}*"):
                    shutil.rmtree(unfinished)
                temporary.mkdir()
            except OSError as error:
                mistake = in_words(error)
        self._agree(step, mistake)
        return temporary

    def _publish(self, step: int, part: Part) -> None:
        parts = gather_values(part, self._group)
        temporary, mistake = self.folder / f"{UNFINISHED}{step}", part.mistake
        if self._rank == 0 and not any(other.mistake for other in parts):
            files = {name: digest for other in parts for name, digest in other.files.items()}
            try:
                self._name(step, temporary, files)
            except OSError as error:
                mistake = in_words(error)
        self._agree(step, mistake)
        self.saved = step

    def _name(self, step: int, temporary: Path, files: dict[str, Digest]) -> None:
        """Rank 0: the manifest, the name, and what is not kept any more."""
        for name, digest in files.items():
            if not (file := temporary / name).is_file() or file.stat().st_size != digest.bytes:
                raise FileNotFoundError(
                    0, "not there for rank 0; give a run=... that all machines share", file
                )
        write_text(temporary / MANIFEST, json.dumps(make_manifest(step, self.about, files), indent=1))
        flush(temporary)
        final = folder_of(self.folder, step)
        if final.exists():  # passed over as damaged, or this run would not be at this step again
            remove(final)
        temporary.rename(final)
        flush(self.folder)
        for old in outdated(steps(self.folder), step, self.train.keep, self.train.keep_every):
            remove(folder_of(self.folder, old))

    def _agree(self, step: int, mistake: str | None) -> None:
        try:
            refuse_together(f"the checkpoint of step {step:,} is not written", mistake, ADVICE, self._group)
        except Exception:
            if self._rank == 0:  # a full disk gets its room back
                shutil.rmtree(self.folder / f"{UNFINISHED}{step}", ignore_errors=True)
            raise


def _write(temporary: Path, rank: int, found: Mapping[str, Tensor], told: str | None) -> Part:
    """This rank's files, on the disk when it returns."""
    files, file = {}, temporary / rank_file(rank)
    if not temporary.is_dir():
        return Part(
            {}, f"{temporary} is not there, though rank 0 made it; give a run=... that all machines share"
        )
    try:
        files[file.name] = write_tensors(file, found)
        if told is not None:
            file = temporary / STATE
            files[file.name] = write_text(file, told)
        flush(temporary)
    except OSError as error:
        return Part({}, f"{file}: {error.strerror}")
    return Part(files, None)


def outdated(there: list[int], newest: int, keep: int, keep_every: int) -> list[int]:
    """The steps whose checkpoints go, once that of `newest` is published.

    Steps after it were passed over as damaged; kept, they would come first at the next start.
    """
    older = [step for step in there if step < newest and not (keep_every and step % keep_every == 0)]
    return older[: max(0, len(older) - (keep - 1))] + [step for step in there if step > newest]


def remove(checkpoint: Path) -> None:
    """Delete a checkpoint, which loses its name first: half of one must not have it."""
    unnamed = checkpoint.with_name(f"{UNFINISHED}old-{checkpoint.name}")
    checkpoint.rename(unnamed)
    shutil.rmtree(unnamed)


def flush(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def in_words(error: OSError) -> str:
    """Which file, and why."""
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)
