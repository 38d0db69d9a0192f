"""Which checkpoint to load: the newest whose files are all as they were written.

    checkpoints/  ->  the step to go on from; damaged ones are said aloud and passed over
The manifest carries a digest of itself, so a flipped bit is found wherever it is. Only the files that a checkpoint has
by definition are looked at: a name that leads elsewhere is damage, and a file that is not in the manifest is never
opened.
"""

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.distributed as dist

from pretrain.checkpoint.agreement import from_first, gather, refuse_together
from pretrain.checkpoint.tensors import Digest
from sharding.errors import SharedMistake
from sharding.files import read_json, sha256

MANIFEST = "MANIFEST.json"
STATE = "state.json"
SCHEMA = 1


class Damaged(Exception):
    """A checkpoint that is not as it was written; the message says what is wrong."""


def folder_of(checkpoints: Path, step: int) -> Path:
    """Where the checkpoint of a step is, once it is whole."""
    return checkpoints / f"step-{step}"


def steps(checkpoints: Path) -> list[int]:
    """Steps with a published checkpoint, ascending."""
    names = (file.name.removeprefix("step-") for file in checkpoints.glob("step-*") if file.is_dir())
    return sorted(int(name) for name in names if name.isdecimal())


def rank_file(rank: int) -> str:
    """The file that a rank writes."""
    return f"rank-{rank}.safetensors"


def make_manifest(step: int, about: dict[str, Any], files: dict[str, Digest]) -> dict[str, Any]:
    """The manifest of a checkpoint; `about` has at least world, zero_stage and shards."""
    told = {name: digest._asdict() for name, digest in sorted(files.items())}
    manifest = {"schema": SCHEMA, "step": step, **about, "files": told}
    return manifest | {"sha256": _digest(manifest)}


def read_manifest(checkpoint: Path) -> dict[str, Any]:
    """The manifest, checked against itself. Raises `Damaged`."""
    try:
        manifest = read_json(checkpoint / MANIFEST)
    except (OSError, ValueError) as error:
        what = error.strerror if isinstance(error, OSError) else "is not JSON"
        raise Damaged(f"{MANIFEST}: {what}") from error
    if not isinstance(manifest, dict) or manifest.pop("sha256", None) != _digest(manifest):
        raise Damaged(f"{MANIFEST} differs from its own SHA-256")
    if manifest.get("schema") != SCHEMA:
        raise Damaged(f"{MANIFEST} is of schema {manifest.get('schema')}, this version reads {SCHEMA}")
    files = {STATE, *(rank_file(rank) for rank in range(manifest["world"]))}
    if set(manifest["files"]) != files or checkpoint.name != folder_of(checkpoint, manifest["step"]).name:
        raise Damaged(f"{MANIFEST} is not that of this checkpoint")
    return manifest


def damage(checkpoint: Path, rank: int = 0, world: int = 1) -> str | None:
    """What is wrong with a checkpoint, or None. With ranks, each looks at every world-th file."""
    try:
        files = read_manifest(checkpoint)["files"]
    except Damaged as error:
        return str(error)
    for name in sorted(files)[rank::world]:
        file, expected = checkpoint / name, Digest(**files[name])
        try:
            if file.stat().st_size != expected.bytes:
                return f"{name} has {file.stat().st_size:,} bytes of {expected.bytes:,}"
            if sha256(file) != expected.sha256:
                return f"{name} differs from its SHA-256"
        except OSError as error:
            return f"{name}: {error.strerror}"
    return None


def newest(checkpoints: Path) -> int | None:
    """The highest step whose checkpoint is whole; None when there is none at all.

    Raises `UserError` when there are some and none of them is whole: starting again from nothing is the user's choice.
    """
    return _search(checkpoints, steps(checkpoints), damage, _warn)


def choose(checkpoints: Path) -> Path | None:
    """As `newest`, by all ranks together, each reading its share of the files; the checkpoint's folder."""
    rank, world = dist.get_rank(), dist.get_world_size()
    there = from_first(steps(checkpoints))
    unseen = next((step for step in there if not folder_of(checkpoints, step).is_dir()), None)
    mistake = (
        None if unseen is None else f"{folder_of(checkpoints, unseen)} is not there, where rank 0 sees it"
    )
    refuse_together("no common checkpoints", mistake, "Give a run=... that all machines share.")

    def anywhere(checkpoint: Path) -> str | None:
        return next(filter(None, gather(damage(checkpoint, rank, world))), None)

    step = _search(checkpoints, there, anywhere, _warn if rank == 0 else lambda _: None)
    return None if step is None else folder_of(checkpoints, step)


def _search(
    checkpoints: Path,
    there: list[int],
    check: Callable[[Path], str | None],
    say: Callable[[str], None],
) -> int | None:
    damaged = {}
    for step in reversed(there):
        what = check(folder_of(checkpoints, step))
        if what is None:
            return step
        damaged[step] = what
        before = there[: there.index(step)]
        then = f"trying step {before[-1]}" if before else "there is none before it"
        say(f"warning: checkpoint {folder_of(checkpoints, step)} is damaged ({what}); {then}")
    if damaged:
        told = "; ".join(f"step {step}: {what}" for step, what in damaged.items())
        raise SharedMistake(
            f"no checkpoint of {checkpoints} is whole ({told}). Restore one from a copy, or give a new run=... to "
            "start from the beginning."
        )
    return None


def _warn(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _digest(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
