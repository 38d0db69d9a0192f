"""Molecules that hang or crash are found and named; nothing else is lost, and no process is left behind."""

import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharding import guard
from sharding.child import Child, Died, allocator
from sharding.guard import guarded
from tests.sharding.deadly import busy, grandchild, mapped, work

LIMIT = 0.3


def test_healthy_work_is_one_call():
    assert guarded(work, list(range(1000)), time_limit_s=LIMIT) == (list(range(1000)), {})
    assert guarded(work, [], time_limit_s=LIMIT) == ([], {})


def test_without_a_limit_the_work_is_done_here():
    assert guarded(lambda items: os.getpid(), [1], time_limit_s=0) == (os.getpid(), {})


def test_a_hang_and_a_crash_are_named_and_the_rest_is_done():
    items = [*range(40), "hang", *range(40), "crash", 7]
    made, dead = guarded(work, items, time_limit_s=LIMIT)
    assert dead == {40: "timeout", 81: "crash"}
    assert made == [*range(40), *range(40), 7]


@settings(max_examples=12, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "crash"]), max_size=40))
def test_any_mixture_of_crashes(items):
    made, dead = guarded(work, items, time_limit_s=LIMIT)
    assert dead == {place: "crash" for place, item in enumerate(items) if item == "crash"}
    assert made == [item for item in items if item != "crash"]


def test_waiting_is_no_work():
    """The limit is CPU time: a process that gets none, on a busy machine, is not slow."""
    assert guarded(work, ["sleep"], time_limit_s=LIMIT) == (["sleep"], {})


def test_warming_up_has_no_limit():
    """A minute of compiling in a new child is no molecule's fault."""
    guard.close()
    assert guarded(busy, [0.0], time_limit_s=0.2, warm_up=[1.0]) == ([0.0], {})
    assert guarded(busy, [1.0, 0.0], time_limit_s=0.2, warm_up=[0.5]) == ([0.0], {0: "timeout"})


def test_a_child_allocates_with_the_allocator_that_was_found(monkeypatch):
    loaded = Child()
    loaded.send(mapped, None)
    assert (Path(allocator()).name in loaded.receive()) == bool(allocator())
    loaded.close()
    monkeypatch.setenv("LD_PRELOAD", "")
    plain = Child()
    plain.send(mapped, None)
    assert not allocator() or Path(allocator()).name not in plain.receive()
    plain.close()


def test_a_kill_from_outside_blames_no_molecule():
    with pytest.raises(Died, match="killed"):
        guarded(work, ["a", "kill"], time_limit_s=LIMIT)
    assert guarded(work, ["a"], time_limit_s=LIMIT) == (["a"], {})


def test_an_exception_comes_back_with_its_trace():
    with pytest.raises(ValueError, match="a fault of the program") as caught:
        guarded(work, ["raise"], time_limit_s=LIMIT)
    assert "deadly.py" in caught.value.__notes__[0]
    with pytest.raises(RuntimeError, match="_Unpicklable"):
        guarded(work, ["odd"], time_limit_s=LIMIT)
    assert guarded(work, ["a"], time_limit_s=LIMIT) == (["a"], {})


def test_children_do_not_outlive_their_parent():
    child = Child()
    child.send(grandchild, None)
    grand = child.receive()
    os.kill(grand, 0)
    child.close()  # SIGKILL: it cannot say goodbye to its own child
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _alive(grand):
        time.sleep(0.05)
    assert not _alive(grand)


def _alive(pid: int) -> bool:
    try:
        with Path(f"/proc/{pid}/stat").open() as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
