"""Functions for a child process to die of. In a module of its own: a child imports them by name."""

import ctypes
import os
import signal
import time
from collections.abc import Sequence


def work(items: Sequence[object]) -> list[object]:
    """The items, unless one of them is deadly."""
    for item in items:
        if item == "hang":
            while True:
                pass
        if item == "sleep":
            time.sleep(3)
        if item == "crash":
            ctypes.string_at(0)
        if item == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if item == "raise":
            raise ValueError("a fault of the program")
        if item == "odd":
            raise _Unpicklable(lambda: None)
    return list(items)


class _Unpicklable(Exception):
    pass


def grandchild(_: object) -> int:
    """Start a child of this process's own, and tell its number."""
    from sharding import guard

    guard.guarded(work, [1], time_limit_s=5)
    assert guard._child is not None
    return guard._child.pid
