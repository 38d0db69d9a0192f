"""Two ranks without a launcher, forked from a server that has imported what takes ten seconds.

They end as the launcher ends them: when one fails, the others are told to stop, and killed when they do not. The
server is started under the library of shim.c, so any of them can be struck.
"""

import multiprocessing
import os
import runpy
import signal
import sys
import time
from multiprocessing.connection import wait
from pathlib import Path

from benchmarks.reliability.launches import LIMIT_S, Watched, free_port, shim

GRACE_S = 5.0
"""Between the launcher's SIGTERM and its SIGKILL; it waits 30 s, and nothing here takes so long."""
IMPORTED = ("deepspeed", "pretrain.train", "launch.pretrain", "webdataset", "pretrain.export")


class Ranks(Watched):
    """They; the exit code of a run is that of the first rank that failed."""

    def __init__(
        self, module: str, ranks: int, arguments: list[str], log: Path, environment: dict[str, str]
    ) -> None:
        self.log = log
        common = {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1"}
        common |= {"MASTER_PORT": str(free_port())} | environment
        context = multiprocessing.get_context("forkserver")
        self.processes = []
        for rank in range(ranks):
            own = common | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            process = context.Process(target=_rank, args=(module, arguments, log, own))
            process.start()
            self.processes.append(process)

    @property
    def running(self) -> bool:
        return any(process.exitcode is None for process in self.processes)

    def wait(self, limit_s: float = LIMIT_S) -> int | None:
        end, code = time.monotonic() + limit_s, 0
        while running := [process for process in self.processes if process.exitcode is None]:
            wait([process.sentinel for process in running], max(0.0, end - time.monotonic()))
            failed = [process.exitcode for process in self.processes if process.exitcode]
            if failed:
                code = failed[0]
                break
            if time.monotonic() > end:
                self.end()
                return None
        self.end(signal.SIGTERM)
        return code

    def end(self, first: int = signal.SIGKILL) -> None:
        """End what is left."""
        for number, patience in ((first, GRACE_S), (signal.SIGKILL, None)):
            for process in self.processes:
                if process.exitcode is None:
                    os.kill(process.pid, number)
            for process in self.processes:
                process.join(patience)


def serve() -> None:
    """Start the server; the environment of this moment is what its ranks begin with."""
    os.environ.update({"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "LD_PRELOAD": str(shim())})
    multiprocessing.set_forkserver_preload(list(IMPORTED))
    context = multiprocessing.get_context("forkserver")
    first = context.Process(target=print)
    first.start()
    first.join()
    del os.environ["LD_PRELOAD"]


def _rank(module: str, arguments: list[str], log: Path, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(log.parent)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
