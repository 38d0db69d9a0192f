"""All forms at one size, in turns.

Repeats of all forms are interleaved, so that a busy machine slows each of them, and a ratio between medians of one
run means something. A form that would take longer than our patience, judged by its time at a smaller size, is left
out and says so; so does one that is not installed or does not fit into memory.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from benchmarks.ntxent.exact import Errors, errors, exact
from benchmarks.ntxent.forms import DENSE, UNAVAILABLE, Loss, form, product_dtype
from benchmarks.ntxent.measure import inputs, peak_mb, rotated, seconds, step


@dataclass(frozen=True, slots=True)
class Limits:
    """How far the measuring goes."""

    repeats: int
    """Timed steps of a form at a size, at most."""
    patience_s: float
    """Of all timed steps of a form at a size together; a form whose single step would take longer is left out."""
    dense_up_to: int
    """Pairs n beyond which no form holds all similarities."""
    exact_up_to: int
    """Pairs n beyond which errors are not computed: the float64 truth holds all similarities, several times."""


@dataclass(slots=True)
class Found:
    """What was measured of one form at one size."""

    name: str
    times: list[float] = field(default_factory=list)
    peak_mb: float | None = None
    errors: Errors | None = None
    why_not: str = ""
    """One line in place of the numbers."""

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.times)

    def quantile(self, part: float) -> float:
        """Seconds; of few repeats the nearest one."""
        return sorted(self.times)[round(part * (len(self.times) - 1))]


class Rounds:
    """The forms on a device, size after size, small ones first."""

    def __init__(self, names: Sequence[str], device: torch.device, limits: Limits) -> None:
        self._names, self._device, self._limits = names, device, limits
        self._losses: dict[str, Loss] = {}
        self._missing: dict[str, str] = {}
        self._rates: dict[str, float] = {}  # seconds of a step over n^2 d, at the largest size so far
        for name in names:
            try:
                self._losses[name] = form(name, device)
                step(self._losses[name], inputs(64, 64, device))
            except UNAVAILABLE as error:
                self._missing[name] = one_line(error)

    def at(self, n: int, d: int) -> list[Found]:
        """Every form at this size; of a form that holds all similarities nothing beyond the limit."""
        names = [name for name in self._names if n <= self._limits.dense_up_to or name not in DENSE]
        found = {name: Found(name) for name in names}
        sets = rotated(n, d, self._device)
        repeats = {name: self._begin(found[name], sets[0], n, d) for name in names}
        for turn in range(max(repeats.values(), default=0)):
            leaves = sets[turn % len(sets)]
            for name in names:
                if turn < repeats[name]:
                    loss = self._losses[name]
                    found[name].times.append(
                        seconds(lambda loss=loss, leaves=leaves: step(loss, leaves), self._device)
                    )
        measured = [found[name] for name in names if repeats[name]]
        for one in measured:
            self._rates[one.name] = one.median / (n * n * d)
            one.peak_mb = peak_mb(one.name, self._losses[one.name], n, d, self._device)
        if n <= self._limits.exact_up_to:
            self._judge(measured, n, d)
        return list(found.values())

    def _begin(self, one: Found, leaves: list[torch.Tensor], n: int, d: int) -> int:
        """One untimed step, and how many to time: none where it cannot run."""
        one.why_not = self._missing.get(one.name, "")
        expected = self._rates.get(one.name, 0) * n * n * d
        if not one.why_not and expected > self._limits.patience_s:
            one.why_not = f"left out: about {expected:,.0f} s a step"
        if one.why_not:
            return 0
        try:
            loss = self._losses[one.name]
            for _ in range(2 if one.name == "compiled" else 1):  # the first may compile
                first = seconds(lambda: step(loss, leaves), self._device)
        except UNAVAILABLE as error:
            one.why_not = one_line(error)
            return 0
        return max(1, min(self._limits.repeats, int(self._limits.patience_s / max(first, 1e-6))))

    def _judge(self, measured: list[Found], n: int, d: int) -> None:
        """Errors against the truth of the rows that each form has."""
        leaves = inputs(n, d, self._device)
        for rounding in (torch.float32, torch.bfloat16):
            alike = [one for one in measured if product_dtype(one.name, self._device) is rounding]
            truth = exact(*leaves, rounding) if alike else None
            for one in alike:
                one.errors = errors(*step(self._losses[one.name], leaves), truth)


def one_line(error: BaseException) -> str:
    """What was wrong, short enough for a table."""
    if isinstance(error, torch.OutOfMemoryError):
        return "out of memory"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].replace("|", "/")[:120]
