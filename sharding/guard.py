"""Work on many molecules that survives any one of them: a molecule that hangs or crashes RDKit is found and named.

    guarded(function, items)  ->  function(the items that can be worked on), {position: "timeout" or "crash"}

The function works in a child process under a limit of CPU time. When the child dies, the items are tried again
in ever smaller parts until single ones remain to blame, and then without those. Healthy items never wait for
this: one message there and back a few hundred molecules.
"""

import atexit
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sharding.child import Child, Died

Item = TypeVar("Item")
HEALTHY_S = 0.05
"""CPU seconds that each item may add to the limit of a call with many: twenty times what a slow record takes."""
PARTS = 16
"""A call that died is tried again in this many parts."""

_child: Child | None = None


def guarded(
    function: Callable[..., Any], items: Sequence[Item], *arguments: Any, time_limit_s: float
) -> tuple[Any, dict[int, str]]:
    """`function(items, *arguments)` without the items that kill it. A limit of 0 works here, unguarded."""
    if time_limit_s <= 0:
        return function(items, *arguments), {}

    def attempt(positions: Sequence[int]) -> Any:
        return _call(function, [items[p] for p in positions], *arguments, time_limit_s=time_limit_s)

    blamed: dict[int, str] = {}
    while True:
        positions = [position for position in range(len(items)) if position not in blamed]
        try:
            return attempt(positions), blamed
        except Died as death:
            found = _culprits(attempt, positions, death)
            if not found:
                raise
            blamed |= found


def _culprits(
    attempt: Callable[[Sequence[int]], Any], positions: Sequence[int], death: Died
) -> dict[int, str]:
    """Which of these positions kill the child by themselves. `death` is what all of them together did."""
    if death.reason == "killed":  # by the system or a person: no molecule's fault
        raise death
    if len(positions) == 1:
        return {positions[0]: death.reason}
    found: dict[int, str] = {}
    size = -(-len(positions) // PARTS)
    for start in range(0, len(positions), size):
        part = positions[start : start + size]
        try:
            attempt(part)
        except Died as smaller:
            found |= _culprits(attempt, part, smaller)
    return found


def _call(function: Callable[..., Any], items: Sequence[Any], *arguments: Any, time_limit_s: float) -> Any:
    """In this process's child, which is started when there is none and kept for the next call."""
    global _child
    if _child is None:
        _child = Child()
        atexit.register(close)
    try:
        _child.send(function, items, *arguments, cpu_limit_s=time_limit_s + HEALTHY_S * len(items))
        return _child.receive()
    except Died:
        _child = None
        raise


def close() -> None:
    """End this process's child, if it has one."""
    global _child
    if _child is not None:
        _child.close()
        _child = None
