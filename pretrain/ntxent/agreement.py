"""A refusal on one rank is a refusal on all: nobody is left waiting in a collective.

    with agreement(ranks) as shared:      # no communication in one process
        ... raise ValueError(problem) ...
        shared.update(n=n, d=d)           # what must be the same on every rank

On leaving the block every rank knows whether all passed it with the same facts. If not, all raise a ValueError
with one text, which names a rank that is to blame, counted within the group.

Two integers are reduced, on the CPU: the device is not waited for, and views that are not yet computed
need not be. Texts are exchanged only when there is something to say.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
import torch.distributed as dist
from torch.distributed import ProcessGroup

from pretrain.ntxent.distributed import Ranks

_REFUSED = -1


@contextmanager
def agreement(ranks: Ranks) -> Iterator[dict[str, object]]:
    """Raise on every rank what one rank raises, and where the facts differ."""
    shared: dict[str, object] = {}
    refusal: Exception | None = None
    try:
        yield shared
    except (
        ValueError,
        RuntimeError,
        OSError,
    ) as raised:  # the latter two: a device or a library out of order
        if ranks.world == 1:
            raise
        refusal = raised
    if ranks.world > 1:
        problem = None if refusal is None else str(refusal)
        if answers := _answers_unless_all_agree(_Answer(problem, shared), ranks):
            raise ValueError(_verdict(answers)) from refusal


class _Answer(NamedTuple):
    problem: str | None
    shared: dict[str, object]

    def number(self) -> int:
        """Equal for equal facts, in every process, and never negative; or that this rank refuses."""
        if self.problem is not None:
            return _REFUSED
        return int.from_bytes(hashlib.blake2b(repr(self.shared).encode(), digest_size=7).digest())


def _answers_unless_all_agree(ours: _Answer, ranks: Ranks) -> list[_Answer]:
    group = _cpu_group(ranks)
    number = ours.number()
    extremes = torch.tensor([number, -number], device="cpu")
    dist.all_reduce(extremes, dist.ReduceOp.MAX, group=group)
    highest, lowest = extremes[0].item(), -extremes[1].item()
    if highest == lowest != _REFUSED:
        return []
    answers = [ours] * ranks.world
    dist.all_gather_object(answers, ours, group=group)
    return answers


def _verdict(answers: list[_Answer]) -> str:
    """The first problem, else the first difference."""
    for rank, answer in enumerate(answers):
        if answer.problem is not None:
            return f"rank {rank}: {answer.problem}"
    ours = answers[0].shared
    return next(
        f"all ranks need the same {name}: it is {ours[name]} on rank 0 and {answer.shared[name]} on rank {rank}"
        for rank, answer in enumerate(answers)
        for name in ours
        if answer.shared[name] != ours[name]
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
