"""Progress of long work on standard error: one live line in a terminal, a plain line now and then elsewhere."""

import math
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import NamedTuple, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

PLAIN_EVERY_S = 10.0
"""Seconds between lines where there is no terminal."""


class Aside(NamedTuple):
    """Work beside what is counted, so far: it comes again after every so many of the total, and at the end."""

    seconds: float
    times: int
    every: int


class ProgressLine:
    """`with ProgressLine("featurize", total) as line: line.advance(n, "1,200 molecules/s")`.

    The time left is the pace since this line began, times what is left; what was done before is not in the pace.
    Work that comes back every so often is counted `aside`: it is not in the pace either, and is added as often as
    it is still to come.
    """

    def __init__(self, name: str, total: int, done: int = 0, *, enabled: bool = True) -> None:
        self.name, self.total, self.done, self.enabled = name, total, done, enabled
        self.started = self._said = time.monotonic()
        self._begun_with = done
        self._aside: dict[str, Aside] = {}
        self._live: Progress | None = None
        if enabled and sys.stderr.isatty():
            self._live = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TaskProgressColumn(),
                TextColumn("{task.fields[note]}"),
                console=Console(stderr=True),
            )
            self._task = self._live.add_task(name, total=total, completed=done, note="")

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def advance(self, by: int, note: str = "") -> None:
        """`by` more of the total are done."""
        self.done += by
        if self._live:
            self._live.update(self._task, completed=self.done, note=f"{note}{self._left()}")
        elif self.enabled and (self.done >= self.total or time.monotonic() - self._said > PLAIN_EVERY_S):
            self._said = time.monotonic()
            self._plain(f"{self.name}: {self.done:,} of {self.total:,}  {note}{self._left()}")

    def say(self, text: str) -> None:
        """A line that stays."""
        if self._live:
            self._live.console.print(text, highlight=False, markup=False)
        elif self.enabled:
            self._plain(text)

    @contextmanager
    def aside(self, name: str, every: int) -> Iterator[None]:
        """Work inside comes again after every so many of the total, and at the end."""
        begun = time.monotonic()
        yield
        seconds, times, _ = self._aside.get(name, (0.0, 0, every))
        self._aside[name] = Aside(seconds + time.monotonic() - begun, times + 1, every)

    def _left(self) -> str:
        if self.done == self._begun_with or self.done >= self.total:
            return ""
        elapsed = time.monotonic() - self.started
        left = seconds_left(elapsed, self._begun_with, self.done, self.total, self._aside.values())
        return f"  {duration(left)} left"

    _plain: Callable[[str], None] = staticmethod(
        lambda text: print(text.rstrip(), file=sys.stderr, flush=True)
    )


def seconds_left(
    elapsed: float, begun_with: int, done: int, total: int, asides: Collection[Aside] = ()
) -> float:
    """From what was done since the beginning, and how long that took; at least one is done."""
    pace = (elapsed - math.fsum(aside.seconds for aside in asides)) / (done - begun_with)
    still = (
        aside.seconds / aside.times * (-(-total // aside.every) - done // aside.every) for aside in asides
    )
    return pace * (total - done) + math.fsum(still)


def duration(seconds: float) -> str:
    """`42 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def in_bytes(count: float) -> str:
    """`512 bytes`, `7.9 MB`."""
    units = ("bytes", "kB", "MB", "GB", "TB", "PB")
    power = 0
    while count >= 1000 and power < len(units) - 1:
        count, power = count / 1000, power + 1
    return f"{count:,.1f} {units[power]}" if power else f"{count:.0f} bytes"
