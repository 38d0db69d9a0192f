"""Run commands as a user would: output live and in a log, several side by side, all ended when one fails.

    commands  ->  logs/<name>.log and records in the journal;  CommandError with the first bad exit code
One thread: the pipes are watched together, so an interrupt ends the children here and nowhere else.
"""

import os
import selectors
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO

from launch.journal import Command, Journal

LOOK_EVERY_S = 0.5
"""Seconds between looks at children that say nothing."""


class CommandError(Exception):
    """A command ended with another exit code than 0. The message is complete."""

    def __init__(self, command: Command, code: int, log: Path) -> None:
        self.code = code if code > 0 else 128 - code  # as a shell says that a signal ended it
        super().__init__(
            f"stage {command.stage} failed with exit code {self.code}: {command.shown}   log: {log}"
        )


def run_stage(commands: Sequence[Command], journal: Journal, side_by_side: int = 1) -> None:
    """Run those that are not complete. Raises `CommandError` at the first that fails, the others ended."""
    waiting = [command for command in commands if not journal.complete(command)]
    if skipped := len(commands) - len(waiting):
        print(f"complete already: {skipped} of {len(commands)}", flush=True)
    begun = time.monotonic()
    running: list[_Child] = []
    logs = journal.folder / "logs"
    with _ended_by_signals(), selectors.DefaultSelector() as pipes:
        try:
            while waiting or running:
                while waiting and len(running) < side_by_side:
                    running.append(_Child(waiting.pop(0), logs, pipes, named=len(commands) > 1))
                for key, _ in pipes.select(LOOK_EVERY_S):
                    key.data.read()
                for child in [child for child in running if child.ended()]:
                    running.remove(child)
                    child.finish(journal)
        finally:
            for child in running:
                child.stop()
            if len(commands) > skipped:
                journal.spent(commands[0].stage, time.monotonic() - begun)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """A terminal that closes and `kill` end this process as an interrupt does: after its children.

    They have process groups of their own, so nobody else would end them.
    """

    def leave(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Child:
    """A running command."""

    def __init__(self, command: Command, logs: Path, pipes: selectors.BaseSelector, *, named: bool) -> None:
        self.command, self.pipes, self.begun = command, pipes, time.monotonic()
        self.log = logs / f"{command.name}.log"
        self.prefix = f"[{command.name}] " if named else ""
        self.rest = b""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.stream: IO[bytes] = self.log.open("ab")  # an interrupted attempt's lines stay
        self._say(f"$ {command.shown}".encode())
        self.process = subprocess.Popen(
            command.words,
            env={**os.environ, **command.environment, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,  # a launcher's ranks belong to it: they are signalled together
        )
        assert self.process.stdout is not None
        self.pipe = self.process.stdout.fileno()
        os.set_blocking(self.pipe, False)
        pipes.register(self.pipe, selectors.EVENT_READ, self)

    def read(self) -> None:
        """Pass on what is there."""
        with suppress(BlockingIOError):
            while data := os.read(self.pipe, 1 << 16):
                *lines, self.rest = (self.rest + data).split(b"\n")
                for line in lines:
                    self._say(line)
            self._unwatch()  # the end of the pipe, which would wake the selector for ever

    def ended(self) -> bool:
        """Not the end of the pipe: a daemon that the child leaves behind would hold it open."""
        return self.process.poll() is not None

    def finish(self, journal: Journal) -> None:
        """Write it down, or raise `CommandError`."""
        self.read()
        self._close()
        if self.process.returncode:
            raise CommandError(self.command, self.process.returncode, self.log)
        journal.record(self.command, time.monotonic() - self.begun)

    def stop(self) -> None:
        """End the child and its ranks: ask, wait, then insist."""
        for which, patience_s in ((signal.SIGINT, 10.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 1.0)):
            if self._group_lives():
                os.killpg(self.process.pid, which)
            until = time.monotonic() + patience_s
            while self._group_lives() and time.monotonic() < until:
                self.read()  # a full pipe would hold it up
                time.sleep(0.1)
        self.read()
        self._close()

    def _group_lives(self) -> bool:
        self.process.poll()
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def _close(self) -> None:
        if self.rest:
            self._say(self.rest)
        self._unwatch()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.stream.close()

    def _unwatch(self) -> None:
        with suppress(KeyError):
            self.pipes.unregister(self.pipe)

    def _say(self, line: bytes) -> None:
        self.stream.write(line + b"\n")
        self.stream.flush()
        print(self.prefix + line.decode(errors="replace"), flush=True)


def shell_line(environment: dict[str, str], words: Sequence[str]) -> str:
    """The line to type: variables, then the command."""
    return " ".join(
        [*(f"{name}={shlex.quote(value)}" for name, value in environment.items()), shlex.join(words)]
    )
