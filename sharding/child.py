"""A child process that does a function's work, and may die of it: the worker of an executor, the guard of a task.

    child.send(function, arguments, cpu_limit_s);  child.receive()  ->  what the function returned, or raised

RDKit holds the GIL while it parses, and a molecule can make it run for hours or crash, so the only way to stop
it is to end its process. The limit is CPU time, by the kernel's own timer (SIGPROF, whose default action ends
a process): a busy machine does not turn slow molecules into bad ones, and no thread must wake up to look.
A child ends by itself when its parent is gone.
"""

import os
import pickle
import platform
import queue
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

PACKAGE_ROOT = Path(__file__).resolve().parents[1]


class Died(Exception):
    """The child ended in the middle of its work. `reason`: timeout, crash or killed."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(f"a child process ended with {code} ({reason})")
        self.reason, self.code = reason, code

    def __reduce__(self) -> tuple[type["Died"], tuple[str, int]]:
        return Died, (self.reason, self.code)


class Child:
    """One process. `connection` becomes readable when there is something to receive."""

    def __init__(self) -> None:
        self.connection, theirs = Pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sharding.child", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env=environment(),
        )
        theirs.close()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def send(self, function: Callable[..., Any], *arguments: Any, cpu_limit_s: float = 0) -> None:
        """Start `function(*arguments)` over there; a limit of 0 is none."""
        with suppress(BrokenPipeError):  # it died between two calls: `receive` says so
            self.connection.send_bytes(pickle.dumps((function, arguments, cpu_limit_s)))

    def receive(self) -> Any:
        """Wait for the result. Raises what the function raised, or `Died`."""
        try:
            worked, value = pickle.loads(self.connection.recv_bytes())
        except (EOFError, ConnectionResetError):
            code = self._process.wait()
            self.connection.close()
            reason = {-signal.SIGPROF: "timeout", -signal.SIGKILL: "killed", -signal.SIGTERM: "killed"}
            raise Died(reason.get(code, "crash"), code) from None
        if worked:
            return value
        error, trace = value
        error.add_note(f"in a child process:\n{trace}")
        raise error

    def close(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()
        self.connection.close()


def environment() -> dict[str, str]:
    """A child's: it imports this package from where we did, and allocates memory faster if it can.

    RDKit spends a third of its time in malloc. An LD_PRELOAD that is set already, be it to nothing, stays.
    """
    path = os.pathsep.join(filter(None, (str(PACKAGE_ROOT), os.environ.get("PYTHONPATH"))))
    return {"LD_PRELOAD": allocator(), **os.environ, "PYTHONPATH": path}


@cache
def allocator() -> str:
    """The fastest that this machine has: tcmalloc if it was installed, or the jemalloc that comes with Ray."""
    if sys.platform != "linux":
        return ""
    places = [Path("/usr/lib") / f"{platform.machine()}-linux-gnu", Path("/usr/lib64"), Path("/usr/lib")]
    found = [place / "libtcmalloc_minimal.so.4" for place in places]
    ray = find_spec("ray")
    if ray is not None and ray.origin:
        found.append(Path(ray.origin).parent / "core" / "libjemalloc.so")
    return next((str(file) for file in found if file.is_file()), "")


def serve(connection: Connection) -> None:
    """The child's side: one request after the other, until the parent is gone."""
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def listen() -> None:
        try:
            while True:
                requests.put(connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(0)  # the parent is gone: what is half done is nobody's any more

    threading.Thread(target=listen, daemon=True).start()
    while True:
        reply: tuple[bool, Any]
        try:
            function, arguments, cpu_limit_s = pickle.loads(requests.get())
            signal.setitimer(signal.ITIMER_PROF, cpu_limit_s)
            reply = True, function(*arguments)
        except Exception as error:  # noqa: BLE001  raised again by the parent
            reply = False, (error, traceback.format_exc())
        signal.setitimer(signal.ITIMER_PROF, 0)
        connection.send_bytes(_packed(reply))


def _packed(reply: tuple[bool, Any]) -> bytes:
    try:
        packed = pickle.dumps(reply, pickle.HIGHEST_PROTOCOL)
        if not reply[0]:
            pickle.loads(packed)  # an exception may pickle and not come back
        return packed
    except Exception:  # noqa: BLE001  an exception that cannot travel travels as its words
        return pickle.dumps((False, (RuntimeError(repr(reply[1][0])), traceback.format_exc())))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    serve(Connection(int(sys.argv[1])))
