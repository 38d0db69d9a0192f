"""Functions for a child process to die of. In a module of its own: a child imports them by name."""

import ctypes
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


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


def busy(seconds: Sequence[float]) -> list[float]:
    """The items, after so much CPU time for each."""
    for one in seconds:
        end = time.process_time() + one
        while time.process_time() < end:
            pass
    return list(seconds)


def mapped(_: object) -> str:
    """The files that this process has loaded."""
    return Path("/proc/self/maps").read_text()


def grandchild(_: object) -> int:
    """Start a child of this process's own, and tell its number."""
    from sharding import guard

    guard.guarded(work, [1], time_limit_s=5)
    assert guard._child is not None
    return guard._child.pid


class Job(NamedTuple):
    """A task that goes wrong so many times before it goes well. `folder` remembers."""

    folder: str
    number: int
    way: str
    times: int
    kind: str = "job"


def attempt(job: Job) -> int:
    """Count this attempt on disk, then go wrong or give the number back."""
    seen = len(list(Path(job.folder).glob(f"{job.number}-*")))
    (Path(job.folder) / f"{job.number}-{seen}").touch()
    if seen < job.times:
        work([job.way])
    return job.number
