"""The processes of one attempt at a run: started together, signalled together, gone together.

    command, number of ranks  ->  the first rank that ended in another way than well, and how

A rank finds its place in the variables that torch and DeepSpeed read: RANK, WORLD_SIZE, LOCAL_RANK,
LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT. What the first rank writes goes where this process writes; the lines
of the others get their rank before them.
Each rank leads a process group, so that an interrupt at the terminal reaches it once, from here, and each dies with
this process, however this process dies (Linux: PR_SET_PDEATHSIG, prctl(2)).
"""

import ctypes
import math
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import NamedTuple, Self

FORWARDED = {
    signal.SIGTERM: signal.SIGTERM,
    signal.SIGINT: signal.SIGINT,
    signal.SIGUSR1: signal.SIGUSR1,
    signal.SIGHUP: signal.SIGTERM,  # the terminal has closed
}
"""What a rank is sent when this process is sent it."""
BAD_NUMBERS, SAVED = 3, 75
TOGETHER = (0, BAD_NUMBERS, SAVED)
"""Exit codes that ranks agree on: when one has left with it, the others are about to."""
LEAVING_S = 10.0
"""Seconds that the others have to leave after a rank has failed alone: for their stacks, or their own mistake."""
SUPERVISOR = "MOLPARALLAX_SUPERVISOR"
"""Variable that tells a rank which process has started it, as against a launcher's rank."""
PR_SET_PDEATHSIG = 1


class Ending(NamedTuple):
    """How a rank ended. A negative code is the signal that ended it."""

    rank: int
    code: int


class Signals:
    """Signals to this process as bytes in a pipe: one `select` waits for them, for output, and for time."""

    def __init__(self) -> None:
        self.stopped_by: signal.Signals | None = None
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before: dict[signal.Signals, signal._HANDLER] = {}

    def __enter__(self) -> Self:
        self._woken = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in (*FORWARDED, signal.SIGCHLD):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                self._before[number] = signal.signal(number, lambda *_: None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._woken)
        os.close(self._read)
        os.close(self._write)

    def fileno(self) -> int:
        """For `select`."""
        return self._read

    def take(self) -> list[signal.Signals]:
        """Those to stop that have come since; the first is kept. The ends of children only wake."""
        try:
            came = [signal.Signals(number) for number in os.read(self._read, 1 << 10)]
        except BlockingIOError:
            return []
        stops = [number for number in came if number in FORWARDED]
        if stops and self.stopped_by is None:
            self.stopped_by = stops[0]
        return stops

    def wait(self, seconds: float) -> None:
        """Until then, or until a signal to stop."""
        until = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self, selectors.EVENT_READ)
            while self.stopped_by is None and (left := until - time.monotonic()) > 0:
                selector.select(left)
                self.take()


class _Rank:
    """A process, and the pipe of its output unless it is the first."""

    def __init__(self, command: Sequence[str], rank: int, environment: dict[str, str]) -> None:
        self.rank, self._rest = rank, b""
        self.process = subprocess.Popen(
            command,
            env=os.environ | environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if rank else None,
            stderr=subprocess.STDOUT if rank else None,
            process_group=0,
            preexec_fn=_die_with_this_process(),
        )
        if self.process.stdout:
            os.set_blocking(self.process.stdout.fileno(), False)

    def pass_on(self) -> bool:
        """Print the lines that are there; False at the end of the pipe."""
        assert self.process.stdout is not None
        while data := self.process.stdout.read(1 << 16):
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self._print(line)
        return data is None  # nothing now, as against nothing ever

    def close(self) -> None:
        """Print what is left."""
        if self.process.stdout:
            self.pass_on()
            if self._rest:
                self._print(self._rest)
            self.process.stdout.close()

    def kill(self) -> None:
        """With the processes that it has started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)

    def _print(self, line: bytes) -> None:
        print(f"[rank {self.rank}] {line.decode(errors='replace')}", file=sys.stderr, flush=True)


def started_here() -> bool:
    """Whether this process is a rank that `attempt` has started."""
    return os.environ.get(SUPERVISOR) == str(os.getppid())


def attempt(command: Sequence[str], count: int, signals: Signals, grace_s: float) -> Ending:
    """Start the ranks and return when all are gone: the first failure, or the first rank's 0.

    Signals to stop go to all at once. From the first signal or the first end on, the rest have a while to leave
    by themselves, then they are killed.
    """
    failed, deadline = None, math.inf
    with _started(command, count) as ranks, selectors.DefaultSelector() as selector:
        selector.register(signals, selectors.EVENT_READ)
        for rank in ranks:
            if rank.process.stdout:
                selector.register(rank.process.stdout, selectors.EVENT_READ, rank)
        living = list(ranks)
        while living:
            left = None if deadline == math.inf else max(0.0, deadline - time.monotonic())
            for key, _ in selector.select(left):
                if key.data and not key.data.pass_on():
                    selector.unregister(key.fileobj)
            for number in signals.take():
                _send(living, FORWARDED[number])
                deadline = min(deadline, time.monotonic() + grace_s)
            if ended := [rank for rank in living if rank.process.poll() is not None]:
                living = [rank for rank in living if rank not in ended]
                failed = failed or _failure(ended)
                alone = failed is not None and failed.code not in TOGETHER
                if alone:
                    _send(living, signal.SIGTERM)
                deadline = min(deadline, time.monotonic() + (LEAVING_S if alone else grace_s))
            if time.monotonic() >= deadline:
                deadline = math.inf
                for rank in living:
                    rank.kill()
    return failed or Ending(0, 0)


def _failure(ended: Sequence[_Rank]) -> Ending | None:
    """Of two at once, the one that a signal ended: the other has only lost its connection."""
    endings = (Ending(rank.rank, rank.process.returncode) for rank in ended)
    return min((ending for ending in endings if ending.code), key=lambda ending: ending.code, default=None)


@contextmanager
def _started(command: Sequence[str], count: int) -> Iterator[list[_Rank]]:
    """The ranks, meeting at a port that is theirs; none is left afterwards."""
    ranks: list[_Rank] = []
    with _held_port() as port:
        environment = {
            "WORLD_SIZE": str(count),
            "LOCAL_WORLD_SIZE": str(count),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "PYTHONUNBUFFERED": "1",
            SUPERVISOR: str(os.getpid()),
        }
        try:
            for rank in range(count):
                ranks.append(_Rank(command, rank, environment))
            yield ranks
        finally:
            for started in ranks:
                started.kill()
                started.process.wait()
                started.close()


def _send(ranks: Sequence[_Rank], number: signal.Signals) -> None:
    for rank in ranks:
        rank.process.send_signal(number)


@contextmanager
def _held_port() -> Iterator[int]:
    """A free port that the kernel gives to nobody else meanwhile.

    A port that was only found free can be lost before the first rank listens. This one stays bound here, without
    listening, which leaves it to a listener that sets SO_REUSEADDR, as torch's does, and to no other.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])


def _die_with_this_process() -> Callable[[], None] | None:
    """What a child does before it becomes a rank; `None` where the system has no such thing."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is None:
        return None
    parent = os.getpid()

    def before_exec() -> None:
        prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return before_exec
