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
HEALTHY_S = 0.02
"""CPU seconds that each item may add to the limit of a call with many: twenty times what a record takes."""
PARTS = 16
"""A call that died is tried again in this many parts."""

_child: Child | None = None
_warm: set[str] = set()
"""Functions that the child has run before."""


def guarded(
    function: Callable[..., Any],
    items: Sequence[Item],
    *arguments: Any,
    time_limit_s: float,
    warm_up: Sequence[Item] = (),
) -> tuple[Any, dict[int, str]]:
    """`function(items, *arguments)` without the items that kill it. A limit of 0 works here, unguarded.

    A new child first works on `warm_up`, without a limit: what is compiled or loaded then, which may take a
    minute on a new machine, is no molecule's fault.
    """
    if time_limit_s <= 0:
        return function(items, *arguments), {}

    def attempt(positions: Sequence[int]) -> Any:
        if warm_up and function.__qualname__ not in _warm:
            _call(function, warm_up, *arguments, cpu_limit_s=0)
            _warm.add(function.__qualname__)
        limit = time_limit_s + HEALTHY_S * len(positions)
        return _call(function, [items[p] for p in positions], *arguments, cpu_limit_s=limit)

    blamed: dict[int, str] = {}
    innocent = 0  # deaths that no single item explains
    while True:
        positions = [position for position in range(len(items)) if position not in blamed]
        try:
            return attempt(positions), blamed
        except Died as death:
            found = _culprits(attempt, positions, death)
            innocent += not found
            if innocent > 1:
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


def _call(function: Callable[..., Any], items: Sequence[Any], *arguments: Any, cpu_limit_s: float) -> Any:
    """In this process's child, which is started when there is none and kept for the next call."""
    global _child
    if _child is None:
        _child = Child()
        _warm.clear()
        atexit.register(close)
    try:
        _child.send(function, items, *arguments, cpu_limit_s=cpu_limit_s)
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
