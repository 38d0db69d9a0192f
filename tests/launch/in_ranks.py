"""What each rank of a launcher's test does; importable, because ranks import it by name."""

import io
import os
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import torch.distributed as dist

from launch import entry, pretrain

TINY = (
    *(
        "train.batch=16",
        "train.lanes=4",
        "evaluation.held_out=32",
        "train.head_start=64",
        "train.warmup_steps=2",
    ),
    *("model.graph_hidden=16", "model.global_heads=2", "model.text_hidden=16", "model.text_layers=1"),
    *("model.text_heads=2", "model.text_feedforward=32", "model.projection=16", "train.log_every=1"),
)
"""A run at toy width, in a doorway's words."""


def doorways(rank: int, world: int, commands: dict[str, list[str]]) -> dict[str, tuple[int, str]]:
    """`launch/pretrain.py` with these arguments, one after another, as this rank: exit code and what it said.

    Ranks do not wait for each other to tell a mistake: here nobody ends the second when the first has left.
    """
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank)}
    entry.SILENT_S = 0
    found = {}
    for name, arguments in commands.items():
        said = io.StringIO()
        with redirect_stderr(said), redirect_stdout(said):
            found[name] = pretrain.main(arguments), said.getvalue()
        dist.barrier()
    return found


def flip_a_bit(file: Path) -> None:
    """In its middle."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
