"""Checkpoints, complete or absent.

    checkpoints/tmp-<step>/   while every rank writes
    checkpoints/step-<step>/  renamed by rank 0, when all ranks are done and MANIFEST.json has each file's SHA-256
DeepSpeed's own `latest` pointer is off: it is written before the last rank has finished. The newest complete
checkpoint is the highest step whose files agree with its manifest; a damaged one is said aloud and passed
over. The state of a run is its step: the order of molecules and the dropout are functions of (seed, step).
"""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from pretrain.config import TrainConfig
from sharding.errors import UserError
from sharding.files import read_json, sha256, write_json

MANIFEST = "MANIFEST.json"


def save(engine: Any, folder: Path, step: int, about: dict[str, Any], keep: int) -> None:
    """Write the checkpoint of this step; every rank calls it."""
    temporary, final = folder / f"tmp-{step}", folder / f"step-{step}"
    first = dist.get_rank() == 0
    if first:
        for orphan in folder.glob("tmp-*"):
            shutil.rmtree(orphan)
    dist.barrier()
    engine.save_checkpoint(str(folder), tag=temporary.name, client_state={"step": step}, save_latest=False)
    dist.barrier()  # every rank's files are written
    if first:
        files = sorted(file for file in temporary.rglob("*") if file.is_file())
        for file in files:
            _flush(file)
        digests = {str(file.relative_to(temporary)): sha256(file) for file in files}
        write_json(temporary / MANIFEST, {"step": step, **about, "files": digests})
        if final.exists():
            shutil.rmtree(final)
        temporary.rename(final)
        _flush(folder)
        for old in steps(folder)[:-keep]:
            shutil.rmtree(folder / f"step-{old}")
    dist.barrier()


class Saver:
    """Writes a run's checkpoints; every rank makes the same calls at the same steps."""

    def __init__(self, engine: Any, folder: Path, about: dict[str, Any], train: TrainConfig) -> None:
        self.engine, self.folder, self.about, self.train = engine, folder, about, train

    def save(self, step: int) -> None:
        """Write the state after this step."""
        save(self.engine, self.folder, step, self.about, self.train.keep)

    def close(self) -> None:
        """Nothing is on its way any more."""


def steps(folder: Path) -> list[int]:
    """Steps with a published checkpoint, ascending."""
    return sorted(int(file.parent.name.removeprefix("step-")) for file in folder.glob(f"step-*/{MANIFEST}"))


def newest(folder: Path) -> int | None:
    """The highest step whose files are all as they were written; damaged ones are reported and passed over."""
    for step in reversed(steps(folder)):
        damage = damaged(folder / f"step-{step}")
        if damage is None:
            return step
        print(
            f"warning: checkpoint {folder}/step-{step} is damaged ({damage}); trying the one before",
            file=sys.stderr,
        )
    return None


def damaged(checkpoint: Path) -> str | None:
    """The first file that is missing or differs from the manifest."""
    try:
        files = read_json(checkpoint / MANIFEST)["files"]
    except (OSError, ValueError, KeyError) as error:
        return f"{MANIFEST}: {error}"
    for name, digest in files.items():
        file = checkpoint / name
        if not file.is_file():
            return f"{name} is missing"
        if sha256(file) != digest:
            return f"{name} differs from its SHA-256"
    return None


def resume(engine: Any, folder: Path, about: dict[str, Any]) -> int:
    """Load the newest complete checkpoint into the engine and return its step; 0 when there is none.

    Rank 0 verifies, all ranks load the same. Raises `UserError` for one of another number of ranks under ZeRO,
    whose shards do not fit.
    """
    found = [newest(folder) if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(found, src=0)
    step = found[0]
    if step is None:
        return 0
    manifest = read_json(folder / f"step-{step}" / MANIFEST)
    if about["zero_stage"] and manifest["world"] != about["world"]:
        raise UserError(
            f"{folder}/step-{step} was written by {manifest['world']} ranks under ZeRO-{about['zero_stage']}, now "
            f"there are {about['world']}. Start {manifest['world']} ranks, or a new run."
        )
    path, _ = engine.load_checkpoint(str(folder), tag=f"step-{step}")
    if path is None:
        raise UserError(f"DeepSpeed could not load {folder}/step-{step}. Remove it to use the one before.")
    return int(step)


def weights(checkpoint: Path) -> dict[str, Tensor]:
    """The whole model's float32 weights on the CPU, from any ZeRO stage.

    Raises `UserError` when a file is damaged: DeepSpeed unpickles, so only what our manifest vouches for.
    """
    damage = damaged(checkpoint)
    if damage is not None:
        raise UserError(f"checkpoint {checkpoint} is damaged: {damage}. Export an earlier step=... instead.")
    if read_json(checkpoint / MANIFEST)["zero_stage"] == 0:
        states = torch.load(checkpoint / "mp_rank_00_model_states.pt", map_location="cpu", weights_only=False)
        return {name: tensor.detach().float() for name, tensor in states["module"].items()}
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    found = get_fp32_state_dict_from_zero_checkpoint(str(checkpoint.parent), tag=checkpoint.name)
    return {name: tensor.detach().float() for name, tensor in found.items()}


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
