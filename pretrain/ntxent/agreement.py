"""A refusal on one rank is a refusal on all: nobody is left waiting in a collective.

    with agreement(ranks) as shared:      # no communication in one process
        ... raise ValueError(problem) ...
        shared.update(n=n, d=d)           # what must be the same on every rank

On leaving the block every rank knows whether all passed it and share the same facts. If not, all raise one
ValueError with one text, which names a rank that is to blame, counted within the group.

Two integers are reduced, on the CPU: the device is not waited for, and views that are not yet computed
need not be. Texts are exchanged only when there is something to say.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

import torch
import torch.distributed as dist
from torch.distributed import ProcessGroup

from pretrain.ntxent.distributed import Ranks

_REFUSED = -1


@contextmanager
def agreement(ranks: Ranks) -> Iterator[dict[str, object]]:
    """Raise on every rank what one rank raises, and ValueError where the facts differ."""
    shared: dict[str, object] = {}
    problem = None
    try:
        yield shared
    except ValueError as refused:
        if ranks.world == 1:
            raise
        problem = str(refused)
    if ranks.world > 1:
        _compare(problem, shared, ranks)


def _compare(problem: str | None, shared: dict[str, object], ranks: Ranks) -> None:
    group = _cpu_group(ranks)
    mark = _REFUSED if problem is not None else _fingerprint(shared)
    bounds = torch.tensor([mark, -mark])
    dist.all_reduce(bounds, dist.ReduceOp.MAX, group=group)
    highest, lowest = bounds[0].item(), -bounds[1].item()
    if highest == lowest != _REFUSED:
        return
    everyone: list[tuple[str | None, dict[str, object]]] = [(None, {})] * ranks.world
    dist.all_gather_object(everyone, (problem, shared), group=group)
    raise ValueError(_verdict(everyone))


def _fingerprint(shared: dict[str, object]) -> int:
    """A number that is never negative, equal for equal facts and in every process."""
    return int.from_bytes(hashlib.blake2b(repr(shared).encode(), digest_size=7).digest())


def _verdict(everyone: list[tuple[str | None, dict[str, object]]]) -> str:
    """The first problem, else the first difference."""
    for rank, (problem, _) in enumerate(everyone):
        if problem is not None:
            return f"rank {rank}: {problem}"
    (_, ours), *_ = everyone
    return next(
        f"all ranks need the same {name}: it is {ours[name]} on rank 0 and {theirs[name]} on rank {rank}"
        for rank, (_, theirs) in enumerate(everyone)
        for name in ours
        if theirs[name] != ours[name]
    )


_cpu_groups: WeakKeyDictionary[ProcessGroup, ProcessGroup] = WeakKeyDictionary()


def _cpu_group(ranks: Ranks) -> ProcessGroup:
    """The same ranks over gloo, made at their first meeting."""
    group = dist.group.WORLD if ranks.group is None else ranks.group
    assert group is not None, "several ranks have a group"
    if group not in _cpu_groups:
        members = dist.get_process_group_ranks(group)
        _cpu_groups[group] = dist.new_group(members, backend="gloo", use_local_synchronization=True)
    return _cpu_groups[group]
