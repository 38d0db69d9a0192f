"""Signals: a run that is asked to stop finishes its step, saves, and leaves with a code that says so.

    SIGTERM, SIGINT, SIGUSR1, or the death of the launcher  ->  `Stop.asked` on this rank
A handler only sets a flag. Ranks agree on it between steps (pretrain/boundary.py), so it is enough that one of
them is told. A second SIGINT is a person at a keyboard who means now: KeyboardInterrupt, at once.

The `deepspeed` runner that is killed, by SIGTERM too, leaves its node launcher and the ranks behind, which would
train on as orphans. So a rank that a launcher started asks the kernel for SIGTERM when that launcher dies, and
looks, when it is asked, whether the launcher still has the runner for a parent. Linux only; elsewhere signals
must reach a rank. A rank that a shell started is left alone: nohup and a closed terminal are no reason to stop.
"""

import ctypes
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
LAUNCHERS = ("deepspeed", "torchrun")
"""Programs whose death ends their ranks; also as modules, `python -m deepspeed.launcher.launch`."""
PR_SET_PDEATHSIG = 1
"""Of prctl(2): the signal that this process gets when its parent dies."""


class Stop:
    """`with Stop() as stop:` a signal sets `stop.asked` to its name. In a thread other than the main one: never."""

    def __init__(self) -> None:
        self.signalled, self._interrupted = "", False
        self._before: dict[signal.Signals, Any] = {}
        self._launcher = self._runner = 0

    @property
    def asked(self) -> str:
        """Why this rank was asked to stop: a signal's name, or "" when it was not."""
        if not self.signalled and self._runner and _parent(self._launcher) != self._runner:
            self.signalled = "the launcher's end"
        return self.signalled

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._heard) for number in SIGNALS}
            self._follow_launcher()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._launcher:
            _die_with_parent(0)
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def _heard(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT:
            if self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True
        self.signalled = self.signalled or signal.Signals(number).name

    def _follow_launcher(self) -> None:
        parent = os.getppid()
        if not sys.platform.startswith("linux") or not _launches(parent):
            return
        self._launcher = parent
        _die_with_parent(signal.SIGTERM)
        if os.getppid() != parent:  # it died before the kernel was told
            self.signalled = "the launcher's end"
        runner = _parent(parent)
        if _launches(runner):
            self._runner = runner


def _launches(process: int) -> bool:
    """Whether a process is a launcher, by the first words of its command."""
    try:
        words = Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace").split("\0")[:5]
    except OSError:
        return False
    modules = tuple(f"{name}." for name in (*LAUNCHERS, "torch.distributed"))
    return any(Path(word).name in LAUNCHERS or word.startswith(modules) for word in words)


def _parent(process: int) -> int:
    """The parent of a process; 0 when it is gone."""
    try:
        # the name, in brackets, may hold anything
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _die_with_parent(number: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
