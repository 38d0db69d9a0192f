"""What ranks tell each other between two steps, without waiting for any device.

    flags of this rank  ->  for each, whether any rank raised it
The ranks' processes meet over gloo, on the CPU: a GPU goes on with its queue meanwhile. `any` asks and waits for
the other processes. `ask` only asks; `answer`, a step later, waits for what was asked then, which has long
arrived. So what is asked at the end of step k is known, to all ranks alike, at the end of step k + 1.

A signal handler must never speak to another rank: launchers signal ranks one after another, and a rank that is
not yet signalled is in the middle of a step. It sets a flag, and the flag is asked here.
"""

from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist


class Boundary:
    """Every rank makes the same calls in the same order. One rank alone asks itself, at no cost."""

    def __init__(self, patience: timedelta) -> None:
        alone = dist.get_world_size() == 1
        self._group: Any = None if alone else dist.new_group(backend="gloo", timeout=patience)
        self._flags: torch.Tensor | None = None
        self._work: Any = None

    def any(self, flag: bool) -> bool:
        """Whether any rank says so, now."""
        if self._group is None:
            return flag
        flags = torch.tensor([flag], dtype=torch.uint8)
        dist.all_reduce(flags, op=dist.ReduceOp.MAX, group=self._group)
        return bool(flags.item())

    def ask(self, *flags: bool) -> None:
        """Begin to ask; one question at a time is under way."""
        self._flags = torch.tensor(flags, dtype=torch.uint8)
        if self._group is not None:
            self._work = dist.all_reduce(self._flags, op=dist.ReduceOp.MAX, group=self._group, async_op=True)

    def answer(self) -> tuple[bool, ...]:
        """For each flag last asked, whether any rank raised it; nothing when nothing was asked."""
        if self._flags is None:
            return ()
        if self._work is not None:
            self._work.wait()
        flags, self._flags, self._work = self._flags, None, None
        return tuple(bool(flag) for flag in flags.tolist())

    def close(self) -> None:
        """Hear the last answer and part. All ranks call it, or none."""
        self.answer()
        if self._group is not None:
            dist.destroy_process_group(self._group)
            self._group = None
