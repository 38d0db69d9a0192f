"""Progress of long work on standard error: one live line in a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

PLAIN_EVERY_S = 10.0
"""Seconds between lines where there is no terminal."""


class ProgressLine:
    """`with ProgressLine("featurize", total) as line: line.advance(n, "1,200 molecules/s")`."""

    def __init__(self, name: str, total: int, done: int = 0, *, enabled: bool = True) -> None:
        self.name, self.total, self.done, self.enabled = name, total, done, enabled
        self.started = self._said = time.monotonic()
        self._begun_with = done
        self._live: Progress | None = None
        if enabled and sys.stderr.isatty():
            self._live = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TaskProgressColumn(),
                TextColumn("{task.fields[note]}"),
                TimeRemainingColumn(compact=True),
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
            self._live.update(self._task, completed=self.done, note=note)
        elif self.enabled and (self.done >= self.total or time.monotonic() - self._said > PLAIN_EVERY_S):
            self._said = time.monotonic()
            self._plain(f"{self.name}: {self.done:,} of {self.total:,}  {note}{self._left()}")

    def say(self, text: str) -> None:
        """A line that stays."""
        if self._live:
            self._live.console.print(text, highlight=False, markup=False)
        elif self.enabled:
            self._plain(text)

    def _left(self) -> str:
        here = self.done - self._begun_with
        if here <= 0 or self.done >= self.total:
            return ""
        left = (time.monotonic() - self.started) / here * (self.total - self.done)
        return f"  {duration(left)} left"

    _plain: Callable[[str], None] = staticmethod(
        lambda text: print(text.rstrip(), file=sys.stderr, flush=True)
    )


def duration(seconds: float) -> str:
    """`42 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
