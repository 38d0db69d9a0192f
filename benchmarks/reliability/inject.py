"""Faults inside a rank, the same for every trainer on DeepSpeed: they hook the engine's forward in training.

    RELIABILITY_FAULT = {"kind": "nan", "rank": 1, "at": 3}      at: which forward, from 1
    RELIABILITY_RECORD = folder                                   a digest of each forward's input, by rank
nan: what the forward returns is not a number.  hang: it never returns.  memory: out of memory, as a GPU says it, for
more than `rows` rows.
"""

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook


def install() -> None:
    """Hook what the environment asks for."""
    rank, fault = int(os.environ.get("RANK", "0")), json.loads(os.environ.get("RELIABILITY_FAULT", "{}"))
    if folder := os.environ.get("RELIABILITY_RECORD"):
        file = Path(folder) / f"{rank}-{os.getpid()}.txt"
        register_module_forward_pre_hook(lambda module, inputs: _record(file, module, inputs))
    if fault and fault["rank"] in (rank, "all"):
        seen = [0]
        register_module_forward_hook(
            lambda module, inputs, found: _strike(fault, seen, module, inputs, found)
        )


def _trained(module: nn.Module) -> bool:
    return type(module).__name__ == "DeepSpeedEngine" and module.module.training


def _record(file: Path, module: nn.Module, inputs: Any) -> None:
    if _trained(module):
        digest = hashlib.sha256(b"".join(t.contiguous().numpy().tobytes() for t in _tensors(inputs)))
        with file.open("a") as stream:
            stream.write(digest.hexdigest() + "\n")


def _strike(fault: dict[str, Any], seen: list[int], module: nn.Module, inputs: Any, found: Any) -> Any:
    if not _trained(module):
        return None
    seen[0] += 1
    if fault["kind"] == "memory":
        if seen[0] >= fault["at"] and _rows(inputs[0]) > fault["rows"]:
            raise torch.OutOfMemoryError("injected: out of memory")
    elif seen[0] == fault["at"]:
        if fault["kind"] == "hang":
            threading.Event().wait()
        return _not_a_number(found)
    return None


def _rows(batch: Any) -> int:
    return len(batch) if isinstance(batch, Tensor) else batch.size


def _tensors(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, dict):
        yield from _tensors(list(tree.values()))
    elif isinstance(tree, (list, tuple)):
        for part in tree:
            yield from _tensors(part)
    elif is_dataclass(tree):
        yield from _tensors([getattr(tree, field.name) for field in fields(tree)])


def _not_a_number(tree: Any) -> Any:
    if isinstance(tree, Tensor):
        return tree * float("nan")
    if isinstance(tree, dict):
        return {name: _not_a_number(part) for name, part in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(_not_a_number(part) for part in tree)
    return tree
