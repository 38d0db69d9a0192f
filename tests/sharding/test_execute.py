"""Executors: workers die, tasks raise, some never succeed. Every other task is done, once, and the rest is named."""

import errno

import pytest

from sharding.config import Executor, ShardConfig
from sharding.errors import UserError
from sharding.execute import SetAside, execute
from tests.sharding.deadly import Job, attempt

EVERYWHERE = [Executor.serial, Executor.processes, Executor.ray]


def _config(executor, **options):
    return ShardConfig(input="in.smi", output="out", executor=executor, workers=2, **options)


def _run(jobs, config, function=attempt):
    return sorted(result for _, result in execute(jobs, function, config))


def _tries(folder, number):
    return len(list(folder.glob(f"{number}-*")))


@pytest.fixture(scope="module", autouse=True)
def _one_ray():
    """Started once for this module; the executor then uses the one that is there."""
    import ray

    from sharding.execute import _start_ray

    _start_ray(2)
    yield
    ray.shutdown()


@pytest.mark.parametrize("executor", EVERYWHERE)
def test_every_task_once(executor, tmp_path):
    jobs = [Job(str(tmp_path), number, "", 0) for number in range(25)]
    assert _run(jobs, _config(executor)) == list(range(25))
    assert all(_tries(tmp_path, number) == 1 for number in range(25))
    assert _run([], _config(executor)) == []


@pytest.mark.parametrize("executor", EVERYWHERE)
def test_a_task_that_raises_is_tried_again_and_then_set_aside(executor, tmp_path):
    jobs = [Job(str(tmp_path), n, "raise", times) for n, times in enumerate((0, 2, 99, 0, 1))]
    done = []
    with pytest.raises(
        SetAside, match=r"1 tasks failed 3 times .*job 2: .*a fault of the program.*All others"
    ):
        done += [result for _, result in execute(jobs, attempt, _config(executor))]
    assert [_tries(tmp_path, n) for n in range(5)] == [1, 3, 3, 1, 2]


@pytest.mark.parametrize("way", ["crash", "kill"])
def test_a_worker_that_dies_takes_no_other_task_with_it(way, tmp_path):
    jobs = [Job(str(tmp_path), n, way, times) for n, times in enumerate((0, 1, 2, 0, 0, 99))]
    done = []
    with pytest.raises(SetAside, match="job 5: Died"):
        for _, result in execute(jobs, attempt, _config(Executor.processes)):
            done.append(result)
    assert sorted(done) == [0, 1, 2, 3, 4]
    assert [_tries(tmp_path, n) for n in range(6)] == [1, 2, 3, 1, 1, 3]


def test_ray_runs_the_task_of_a_dead_worker_again(tmp_path):
    jobs = [Job(str(tmp_path), n, "kill", times) for n, times in enumerate((0, 1, 2))]
    assert _run(jobs, _config(Executor.ray)) == [0, 1, 2]


@pytest.mark.parametrize("executor", EVERYWHERE)
def test_what_no_attempt_can_mend_stops_at_once(executor, tmp_path):
    with pytest.raises(UserError, match=r"the disk is full: cannot write shard\.tar"):
        _run([Job(str(tmp_path), n, "", 0) for n in range(3)], _config(executor), full)
    with pytest.raises(UserError, match="a mistake"):
        _run([Job(str(tmp_path), n, "", 0) for n in range(3)], _config(executor), mistaken)


def full(_job):
    """As a write to a full disk."""
    raise OSError(errno.ENOSPC, "No space left on device", "shard.tar")


def mistaken(_job):
    """As a task that meets bad input."""
    raise UserError("a mistake")


def test_an_abandoned_job_leaves_no_worker(tmp_path):
    jobs = [Job(str(tmp_path), n, "sleep", 1) for n in range(4)]
    running = execute(jobs, attempt, _config(Executor.processes))
    next(running)
    running.close()  # as Ctrl-C does; `close` ends the workers
