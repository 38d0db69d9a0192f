"""Loading: a checkpoint's slices, by name, into an engine of any ZeRO stage, type and number of ranks, bit for bit.

    restore(engine, checkpoint, about)  ->  its step and the loop's state; on every rank or on none
    weights(checkpoint)                 ->  {name: float32 tensor}, without DeepSpeed
Each rank reads the elements that it holds from whichever files have them. Then all ranks agree that they could, and
only then the weights that compute are made from the masters.
"""

import math
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from pretrain.checkpoint.agreement import refuse_together
from pretrain.checkpoint.fragments import KINDS, begin_adam, held, renew_weights, shapes, tensors
from pretrain.checkpoint.tensors import Missing, Slices
from pretrain.checkpoint.verify import STATE, Damaged, damage, rank_file, read_manifest
from sharding.errors import SharedMistake, UserError
from sharding.files import read_json


def restore(engine: Any, checkpoint: Path, about: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Make the engine what it was after the checkpoint's step; every rank calls it, with what `choose` found.

    Raises `UserError` on all ranks for another model, other shards, or a file that cannot be read.
    """
    manifest, told = _about(checkpoint)
    if manifest["shards"] != about["shards"]:
        raise SharedMistake(
            f"{checkpoint} was trained on other shards ({manifest['shards'][:12]}, now {about['shards'][:12]}). "
            "Give data=... that it was trained on, or a new run=...."
        )
    _refuse_another_model(checkpoint, told["parameters"], shapes(engine))
    mistake = None
    try:
        with _slices(checkpoint, manifest) as slices:
            begin_adam(engine, told["adam_steps"])
            for fragment in held(engine):
                for kind, tensor in tensors(engine, fragment).items():
                    tensor.copy_(slices.read(kind, fragment.name, fragment.start, fragment.numel))
    except (OSError, SafetensorError, Missing) as error:
        mistake = str(error)
    refuse_together(f"{checkpoint} cannot be loaded", mistake, "Remove it to use the one before.")
    renew_weights(engine)
    return int(told["step"]), told["state"]


def weights(checkpoint: Path) -> dict[str, Tensor]:
    """The whole model's float32 weights on the CPU. Raises `UserError` when a file is damaged."""
    if what := damage(checkpoint):
        raise UserError(f"checkpoint {checkpoint} is damaged: {what}. Export an earlier step=... instead.")
    return contents(checkpoint)["weight"]


def contents(checkpoint: Path) -> dict[str, dict[str, Tensor]]:
    """All that a checkpoint keeps of each parameter: weight, exp_avg and exp_avg_sq, each by name."""
    manifest, told = _about(checkpoint)
    try:
        with _slices(checkpoint, manifest) as slices:
            return {
                kind: {
                    name: slices.read(kind, name, 0, math.prod(shape)).view(shape)
                    for name, shape in told["parameters"].items()
                }
                for kind in KINDS
            }
    except (OSError, SafetensorError, Missing) as error:
        raise UserError(f"checkpoint {checkpoint} cannot be read: {error}. Use the one before.") from error


def _about(checkpoint: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        return read_manifest(checkpoint), read_json(checkpoint / STATE)
    except (Damaged, OSError, ValueError) as error:
        raise UserError(
            f"checkpoint {checkpoint} is damaged: {error}. Remove it to use the one before."
        ) from error


def _slices(checkpoint: Path, manifest: dict[str, Any]) -> Slices:
    return Slices([checkpoint / rank_file(rank) for rank in range(manifest["world"])])


def _refuse_another_model(checkpoint: Path, old: dict[str, list[int]], new: dict[str, list[int]]) -> None:
    """The first parameter that differs says enough."""
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            raise SharedMistake(
                f"{checkpoint} is of another model: {name} has shape {old.get(name)}, here {new.get(name)}. Give the "
                "options that it was trained with, or a new run=...."
            )
