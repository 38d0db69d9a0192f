"""Signals: a run that is asked to stop finishes its step, saves and leaves; and the same command goes on."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pretrain import checkpoint, engine
from pretrain.stop import SIGNALS, Stop
from tests.distributed import run_ranks
from tests.pretrain import ranks, step_ranks

ROOT = Path(__file__).parents[2]
LOOK_S = 0.05
"""Between two looks at another process; the time limit of the tests ends one that never comes."""


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_sets_a_flag_and_handlers_come_back(number):
    before = [signal.getsignal(each) for each in SIGNALS]
    with Stop() as stop:
        assert stop.asked == ""
        os.kill(os.getpid(), number)
        assert stop.asked == signal.Signals(number).name
        os.kill(os.getpid(), signal.SIGTERM)  # a launcher's, after the terminal's
        assert stop.asked == signal.Signals(number).name
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_a_second_interrupt_means_now():
    with pytest.raises(KeyboardInterrupt), Stop():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_another_thread_installs_nothing():
    """As a library in somebody's thread: signals are the program's."""
    before, found = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with Stop() as stop:
            found.append((signal.getsignal(signal.SIGTERM), stop.asked))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(before, "")]


def test_one_rank_is_told_and_all_save_and_leave(shards_folder, tmp_path):
    """SIGTERM to one of two ranks in step 2; resumed, it is the run that was never stopped, dropout on."""
    straight, stopped = (
        ranks.config(str(shards_folder), str(tmp_path / name), {"dropout": 0.1}, steps=6, save_every=6)
        for name in ("straight", "stopped")
    )
    found = run_ranks(step_ranks.stopped_and_straight, 2, tmp_path, straight, stopped, 2)
    for rank, (expected, (message, code), resumed) in enumerate(found):
        assert code == 75
        assert "after step 3, which is saved" in message  # told at the end of step 2, known at the end of 3
        assert ("SIGTERM" in message) == (rank == 1)
        assert resumed["steps"] == expected["steps"]
        assert resumed["losses"] == expected["losses"]
        assert resumed["weights"] == expected["weights"]
    assert checkpoint.steps(tmp_path / "stopped" / "checkpoints") == [3, 6]


def command(shards_folder, run, **options):
    """`launch/pretrain.py` at toy width, for a real process."""
    given = {
        "data": shards_folder,
        "run": run,
        "train.batch": 16,
        "train.lanes": 4,
        "train.head_start": 0,
        "train.steps": 100_000,
        "train.log_every": 1,
        "train.save_every": 100_000,
        "train.evaluate_every": 100_000,
        "evaluation.held_out": 32,
        **{f"model.{name}": value for name, value in step_ranks.TINY.items()},
        **options,
    }
    return [str(ROOT / "launch/pretrain.py"), *(f"{name}={value}" for name, value in given.items())]


def wait_for_step(process, run):
    """Until the run has a line of metrics."""
    metrics = run / "metrics.jsonl"
    while not metrics.is_file() or not metrics.read_text():
        assert process.poll() is None, process.communicate()
        time.sleep(LOOK_S)
    return json.loads(metrics.read_text().splitlines()[0])["step"]


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, *(pytest.param(n, marks=pytest.mark.slow) for n in SIGNALS[1:])]
)
def test_a_real_process_saves_and_leaves(number, shards_folder, tmp_path):
    run = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, *command(shards_folder, run)], stderr=subprocess.PIPE, text=True
    )
    wait_for_step(process, run)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 75, said
    (step,) = checkpoint.steps(run / "checkpoints")
    assert checkpoint.damage(run / "checkpoints" / f"step-{step}") is None
    assert said.splitlines()[-1] == (
        f"stopped by {signal.Signals(number).name} after step {step:,}, which is saved. "
        "The same command goes on from there."
    )
    assert "Traceback" not in said


def family(process):
    """The processes below one, by id."""
    children = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = file.read_text().rpartition(")")
        except OSError:
            continue
        children.setdefault(int(rest.split()[1]), []).append(int(name.split()[0]))
    found, left = [], [process]
    while left:
        below = children.get(left.pop(), [])
        found += below
        left += below
    return found


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc and prctl(2) are Linux's")
@pytest.mark.parametrize(
    ("victim", "number"),
    [("runner", signal.SIGKILL), ("launcher", signal.SIGKILL)],
)
def test_a_dead_launcher_leaves_no_orphan(victim, number, shards_folder, tmp_path):
    """Two ranks under `deepspeed`, of whose processes one is killed: the ranks save and leave."""
    run = tmp_path / "run"
    runner = subprocess.Popen(
        [
            *(Path(sys.executable).with_name("deepspeed"), "--num_gpus", "2"),
            *("--master_port", str(engine._free_port())),
            *command(shards_folder, run),
        ],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    wait_for_step(runner, run)
    below = family(runner.pid)
    assert len(below) >= 3  # the node's launcher and two ranks
    os.kill(runner.pid if victim == "runner" else below[0], number)
    runner.wait(timeout=60)
    while any(Path(f"/proc/{process}").exists() for process in below):
        time.sleep(LOOK_S)
    (step,) = checkpoint.steps(run / "checkpoints")
    assert checkpoint.damage(run / "checkpoints" / f"step-{step}") is None
