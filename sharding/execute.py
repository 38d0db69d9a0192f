"""All tasks, on this core, on processes, or on a Ray cluster: `run_task` is the same everywhere.

    tasks  ->  their statistics, in the order of completion

A task that raises ends the job with the task's name; what is complete stays complete, and the next run of the
same command goes on from there.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any

from sharding.config import Executor
from sharding.errors import UserError
from sharding.write import Task, run_task

Stats = dict[str, Any]
IN_FLIGHT_PER_WORKER = 2
"""Tasks handed out ahead of a worker's need: enough to keep it busy, few enough to bound the driver."""
RAY_DEATHS = 3
"""How often Ray runs a task again whose worker or node died."""


class TaskFailed(Exception):
    """A task raised or its worker died; the cause is attached."""


def execute(tasks: Sequence[Task], executor: Executor, workers: int) -> Iterator[tuple[Task, Stats]]:
    """Run tasks with `workers` at a time (0: every core or every CPU of the cluster)."""
    if not tasks:
        return iter(())
    run: Callable[[Sequence[Task], int], Iterator[tuple[Task, Stats]]] = {
        Executor.serial: _serial,
        Executor.processes: _processes,
        Executor.ray: _ray,
    }[executor]
    return run(tasks, workers)


def _serial(tasks: Sequence[Task], _workers: int) -> Iterator[tuple[Task, Stats]]:
    for task in tasks:
        yield task, run_task(task)


def _processes(tasks: Sequence[Task], workers: int) -> Iterator[tuple[Task, Stats]]:
    count = min(workers or _cores(), len(tasks))
    queue, running = iter(tasks), dict[Future[Stats], Task]()
    with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            while True:
                while len(running) < count * IN_FLIGHT_PER_WORKER and (task := next(queue, None)):
                    running[pool.submit(run_task, task)] = task
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    task = running.pop(future)
                    yield task, _result(task, future.result)
        finally:
            pool.shutdown(cancel_futures=True)


def _ray(tasks: Sequence[Task], workers: int) -> Iterator[tuple[Task, Stats]]:
    import ray

    started = not ray.is_initialized()
    if started:
        _start_ray(workers)
    try:
        limit = IN_FLIGHT_PER_WORKER * (workers or int(ray.cluster_resources().get("CPU", 1)))
        remote = ray.remote(num_cpus=1, max_retries=RAY_DEATHS)(run_task)
        queue, running = iter(tasks), dict[Any, Task]()
        while True:
            while len(running) < limit and (task := next(queue, None)):
                running[remote.options(name=f"{task.kind}-{task.number}").remote(task)] = task
            if not running:
                return
            done, _ = ray.wait(list(running), num_returns=1)
            for reference in done:
                task = running.pop(reference)
                yield task, _result(task, partial(ray.get, reference))
    finally:
        if started:
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
            "num_cpus": workers or _cores(),
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


def _result(task: Task, get: Callable[[], Stats]) -> Stats:
    try:
        return get()
    except UserError:
        raise
    except Exception as error:
        raise TaskFailed(f"{task.kind} task {task.number} failed: {error}") from error


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
