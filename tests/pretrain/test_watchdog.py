"""The watchdog: a rank that hangs in a collective says where, and leaves."""

import threading

import pytest

from pretrain.watchdog import Watchdog
from tests.distributed import run_ranks
from tests.pretrain import step_ranks


def test_a_rank_that_hangs_in_a_collective_says_where(tmp_path):
    with pytest.raises(RuntimeError, match="process 1 terminated with exit code 124"):
        run_ranks(step_ranks.hanging, 2, tmp_path, str(tmp_path / "stacks"), 0.5)
    told = (tmp_path / "stacks" / "rank-1.txt").read_text()
    assert told.startswith("rank 1: nothing ended for 0 s after step 7")
    assert "all_reduce" in told
    assert "hanging" in told
    assert not (tmp_path / "stacks" / "rank-0.txt").exists()


def test_it_lets_go(tmp_path):
    with Watchdog(1e9, tmp_path / "stacks", 0) as watchdog:
        watchdog.alive("step 1")
        assert "watchdog" in {thread.name for thread in threading.enumerate()}
    assert "watchdog" not in {thread.name for thread in threading.enumerate()}
    with Watchdog(0, tmp_path / "stacks", 0):
        assert "watchdog" not in {thread.name for thread in threading.enumerate()}
    assert not (tmp_path / "stacks").exists()
