"""The watchdog: a run that hangs says where, on every rank, and leaves.

    no sign of life for `limit_s`  ->  stacks/rank-<r>.txt, one line on standard error, exit code 124
A collective that waits for a rank that will not come holds the main thread for ever, and no exception can reach
it. So a thread counts the time, writes the stacks of all threads, and ends the process from under them.
`os._exit`, because an orderly end would wait for the same collective. Not seen: a C function that hangs with the
interpreter's lock held; then the other ranks' watchdogs bark, and the launcher ends this one.
"""

import faulthandler
import os
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

CODE = 124
"""The exit code, that of timeout(1)."""


class Watchdog:
    """`with Watchdog(train.hang_s, run / "stacks", rank) as watchdog: watchdog.alive("step 7")`. 0 s: no watch."""

    def __init__(self, limit_s: float, folder: Path, rank: int) -> None:
        self.limit_s, self.folder, self.rank = limit_s, folder, rank
        self._closed = threading.Event()
        self._last, self._where = time.monotonic(), "the start"
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def alive(self, where: str) -> None:
        """Something has ended well: a step, an evaluation, a checkpoint."""
        self._last, self._where = time.monotonic(), where

    def __enter__(self) -> Self:
        if self.limit_s:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        while not self._closed.wait(max(0.0, self._last + self.limit_s - time.monotonic())):
            if time.monotonic() - self._last >= self.limit_s:
                self._leave()

    def _leave(self) -> None:
        what = f"rank {self.rank}: nothing ended for {self.limit_s:,.0f} s after {self._where}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = self.folder / f"rank-{self.rank}.txt"
            with file.open("w") as stream:
                stream.write(f"{what}, {time.strftime('%Y-%m-%d %H:%M:%S %z')}\n\n")
                stream.flush()
                faulthandler.dump_traceback(stream, all_threads=True)
                stream.flush()
                os.fsync(stream.fileno())
            print(f"error: {what}; where it stands: {file}", file=sys.stderr, flush=True)
        finally:
            os._exit(CODE)
