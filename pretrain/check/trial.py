"""A few real steps, an evaluation, and a checkpoint there and back: all with the parts that a run has.

Trial.step, Trial.evaluation, Trial.round_trip  ->  lines of the account, and what each took
"""

import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from pretrain import checkpoint
from pretrain.batch import Batch, Prefetch
from pretrain.check.account import Account
from pretrain.checkpoint.agreement import from_first, gather
from pretrain.checkpoint.fragments import held, tensors
from pretrain.config import PretrainConfig
from pretrain.engine import set_learning_rate
from pretrain.evaluation import Evaluation
from pretrain.guard import Guard
from pretrain.labelled import Labelled
from pretrain.memory import Memory
from pretrain.plan import StepMolecules
from pretrain.progress import peak_memory_gb
from pretrain.record import Record
from pretrain.step import Outcome, seed_dropout, train_step
from sharding.errors import UserError
from sharding.progress import ProgressLine, in_bytes

TIMED_S, MOST_STEPS = 5.0, 20
"""Steps that are timed: for about so long, and not more of them."""
NEAR = 0.9
"""Part of the memory from which on it is near its limit."""


@dataclass
class Trial:
    """An engine that may be spoilt: nothing of it is kept."""

    account: Account
    config: PretrainConfig
    engine: Any
    guard: Guard
    memory: Memory
    batches: Prefetch[StepMolecules]
    number: int
    """Of the step that was done last."""

    def step(self) -> Outcome:
        """The next one, as the loop does it; waits for the device."""
        self.number += 1
        set_learning_rate(self.engine, self.number, self.config.train)
        seed = partial(seed_dropout, self.config.train.seed, self.number, dist.get_rank())
        molecules = next(self.batches)
        outcome = train_step(self.engine, molecules.cut, seed, self.config.loss, self.guard, self.memory)
        self.guard.note(self.number, outcome.verdict, outcome.refused, outcome.stray)
        if self.engine.device.type == "cuda":
            torch.cuda.synchronize(self.engine.device)
        return outcome

    def steps(self) -> float:
        """One to warm up, then some that are timed; seconds of one."""
        train, begun = self.config.train, time.perf_counter()
        first = self.step()
        slowest = max(gather(time.perf_counter() - begun))
        count = max(1, min(MOST_STEPS, int(TIMED_S / slowest)))
        begun = time.perf_counter()
        for _ in range(count):
            self.step()
        seconds = max(gather((time.perf_counter() - begun) / count))
        norm, bad = self.engine.get_global_grad_norm(), self.guard.settle()
        said = (
            f"{seconds:.3g} s, {train.batch / seconds:,.0f} molecules/s; loss {first.verdict.loss.item():.3f}, "
            f"chance {math.log(2 * train.batch - 1):.3f}; norm of the gradient {float(norm):.3g}"
        )
        if bad:
            self.account.problem(
                "step",
                f"{said}. {len(bad)} of {count + 1} steps would change nothing: {bad[0].reason}. Lower "
                "train.learning_rate, or try train.precision=float32",
            )
        else:
            self.account.ok("step", said)
        return seconds

    def look_at_memory(self) -> None:
        """The peak of the steps; what to set where it is near the limit."""
        used, limit, where = _memory(self.engine.device)
        asked, share = self.config.train.chunk, self.config.train.batch // dist.get_world_size()
        said = f"{in_bytes(used)} of {in_bytes(limit)} {where}"
        half = -(-min(self.memory.chunk or share, share) // 2)
        if self.memory.chunk != asked:
            self.account.note(
                "memory",
                f"{said}; it ran out until train.chunk={self.memory.chunk}: set that, which saves the tries",
            )
        elif used > NEAR * limit:
            self.account.problem("memory", f"{said}, which is near the limit. Set train.chunk={half}")
        else:
            self.account.ok("memory", said)

    def evaluation(self, gallery: list[Batch], labelled: Labelled | None) -> float:
        """Seconds of one, the probe included."""
        nowhere = Record(Path(self.config.run), enabled=False)
        silent = ProgressLine("check", 1, enabled=False)
        found = Evaluation(self.engine, gallery, labelled, nowhere, silent)(self.number)
        said = f"{found['seconds']:.3g} s"
        if "probe" in found:
            said += f", probe {found['probe_metric']} {found['probe']:.3f}"
        self.account.ok("evaluation", said)
        return float(found["seconds"])

    def round_trip(self, about: dict[str, Any]) -> tuple[float, int]:
        """Save, train on, load: are all bits back? Seconds of the save, and bytes of the checkpoint."""
        before = [{kind: part.clone() for kind, part in found.items()} for found in self._state()]
        with folder_beside(Path(self.config.run)) as folder:
            begun = time.perf_counter()
            at_once = replace(self.config.train, background_save=False)
            with checkpoint.Saver(self.engine, folder, about, at_once) as saver:
                saver.save(self.number, {"guard": self.guard.state(), "memory": self.memory.state()})
            saved = time.perf_counter() - begun
            self.step()  # the weights are others now
            self.guard.settle()
            begun = time.perf_counter()
            found = checkpoint.choose(folder)
            assert found is not None
            step, _ = checkpoint.restore(self.engine, found, about)
            loaded = time.perf_counter() - begun
            size = from_first(sum(file.stat().st_size for file in found.iterdir()))
        same = all(
            torch.equal(was.view(torch.int32), now[kind].contiguous().view(torch.int32))
            for old, now in zip(before, self._state(), strict=True)
            for kind, was in old.items()
        )
        said = f"{in_bytes(size)}, written in {saved:.2g} s, verified and loaded in {loaded:.2g} s"
        self.number = step
        if all(gather(same)):
            self.account.ok("checkpoint", f"{said}; every bit is back")
        else:
            self.account.problem("checkpoint", f"{said}, but not every bit is back: please report this")
        return max(gather(saved)), size

    def _state(self) -> list[dict[str, torch.Tensor]]:
        return [tensors(self.engine, fragment) for fragment in held(self.engine)]


@contextmanager
def folder_beside(run: Path) -> Iterator[Path]:
    """A folder on the run's file system that all ranks see, and that is gone afterwards."""
    made, mistake = "", ""
    if dist.get_rank() == 0:
        try:
            made = tempfile.mkdtemp(prefix=".check-", dir=nearest(run.parent))
        except OSError as error:
            mistake = f"{nearest(run.parent)} takes no files ({error.strerror}). Give a run=... that can be written."
    made, mistake = from_first((made, mistake))
    if mistake:
        raise UserError(mistake)
    try:
        yield Path(made)
    finally:
        if dist.get_rank() == 0:
            shutil.rmtree(made, ignore_errors=True)


def nearest(folder: Path) -> Path:
    """The folder, or the first above it that is there."""
    return next(path for path in (folder, *folder.parents) if path.is_dir())


def _memory(device: torch.device) -> tuple[float, float, str]:
    """Peak and limit in bytes, and of what: of the fullest device, or of all processes of this machine."""
    peak = 1e9 * max(gather(peak_memory_gb(device)))
    if device.type == "cuda":
        return peak, torch.cuda.get_device_properties(device).total_memory, "of the device"
    limit = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    here = int(os.environ.get("LOCAL_WORLD_SIZE", dist.get_world_size()))
    return peak * here, limit, "of this machine, by all its ranks" if here > 1 else "of this machine"
