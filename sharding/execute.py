"""All tasks, on this core, on processes, or on a Ray cluster: the function is the same everywhere.

    tasks, function  ->  (task, its result), in the order of completion

A task whose worker dies or that raises is tried again; after `attempts` it is set aside, the others go on, and
the job ends with the names of those that were set aside. What is complete stays complete, and the next run of
the same command goes on from there. Tasks in flight are bounded, results are small: the driver's memory does not
grow with the job.
"""

import multiprocessing.connection
import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sharding.child import Child, Died
from sharding.config import Executor
from sharding.errors import UserError, full_disk

Task = TypeVar("Task")
Result = TypeVar("Result")
Answer = tuple[Any, Any]
"""(task, result), the result an exception when the attempt failed"""
IN_FLIGHT_PER_WORKER = 2
"""Tasks handed to Ray ahead of a worker's need: enough to keep it busy, few enough to bound the driver."""
RAY_DEATHS = 3
"""How often Ray itself runs a task again whose worker or node died, before the driver hears of it."""
OUTAGE_S = 60.0
"""After so long without an answer Ray is asked whether it has anybody left to work."""
TASKS_A_RAY_WORKER = 64
"""A worker that has done so many is replaced: what leaks in a library is given back."""


class Where(Protocol):
    """Where tasks run, how many at a time, how often they are tried: what a configuration of long work has."""

    executor: Executor
    workers: int
    attempts: int
    task_memory_gb: float


class SetAside(UserError):
    """Tasks that failed in every attempt. The last error of each is its `__cause__` chain's end and in the text."""


def execute(
    tasks: Iterable[Task], function: Callable[[Task], Result], config: Where
) -> Iterator[tuple[Task, Result]]:
    """Run `function` on every task, where and how the configuration says."""
    waiting, failures = deque(tasks), Counter[Task]()
    if not waiting:
        return
    crew = _crew(config, function, len(waiting))
    aside: dict[Task, Exception] = {}
    flying = 0
    try:
        while waiting or flying:
            while waiting and flying < crew.room:
                crew.submit(waiting.popleft())
                flying += 1
            for task, result in crew.answers():
                flying -= 1
                if not isinstance(result, Exception):
                    yield task, result
                    continue
                _stop_if_hopeless(result)
                failures[task] += 1
                if failures[task] < config.attempts:
                    waiting.append(task)
                else:
                    aside[task] = result
    finally:
        crew.close()
    if aside:
        raise _set_aside(aside, config.attempts)


def _stop_if_hopeless(error: Exception) -> None:
    """Raise what no second attempt can mend: a user's mistake, or a disk that takes nothing more."""
    cause = _cause(error)
    if isinstance(cause, UserError):
        raise cause
    if told := full_disk(cause):
        raise told from cause


def _set_aside(aside: dict[Any, Exception], attempts: int) -> SetAside:
    named = [f"{_name(task)}: {_told(error)}" for task, error in list(aside.items())[:3]]
    more = f" and {len(aside) - 3} more" if len(aside) > 3 else ""
    found = SetAside(
        f"{len(aside)} tasks failed {attempts} times and were set aside ({'; '.join(named)}{more}). All others are "
        "complete; the same command tries these again."
    )
    found.__cause__ = next(iter(aside.values()))
    return found


def _cause(error: Exception) -> Exception:
    """What was raised in the task: Ray wraps it."""
    found = getattr(error, "cause", None)
    return found if isinstance(found, Exception) else error


def _told(error: Exception) -> str:
    cause = _cause(error)
    return f"{type(cause).__name__}: {(str(cause).strip() or '-').splitlines()[0]}"


def _name(task: Any) -> str:
    return f"{task.kind} {task.number}" if hasattr(task, "kind") else str(task)


class _Crew(Protocol):
    room: int
    """Tasks that may be in flight."""

    def submit(self, task: Any) -> None: ...
    def answers(self) -> list[Answer]:
        """Wait for at least one."""
        ...

    def close(self) -> None: ...


def _crew(config: Where, function: Callable[[Any], Any], count: int) -> _Crew:
    if config.executor is Executor.serial:
        return _Here(function)
    if config.executor is Executor.processes:
        return _Processes(function, min(config.workers or cores(), count))
    return _Ray(function, config)


class _Here:
    """One task at a time, in this process."""

    room = 1

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function
        self._task: Any = None

    def submit(self, task: Any) -> None:
        self._task = task

    def answers(self) -> list[Answer]:
        try:
            return [(self._task, self._function(self._task))]
        except Exception as error:  # noqa: BLE001  counted, tried again, and told at the end
            return [(self._task, error)]

    def close(self) -> None:
        pass


class _Processes:
    """A child a task at a time. One that dies takes its own attempt with it and no other's."""

    def __init__(self, function: Callable[[Any], Any], count: int) -> None:
        self.room = count
        self._function = function
        self._idle = [Child() for _ in range(count)]
        self._busy: dict[Any, tuple[Child, Any]] = {}

    def submit(self, task: Any) -> None:
        child = self._idle.pop() if self._idle else Child()
        child.send(self._function, task)
        self._busy[child.connection] = child, task

    def answers(self) -> list[Answer]:
        found: list[Answer] = []
        for connection in multiprocessing.connection.wait(list(self._busy)):
            child, task = self._busy.pop(connection)
            try:
                found.append((task, child.receive()))
            except Died as death:
                found.append((task, death))
                continue
            except Exception as error:  # noqa: BLE001  counted, tried again, and told at the end
                found.append((task, error))
            self._idle.append(child)
        return found

    def close(self) -> None:
        for child in [*self._idle, *(child for child, _ in self._busy.values())]:
            child.close()


class _Ray:
    """Ray Core tasks: the cluster that RAY_ADDRESS names, or one on this machine for as long as the job lasts."""

    def __init__(self, function: Callable[[Any], Any], config: Where) -> None:
        import ray

        self._started = not ray.is_initialized()
        if self._started:
            _start_ray(config.workers)
        self.room = IN_FLIGHT_PER_WORKER * (config.workers or int(ray.cluster_resources().get("CPU", 1)))
        self._remote = ray.remote(
            num_cpus=1,
            memory=config.task_memory_gb * 1e9 or None,
            max_retries=RAY_DEATHS,
            max_calls=TASKS_A_RAY_WORKER,
        )(function)
        self._flying: dict[Any, Any] = {}

    def submit(self, task: Any) -> None:
        self._flying[self._remote.options(name=_name(task)).remote(task)] = task

    def answers(self) -> list[Answer]:
        import ray

        found: list[Answer] = []
        done: list[Any] = []
        while not done:
            done, _ = ray.wait(list(self._flying), num_returns=1, timeout=OUTAGE_S)
            if not done and not ray.cluster_resources().get("CPU"):
                print("no node of the Ray cluster has a CPU any more: waiting for one", file=sys.stderr)
        for reference in done:
            task = self._flying.pop(reference)
            try:
                found.append((task, ray.get(reference)))
            except Exception as error:  # noqa: BLE001  counted, tried again, and told at the end
                found.append((task, error))
        return found

    def close(self) -> None:
        import ray

        for reference in self._flying:
            ray.cancel(reference, force=True)
        if self._started:
            ray.shutdown()


def _start_ray(workers: int) -> None:
    """Join the cluster that RAY_ADDRESS names, or start one on this machine."""
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # workers import this package from where the driver did, installed or not
    here = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    options: dict[str, Any] = {"runtime_env": {"env_vars": {"PYTHONPATH": path}}, "logging_level": "error"}
    if "RAY_ADDRESS" not in os.environ:
        options |= {
            "address": "local",  # not whatever cluster somebody left running on this machine
            "num_cpus": workers or cores(),
            "include_dashboard": False,
            "object_store_memory": 100 * 1024**2,  # tasks return small dictionaries: nothing lives there
        }
    try:
        ray.init(log_to_driver=False, **options)
    except ConnectionError as error:
        raise UserError(
            f"no Ray cluster answers at RAY_ADDRESS={os.environ.get('RAY_ADDRESS')} ({error}). "
            "Start one, or unset RAY_ADDRESS to use this machine."
        ) from error


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
