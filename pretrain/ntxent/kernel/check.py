"""Whether a path of the library computes what it should on a device.

    python -m pretrain.ntxent.kernel.check LIBRARY PATH DEVICE      prints what is wrong, or nothing

Rows at random, in every width, form and awkward size, against `pretrain.ntxent.tiles` in float64 on the same
rounded rows; and twice, because equal input must give equal bits.

A kernel that is wrong may also hang, or leave its process without a device. So `complaint` asks a process of its
own, with a limit, and remembers a path that agreed, for this library on this kind of device.
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pretrain.ntxent import tiles
from pretrain.ntxent.kernel.binding import WIDTHS, Binding, problem_of

ROOT = str(Path(__file__).parents[3])
TIME_LIMIT_S = 300
AGREE = {"row sums": 2e-4, "column sums": 2e-4, "row sums without them": 2e-4, "pull": 5e-3}
"""Relative errors: of single precision at t = 100, and of weights rounded to bfloat16."""


def complaint(library: Path, path: int, device: torch.device) -> str | None:
    """Why this path is not to be used on this device, or None."""
    memory = cache_folder() / f"agreed-{name_of_trial(library, path, device)}"
    if memory.exists():
        return None
    command = [sys.executable, "-m", __name__, str(library), str(path), str(device)]
    python_path = os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH")]))
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_S,
            env={**os.environ, "PYTHONPATH": python_path},
        )
    except subprocess.TimeoutExpired:
        return f"it did not finish its trial in {TIME_LIMIT_S} s"
    if done.returncode:
        return done.stderr.strip().split("\n")[-1] or f"its trial ended with {done.returncode}"
    if done.stdout.strip():
        return done.stdout.strip()
    with suppress(OSError):  # a home that cannot be written: the trial is run again next time
        memory.parent.mkdir(parents=True, exist_ok=True)
        memory.touch()
    return None


def cache_folder() -> Path:
    """Where things are kept that can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "molparallax"


def disagreement(binding: Binding, path: int, case: "Case", device: torch.device) -> str | None:
    """What the path gets wrong of this case on the device, if anything."""
    exact, there = case.double(), case.to(device)
    problem = problem_of(*there[:7])
    right = _results(partial(tiles.negative_sums, *exact[:7]), tiles.pull(*exact))
    first, second = (
        _results(partial(binding.negative_sums, path, problem), binding.pull(path, problem, *there[7:]))
        for _ in range(2)
    )
    for what, bound in AGREE.items():
        error = (
            (first[what].double().cpu() - right[what]).norm() / right[what].norm().clamp_min(1e-30)
        ).item()
        if not error <= bound:
            return f"{case.text()}: {what} off by {error:.1e} of their norm, more than {bound:.0e}"
        if not torch.equal(first[what], second[what]):
            return f"{case.text()}: {what} differ from run to run"
    return None


def _results(negative_sums: Callable[[bool], tuple[Tensor, Tensor]], pull: Tensor) -> dict[str, Tensor]:
    row_sums, column_sums = negative_sums(True)
    alone, _ = negative_sums(False)
    return {"row sums": row_sums, "column sums": column_sums, "row sums without them": alone, "pull": pull}


class Case(NamedTuple):
    """The arguments of a product that both share, and its weights."""

    rows: Tensor
    columns: Tensor
    t: Tensor
    row_ids: Tensor | None
    column_ids: Tensor | None
    own: int
    pair: int
    row_weights: Tensor
    column_weights: Tensor

    def to(self, device: torch.device) -> "Case":
        """All tensors there; equal objects stay equal, as the triangle asks."""
        moved: dict[int, Tensor] = {id(x): x.to(device) for x in self if isinstance(x, Tensor)}
        return Case(*(moved[id(x)] if isinstance(x, Tensor) else x for x in self))  # type: ignore[arg-type]

    def double(self) -> "Case":
        """In double precision, except the ids."""
        return Case(*(x.double() if isinstance(x, Tensor) and x.is_floating_point() else x for x in self))  # type: ignore[arg-type]

    def text(self) -> str:
        """The sizes."""
        sizes = f"m {len(self.rows)}, k {len(self.columns)}, d {self.rows.shape[1]}, t {self.t.item():g}"
        return f"{sizes}, own {self.own}, pair {self.pair}" + (", ids" if self.row_ids is not None else "")


def cases() -> Iterator[Case]:
    """Small enough for a processor, large enough for several tiles, ragged everywhere."""
    generator = torch.Generator().manual_seed(0)

    def case(m: int, k: int, d: int, t: float, own: int, pair: int, with_ids: bool) -> Case:
        columns = normalize(torch.randn(k, d, generator=generator), dim=1).bfloat16()
        ids = torch.randint(0, k // 2, (k,), generator=generator) if with_ids else None
        if own == 0 and m == k and pair:
            rows, row_ids = columns, ids
        else:
            rows = normalize(torch.randn(m, d, generator=generator), dim=1).bfloat16()
            row_ids = ids[max(own, 0) :][:m].clone() if ids is not None else None
        weights = (torch.rand(size, generator=generator) / k for size in (m, k))
        return Case(rows, columns, torch.tensor(t), row_ids, ids, own, pair, *weights)

    for d in WIDTHS:
        yield case(2 * 197, 2 * 197, d, 20.0, 0, 197, True)  # SimCLR, one rank
        yield case(2 * 75, 6 * 75, d, 100.0, 2 * 75, 75, False)  # SimCLR, the second of three ranks
        yield case(131, 131, d, 5.0, 0, 0, True)  # CLIP
        yield case(33, 517, d, 10.0, -1, 0, True)  # others' columns
    yield case(2, 2, 64, 10.0, 0, 0, False)
    yield case(2 * 1501, 2 * 1501, 256, 14.3, 0, 1501, False)  # more tiles than any device has processors


def name_of_trial(library: Path, path: int, device: torch.device) -> str:
    """Of what was tried, where."""
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    facts = (Binding(library).sources(), path, kind)
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def main() -> None:
    """The first disagreement of a path, on standard output."""
    library, path, device = sys.argv[1:]
    binding = Binding(Path(library))
    problems = (disagreement(binding, int(path), case, torch.device(device)) for case in cases())
    print(next(filter(None, problems), ""))


if __name__ == "__main__":
    main()
