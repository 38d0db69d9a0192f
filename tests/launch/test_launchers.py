"""Real launchers, as a user starts them: `deepspeed`, two of its "nodes" on one machine, and the supervisor.

A start costs a rank seconds of imports. So the quick tests use ranks that have imported already, and do many
things in one start; those that start launchers are marked slow.
"""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from launch.supervise import newest
from tests.distributed import run_ranks
from tests.launch import in_ranks
from tests.launch.in_ranks import TINY

REPOSITORY = Path(__file__).parents[2]
SCRIPT = str(REPOSITORY / "launch" / "pretrain.py")
DEEPSPEED = str(Path(sys.executable).with_name("deepspeed"))
PATIENCE_S = 600
"""Before a test calls it a hang; nothing waits for it."""


def _environment():
    """That of a user who has never heard of this test, without a rank's variables."""
    kept = {name: value for name, value in os.environ.items() if name not in ("RANK", "PYTHONPATH")}
    return kept | {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "HF_HUB_OFFLINE": "1"}


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


class Launched:
    """A launcher in a session of its own, with what it says in a file."""

    def __init__(self, command, log):
        self.log = log
        with log.open("w") as stream:
            self.process = subprocess.Popen(
                command, cwd="/", env=_environment(), stdout=stream, stderr=stream, start_new_session=True
            )

    def wait(self):
        """Its exit code."""
        return self.process.wait(PATIENCE_S)

    @property
    def said(self):
        return self.log.read_text()

    def wait_for(self, run, step):
        """Until the run has written the metrics of a step."""
        until = time.monotonic() + PATIENCE_S
        while _newest_step(run) < step:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < until, self.said
            time.sleep(0.05)

    def ranks(self):
        """Its ranks' processes, by rank."""
        found = {}
        for child in psutil.Process(self.process.pid).children(recursive=True):
            if SCRIPT in child.cmdline() and "RANK" in (environment := child.environ()):
                found[int(environment["RANK"])] = child.pid
        return [found[rank] for rank in sorted(found)]

    def end(self):
        """Whatever a failed test has left: ranks have process groups of their own, and the session of this."""
        for process in psutil.process_iter():
            with suppress(ProcessLookupError, PermissionError, psutil.NoSuchProcess):
                if os.getsid(process.pid) == self.process.pid:
                    process.kill()
        self.process.wait()


def _newest_step(run):
    try:
        lines = (run / "metrics.jsonl").read_text().splitlines()
        return json.loads(lines[-1])["step"]
    except (FileNotFoundError, IndexError, ValueError):
        return 0


def _losses(run):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return {line["step"]: line["loss"] for line in map(json.loads, lines)}


@contextmanager
def launched(command, folder):
    """The launcher; none of it is left afterwards."""
    running = Launched(list(map(str, command)), folder / f"{len(list(folder.glob('*.log')))}.log")
    try:
        yield running
    finally:
        running.end()


def _watch(pids):
    """Handles that are readable when their process has ended, whosever child it is by then."""
    return [os.pidfd_open(pid) for pid in pids]


def _all_gone(handles):
    ended = [bool(select.select([handle], [], [], PATIENCE_S)[0]) for handle in handles]
    for handle in handles:
        os.close(handle)
    return all(ended)


def _arguments(shards_folder, run, **train):
    given = {"steps": 24, "save_every": 8, "zero_stage": 2, "precision": "bfloat16"} | train
    return [
        f"data={shards_folder}",
        f"run={run}",
        *TINY,
        *(f"train.{name}={value}" for name, value in given.items()),
    ]


def _deepspeed(*options):
    return [DEEPSPEED, *options, "--master_port", _free_port(), SCRIPT]


CELLS = [(stage, precision) for stage in (0, 1, 2, 3) for precision in ("float32", "bfloat16")]
MISTAKES = {
    "another model": "projection",
    "no manifest": "manifest",
    "an odd batch": "train.batch=15 molecules cannot be shared equally by 2 ranks",
    "too few lanes": "lanes",
    "no such stage": "train.zero_stage=4: DeepSpeed has 0, 1, 2 and 3",
    "two supervisors": "this is a rank already",
}


@pytest.fixture(scope="module")
def doors(shards_folder, tmp_path_factory):
    """All that the quick tests look at, in one start of two ranks."""
    folder = tmp_path_factory.mktemp("doors")
    bare = shutil.copytree(shards_folder, folder / "bare")
    (bare / "manifest.json").unlink()

    def command(run, **train):
        return _arguments(shards_folder, folder / run, **{"steps": 2} | train)

    commands = {
        f"{stage} {kind}": command(f"{stage}-{kind}", zero_stage=stage, precision=kind)
        for stage, kind in CELLS
    }
    commands |= {
        "another model": [*command("0-float32"), "model.projection=8"],
        "no manifest": _arguments(bare, folder / "new"),
        "an odd batch": command("new", batch=15),
        "too few lanes": command("new", lanes=1),
        "no such stage": command("new", zero_stage=4),
        "two supervisors": [*command("new"), "supervise.ranks=2"],
    }
    return folder, run_ranks(in_ranks.doorways, 2, folder, commands)


def test_every_stage_and_type_trains(doors):
    """ZeRO 0 to 3 in both types: the same losses in every stage."""
    folder, found = doors
    for stage, kind in CELLS:
        assert [each[f"{stage} {kind}"][0] for each in found] == [0, 0], found[0][f"{stage} {kind}"][1]
        expected = pytest.approx(_losses(folder / f"0-{kind}"), rel=1e-4 if kind == "float32" else 2e-2)
        assert _losses(folder / f"{stage}-{kind}") == expected


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_the_same_line_on_every_rank(name, doors):
    """Exit code 2 on all of them, nobody left waiting for another, and nothing made."""
    folder, found = doors
    for code, said in [each[name] for each in found]:
        assert code == 2
        assert said.startswith("error: ")
        assert said.count("\n") == 1
        assert MISTAKES[name] in said
    assert found[0][name] == found[1][name]
    assert not (folder / "new").exists()


@pytest.fixture(scope="module")
def straight(shards_folder, tmp_path_factory):
    """Losses of two ranks of one launcher that nothing has happened to."""
    folder = tmp_path_factory.mktemp("straight")
    with launched(
        [*_deepspeed("--num_gpus", "2"), *_arguments(shards_folder, folder / "run")], folder
    ) as running:
        assert running.wait() == 0, running.said
    return _losses(folder / "run")


@pytest.mark.slow
def test_two_nodes_are_one_machine_with_two_ranks(straight, shards_folder, tmp_path):
    """A hostfile of two names, and the launcher on each without ssh."""
    (tmp_path / "hosts").write_text("first slots=1\nsecond slots=1\n")
    address = ["--master_addr", "127.0.0.1", "--master_port", _free_port()]
    arguments = [SCRIPT, *_arguments(shards_folder, tmp_path / "run")]
    launcher = [DEEPSPEED, "--hostfile", tmp_path / "hosts", "--no_ssh", *address]
    with (
        launched([*launcher, "--node_rank", "0", *arguments], tmp_path) as first,
        launched([*launcher, "--node_rank", "1", *arguments], tmp_path) as second,
    ):
        assert first.wait() == 0, first.said
        assert second.wait() == 0, second.said
    assert _losses(tmp_path / "run") == straight


@pytest.mark.slow
def test_a_supervised_run_loses_a_rank_and_nothing_else(straight, shards_folder, tmp_path):
    """SIGKILL to one: both are started again, and each step's loss is that of a run that nothing has happened to."""
    command = [sys.executable, SCRIPT, *_arguments(shards_folder, tmp_path / "run"), "supervise.ranks=2"]
    with launched([*command, "supervise.pause_s=0"], tmp_path) as running:
        running.wait_for(tmp_path / "run", step=10)
        ranks = running.ranks()
        handles = _watch(ranks)
        os.kill(ranks[1], signal.SIGKILL)
        assert running.wait() == 0, running.said
        assert "rank 1 was ended by SIGKILL" in running.said
        assert "restart 1 of 3 in 0 s, from the checkpoint of step " in running.said
        assert _all_gone(handles)
    assert _losses(tmp_path / "run") == straight
    assert "\nsupervise:" not in (tmp_path / "run" / "config.yaml").read_text()


@pytest.mark.slow
def test_a_supervised_run_meets_damage_signals_and_mistakes(shards_folder, tmp_path):
    """Stopped and saved; a bit flipped in what was saved; gone on from the one before; then a mistake, said once."""
    run = tmp_path / "run"
    command = [sys.executable, SCRIPT, *_arguments(shards_folder, run, steps=100_000), "supervise.ranks=2"]
    with launched(command, tmp_path) as running:
        running.wait_for(run, step=9)
        handles = _watch(running.ranks())
        running.process.send_signal(signal.SIGTERM)
        assert running.wait() == 75, running.said
        assert _all_gone(handles)
    saved = newest(run)
    assert saved >= 9
    in_ranks.flip_a_bit(run / "checkpoints" / f"step-{saved}" / "rank-1.safetensors")
    with launched(command, tmp_path) as running:
        running.wait_for(run, step=saved + 1)
        handles = _watch(running.ranks())
        running.process.kill()  # and not even this leaves ranks behind
        running.wait()
        assert running.said.count(f"step-{saved} is damaged") == 1
        assert _all_gone(handles)
    with launched([*command, f"run={tmp_path}/other", "train.lanes=1"], tmp_path) as running:
        assert running.wait() == 2, running.said
        # a machine so busy that the first rank takes long to leave may let the second say it too
        told = [line for line in running.said.splitlines() if not line.startswith("[rank 1] error: 1 lanes")]
        assert told == [
            "error: 1 lanes cannot be shared by 2 ranks. Set train.lanes to a multiple of 2 that divides train.batch."
        ]


SIGNALLED = [
    ("runner", "SIGTERM", -signal.SIGTERM),
    ("one rank", "SIGUSR1", 75),
    ("all ranks", "SIGTERM", 75),
]


@pytest.mark.slow
@pytest.mark.parametrize(("whom", "name", "code"), SIGNALLED)
def test_a_signal_to_deepspeed_saves_and_ends_all(whom, name, code, shards_folder, tmp_path):
    """To any part of it. A runner that was killed itself has no exit code to give."""
    run = tmp_path / "run"
    arguments = _arguments(shards_folder, run, steps=100_000)
    with launched([*_deepspeed("--num_gpus", "2"), *arguments], tmp_path) as running:
        running.wait_for(run, step=2)
        ranks = running.ranks()
        node = psutil.Process(ranks[0]).ppid()
        places = {
            "runner": [running.process.pid],
            "one rank": ranks[1:],
            "all ranks": ranks,
        }
        handles = _watch([node, *ranks])
        for process in places[whom]:
            os.kill(process, getattr(signal, name))
        assert running.wait() == code, running.said
        assert _all_gone(handles)
    assert newest(run) > 0, running.said
