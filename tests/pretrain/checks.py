"""What each process of the check's tests does; importable, because spawned processes import it by name."""

import contextlib
import io
from collections.abc import Sequence

from launch import pretrain


def doors(rank: int, world: int, commands: Sequence[Sequence[str]]) -> list[tuple[int, str]]:
    """launch/pretrain.py with each of these arguments, one after the other: exit code, and what was printed."""
    found = []
    for arguments in commands:
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = pretrain.main(arguments)
        found.append((code, said.getvalue()))
    return found
