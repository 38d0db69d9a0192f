"""A fault that does not strike proves nothing: the library that strikes, on a process of three writes."""

import errno
import os
import shutil
import signal
import subprocess
import sys

import pytest

from benchmarks.reliability.launches import striking

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
WRITES = """
import os, sys
handle = os.open(sys.argv[1] + "/new", os.O_WRONLY | os.O_CREAT)
for word in (b"one ", b"two "):
    os.write(handle, word)
os.fsync(handle)
os.rename(sys.argv[1] + "/new", sys.argv[1] + "/file")
"""


def strike(folder, at, kind="kill", rank="1"):
    environment = os.environ | striking(folder, 1, at, kind, folder.parent / "events") | {"RANK": rank}
    command = [sys.executable, "-c", WRITES, str(folder)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def test_events_are_counted(folder):
    assert strike(folder, 0).returncode == 0
    events = [line.split()[2] for line in (folder.parent / "events").read_text().splitlines()]
    assert events == ["write", "write", "flush", "rename"]


@pytest.mark.parametrize(("at", "left"), [(1, b"on"), (2, b"one tw"), (3, b"one two "), (4, b"one two ")])
def test_a_kill_leaves_half_of_its_write(at, left, folder):
    assert strike(folder, at).returncode == -signal.SIGKILL
    assert (folder / "new").read_bytes() == left


def test_a_full_disk_takes_nothing_more(folder):
    done = strike(folder, 2, "full")
    assert f"[Errno {errno.ENOSPC}]" in done.stderr
    assert (folder / "new").read_bytes() == b"one "


def test_other_ranks_are_left_alone(folder):
    assert strike(folder, 1, rank="0").returncode == 0
    assert (folder / "file").read_bytes() == b"one two "
