"""Commands that are struck by faults: started, watched from outside, and never left behind.

Every process that a launch starts, and theirs, carries a mark in its environment; so orphans are found and counted.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import psutil

REPOSITORY = Path(__file__).parents[2]
MARK = "RELIABILITY_MARK"
LIMIT_S = 240.0
"""Longer than any launch here takes, on a busy machine; what is still there then is said to hang."""


class Watched:
    """Processes of one run, whose output goes to the file `log`."""

    log: Path

    @property
    def output(self) -> str:
        """What all its processes have said so far."""
        return self.log.read_text(errors="replace")

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        raise NotImplementedError

    def wait(self, limit_s: float = LIMIT_S) -> int | None:
        """The exit code, or None when it still runs at the limit. Nothing of it is left afterwards."""
        raise NotImplementedError

    def until(self, ready: Callable[[], bool], limit_s: float = LIMIT_S) -> bool:
        """Wait for something outside; False when the run ends or the time passes before."""
        end = time.monotonic() + limit_s
        while time.monotonic() < end and self.running:
            if ready():
                return True
            time.sleep(0.02)
        return ready()


class Launch(Watched):
    """A command in a session of its own."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str] | None = None) -> None:
        self.mark, self.log = uuid.uuid4().hex, log
        common = {
            "OMP_NUM_THREADS": "1",
            "DS_ACCELERATOR": "cpu",
            "PYTHONPATH": str(REPOSITORY),
            MARK: self.mark,
        }
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=log.parent,
                env=os.environ | common | (environment or {}),
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def wait(self, limit_s: float = LIMIT_S) -> int | None:
        try:
            return self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            self.end()

    def alive(self) -> list[psutil.Process]:
        """Its processes that live, whoever their parent is by now."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def rank(self, rank: int) -> psutil.Process:
        """The process of a rank: the youngest that has its number, since a launcher's helpers come before."""
        own = [process for process in self.alive() if process.environ().get("RANK") == str(rank)]
        return max(own, key=lambda process: process.create_time())

    def end(self) -> None:
        """Kill whatever is left."""
        for process in self.alive():
            process.kill()
        self.process.wait()


def deepspeed(module: str, ranks: int, *arguments: Any) -> list[str]:
    """The documented command on this machine, with a port of its own."""
    runner = str(Path(sys.executable).with_name("deepspeed"))
    port = ["--master_port", str(free_port())]
    return [runner, "--num_gpus", str(ranks), *port, "--module", module, *map(str, arguments)]


def python(script: str, *arguments: Any) -> list[str]:
    """A script of ours, without a launcher."""
    return [sys.executable, script, *map(str, arguments)]


def free_port() -> int:
    """One that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@cache
def shim() -> Path:
    """The compiled library of shim.c, for LD_PRELOAD."""
    compiler = shutil.which("cc") or "gcc"
    library = Path(mkdtemp(prefix="shim-")) / "shim.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


def striking(
    under: Path, rank: int | None, at: int, kind: str = "kill", log: Path | None = None
) -> dict[str, str]:
    """The environment in which `rank`, or each, is struck at its event `at` below a folder; see shim.c."""
    found = {
        "LD_PRELOAD": str(shim()),
        "FAULT_UNDER": f"{under}/",
        "FAULT_AT": str(at),
        "FAULT_KIND": kind,
    }
    logged = {"FAULT_LOG": str(log)} if log else {}
    return found | logged | ({} if rank is None else {"FAULT_RANK": str(rank)})
