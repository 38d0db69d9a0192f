"""The supervisor with toy ranks, a few lines each: what it starts, forwards, restarts and never leaves behind."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from launch import pretrain, ranks
from launch.config import SupervisionConfig
from launch.ranks import Signals
from launch.supervise import supervise
from sharding.errors import Ended

REPOSITORY = Path(__file__).parents[2]
TOY = """
import json, os, signal, sys
from pathlib import Path
folder, rank = Path({folder!r}), int(os.environ["RANK"])
log = open(folder / f"rank-{{rank}}.log", "a")
first = log.tell() == 0
def tell(word): print(word, file=log, flush=True)
def publish(step):
    (folder / "checkpoints" / f"step-{{step}}").mkdir(parents=True)
    (folder / "checkpoints" / f"step-{{step}}" / "MANIFEST.json").touch()
STOPS = signal.SIGTERM, signal.SIGINT, signal.SIGUSR1
tell("started")
"""
READY = """
signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
if rank:
    open(folder / "ready", "w").close()  # a FIFO: until the first rank has opened it too
else:
    open(folder / "ready").close()
"""
"""Both ranks hold back signals to stop, and know of each other that they do."""


def _supervise(folder, body, count=2, **options):
    """`supervise` here, with ranks that run `body`."""
    command = [sys.executable, "-c", TOY.format(folder=str(folder)) + body]
    return supervise(SupervisionConfig(ranks=count, **{"pause_s": 0.01} | options), command, folder)


def _starts(folder, rank=0):
    return (folder / f"rank-{rank}.log").read_text().split().count("started")


def test_ranks_know_their_place(tmp_path, capfd):
    """And the first one's output stays as it is, the others' is named."""
    places = """
names = "RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE MASTER_ADDR MASTER_PORT".split()
(folder / f"{rank}.json").write_text(json.dumps([os.environ[name] for name in names]))
print("one\\ntwo", end="")
"""
    assert _supervise(tmp_path, places, count=3) == 0
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(3)]
    port = found[0][-1]
    assert found == [[str(rank), "3", str(rank), "3", "127.0.0.1", port] for rank in range(3)]
    told = capfd.readouterr()
    assert told.out == "one\ntwo"
    assert sorted(told.err.splitlines()) == [
        f"[rank {rank}] {word}" for rank in (1, 2) for word in ("one", "two")
    ]


def test_the_port_is_held_for_the_first_rank():
    """Nobody else is given it, and a listener that reuses addresses, as torch's does, gets it."""
    with ranks._held_port() as port, socket.socket() as other, socket.socket() as listener:
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", port))
        listener.listen()
        socket.create_connection(("127.0.0.1", port)).close()


@pytest.mark.parametrize("code", [0, 2, 3, 75, 130])
def test_an_end_in_good_order_is_the_runs_end(code, tmp_path):
    assert _supervise(tmp_path, f"sys.exit({code})") == code
    assert _starts(tmp_path) == 1


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "rank 1 was ended by SIGKILL (by hand, or because memory"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "rank 1 was ended by SIGSEGV; restart 1 of 3"),
        ("sys.exit(1)", "rank 1 ended with exit code 1; restart 1 of 3"),
        ("sys.exit(124)", "rank 1 hung (exit code 124)"),
    ],
)
def test_a_rank_that_dies_is_no_end(end, said, tmp_path, capfd):
    """All are started again; the other rank, which would have waited for ever, too."""
    body = f"""
if first and rank:
    publish(7)
    {end}
if first:
    signal.pause()
"""
    assert _supervise(tmp_path, body) == 0
    assert _starts(tmp_path, 0) == _starts(tmp_path, 1) == 2
    told = capfd.readouterr().err
    assert said in told
    assert "from the checkpoint of step 7." in told


def test_restarts_are_counted(tmp_path, capfd):
    with pytest.raises(
        Ended, match=r"rank 0 ended with exit code 1, after 2 of supervise\.restarts=2"
    ) as ended:
        _supervise(tmp_path, "sys.exit(1)", count=1, restarts=2)
    assert ended.value.code == 1
    assert _starts(tmp_path) == 3
    assert "restart 2 of 2" in capfd.readouterr().err


def test_restarts_that_get_nowhere_are_few(tmp_path):
    """Six attempts reach a new checkpoint each, then three restarts reach none. A signal's code is the shell's."""
    body = """
done = len(list(folder.glob("checkpoints/*")))
if done < 6:
    publish(done + 1)
os.kill(os.getpid(), signal.SIGKILL)
"""
    with pytest.raises(
        Ended, match=r"3 restarts in a row got no further.*from the checkpoint of step 6"
    ) as ended:
        _supervise(tmp_path, body, count=1, restarts=100, pause_s=0)
    assert ended.value.code == 128 + signal.SIGKILL
    assert _starts(tmp_path) == 6 + 3


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP"])
def test_a_signal_reaches_every_rank_once(name, tmp_path):
    """And what they answer is the exit code, without a restart."""
    os.mkfifo(tmp_path / "ready")
    body = (
        READY
        + f"""
if not rank:
    os.kill(os.getppid(), signal.{name})
tell(signal.Signals(signal.sigwait(STOPS)).name)
tell(len(signal.sigpending()))
sys.exit(75)
"""
    )
    before = signal.getsignal(signal.SIGTERM)
    assert _supervise(tmp_path, body) == 75
    expected = ["started", "SIGTERM" if name == "SIGHUP" else name, "0"]
    for rank in (0, 1):
        assert (tmp_path / f"rank-{rank}.log").read_text().split() == expected
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(("saved", "code"), [("", 130), ("publish(3)", 75)])
def test_ranks_that_are_only_starting_have_nothing_to_save(saved, code, tmp_path):
    body = f"{saved}\nos.kill(os.getppid(), signal.SIGTERM)\nsignal.pause()"
    with pytest.raises(Ended, match="SIGTERM: stopped before there was anything new to save") as ended:
        _supervise(tmp_path, body, count=1)
    assert ended.value.code == code


def test_ranks_that_do_not_leave_are_killed(tmp_path):
    os.mkfifo(tmp_path / "ready")
    body = READY + "if not rank:\n    os.kill(os.getppid(), signal.SIGTERM)\nwhile True:\n    signal.pause()"
    with pytest.raises(Ended, match=r"did not leave within supervise\.grace_s and were killed") as ended:
        _supervise(tmp_path, body, grace_s=0.2)
    assert ended.value.code == 1


def test_a_rank_that_waits_for_a_dead_one_is_killed(tmp_path, monkeypatch):
    """It sits in a collective, deaf to signals; its own group goes with it."""
    monkeypatch.setattr(ranks, "LEAVING_S", 0.2)
    os.mkfifo(tmp_path / "ready")
    body = (
        READY
        + """
if rank:
    sys.exit(1)
import subprocess
tell(subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]).pid)
signal.sigwait([signal.SIGUSR2])
"""
    )
    with pytest.raises(Ended, match=r"rank 1 ended with exit code 1, after 0 of supervise\.restarts=0"):
        _supervise(tmp_path, body, restarts=0)
    child = int((tmp_path / "rank-0.log").read_text().split()[1])
    assert not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2]


def test_no_rank_outlives_its_supervisor(tmp_path):
    """SIGKILL to the supervisor: nothing of it can run any more, and its ranks end."""
    os.mkfifo(tmp_path / "ready")
    os.mkfifo(tmp_path / "pids")
    body = (
        READY
        + """
with open(folder / "pids", "w") as stream:
    stream.write(f"{os.getpid()}\\n")
signal.sigwait([signal.SIGUSR2])
"""
    )
    toy = [sys.executable, "-c", TOY.format(folder=str(tmp_path)) + body]
    code = f"""
from pathlib import Path
from launch.config import SupervisionConfig
from launch.supervise import supervise
supervise(SupervisionConfig(ranks=2), {toy!r}, Path({str(tmp_path)!r}))
"""
    supervisor = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY)
    try:
        pids = []
        while len(pids) < 2:
            pids += (tmp_path / "pids").read_text().split()
        alive = [os.pidfd_open(int(pid)) for pid in pids]
    finally:
        supervisor.kill()
        supervisor.wait()
    for handle in alive:  # readable when its process has ended
        assert select.select([handle], [], [], 30)[0]
        os.close(handle)


def test_a_pause_ends_with_a_signal():
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGUSR1)
        signals.wait(600)
        assert signals.stopped_by is signal.SIGUSR1


@pytest.mark.parametrize(
    ("environment", "options", "words"),
    [
        (
            {"RANK": "0"},
            ["supervise.ranks=2"],
            "this is a rank already (RANK is set). Use python in place of",
        ),
        ({}, ["supervise.restarts=5"], "supervise.* needs supervise.ranks=N"),
        ({}, ["supervise.ranks=-1"], "supervise.ranks=-1 is negative"),
    ],
)
def test_supervision_that_nobody_would_follow(environment, options, words, tmp_path, monkeypatch, capsys):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert pretrain.main([f"data={tmp_path}/none", f"run={tmp_path}/run", *options]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
