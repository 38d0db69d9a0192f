"""Memory that runs out: the step is done again with half as many molecules at once, and the run goes on.

    torch.OutOfMemoryError on any rank  ->  all ranks drop their gradients, halve the chunk, and repeat the step
Where the error comes up, this process is in the middle of its own work, and the others go on to the next place
where they need it, and wait there. So ranks agree where each has done its own work and before all meet: after the
forward, and after the backward. Nothing has changed until then but gradients, which are dropped.

Repeating works               alone: forward, loss and backward, on every ZeRO stage
                              several ranks: forward on ZeRO 0 to 2; backward on ZeRO 0 and 1, and on 2 when cut
It cannot work on several ranks where an encoder itself meets the others (ZeRO-3 gathers weights, an uncut ZeRO-2
shares gradients as they come), in the loss, and in the optimizer's first step: the run ends and says what to set.

The gradient is that of the same molecules in smaller chunks (pretrain/cached.py): the same without dropout, to
rounding; with dropout, that of the new cut, whose seeds are functions of it. The chunk in effect is part of a
checkpoint, so a resumed run does not run out again, unless it asks for another; `train.chunk` in config.yaml stays what
was asked.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist

from pretrain.boundary import Boundary
from sharding.errors import UserError


class Memory:
    """How many of a rank's molecules go through the encoders at once. Every rank makes the same calls."""

    def __init__(self, engine: Any, boundary: Boundary, share: int, chunk: int) -> None:
        self.engine, self.boundary, self.share = engine, boundary, share
        self.chunk = self.asked = chunk
        self.alone, self.stage = dist.get_world_size() == 1, engine.zero_optimization_stage()
        self._short = False

    @property
    def cut(self) -> bool:
        """Whether a rank's molecules go through the encoders in more than one chunk."""
        return 0 < self.chunk < self.share

    @property
    def forward_is_own(self) -> bool:
        """Whether encoders meet no other rank in their forward."""
        return self.alone or self.stage < 3

    @property
    def backward_is_own(self) -> bool:
        """Whether they meet none in their backward, gradients being reduced after it: see `one_reduction`."""
        return self.alone or self.stage < 2 or (self.stage == 2 and self.cut)

    @contextmanager
    def watching(self, own: bool) -> Iterator[None]:
        """Work on the device. What runs out is noted where nobody waits for this rank in here, else the end."""
        try:
            yield
        except torch.OutOfMemoryError as error:
            if not own:
                drop_gradients(self.engine)  # nothing is left to share on the way out
                raise UserError(f"{_first_line(error)} {self.advice()}") from error
            self._short = True

    def ran_out(self, own: bool) -> bool:
        """Whether any rank's memory did, so that the step has to be done again. Asked where `watching` notes it."""
        if not own or not self.boundary.any(self._short):
            return False
        self._short = False
        drop_gradients(self.engine)
        return True

    def halve(self) -> None:
        """Half as many at once."""
        now = min(self.chunk or self.share, self.share)
        if now == 1:
            raise UserError(
                "the device has no memory for a single molecule at a time: a smaller train.batch (the loss holds its "
                "vectors), a smaller model, a higher train.zero_stage, or a device with more."
            )
        self.chunk = -(-now // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def state(self) -> dict[str, int]:
        """For a checkpoint."""
        return {"chunk": self.chunk, "asked": self.asked}

    def restore(self, state: Mapping[str, int]) -> None:
        """The chunk in effect, unless another one is asked for now."""
        if state["asked"] == self.asked:
            self.chunk = state["chunk"]

    def advice(self) -> str:
        """What to set where the step cannot be done again."""
        half = -(-min(self.chunk or self.share, self.share) // 2)
        return (
            f"On {dist.get_world_size()} ranks with train.zero_stage={self.stage} a step cannot be done again after "
            f"that. Run the same command with train.chunk={half}."
        )


def drop_gradients(engine: Any) -> None:
    """As if the backward had not begun, whatever of forward and backward was done.

    DeepSpeed counts a backward that an exception has left as still going on, and ZeRO-3 keeps the weights that
    were gathered for it.
    """
    for parameter in engine.module.parameters():
        parameter.grad = None
    if engine.zero_optimization_stage():
        engine.optimizer.exit_backward()
    engine.empty_partition_cache()


def _first_line(error: BaseException) -> str:
    line = str(error).strip().splitlines()[0] if str(error).strip() else "Out of memory"
    return line.split(". ")[0].rstrip(".") + "."
