"""What was measured, as rows of a table in Markdown."""

from collections.abc import Iterator, Sequence

from benchmarks.ntxent.cost import Ceilings, floor, operations
from benchmarks.ntxent.forms import OURS
from benchmarks.ntxent.rounds import Found

COLUMNS = (
    *("rows M", "d", "form", "median ms", "p5-p95 ms", "TFLOP/s", "floor ms", "x floor"),
    *(f"{name} / this" for name in OURS),
    *("peak MB", "loss error", "gradient error"),
)


def head() -> list[str]:
    """The first two lines."""
    return [f"| {' | '.join(COLUMNS)} |", "|---:|---:|---|" + "---:|" * (len(COLUMNS) - 3)]


def lines(n: int, d: int, found: Sequence[Found], ceilings: Ceilings) -> Iterator[str]:
    """A row for each form at a size of n pairs."""
    rows, least = 2 * n, floor(2 * n, d, ceilings)
    medians = {one.name: one.median for one in found if one.times}
    for one in found:
        size = [f"{rows:,}", str(d), one.name]
        if not one.times:
            cells = [one.why_not, *[""] * (len(COLUMNS) - len(size) - 1)]
        else:
            cells = [
                milliseconds(one.median),
                f"{milliseconds(one.quantile(0.05))}-{milliseconds(one.quantile(0.95))}",
                significant(operations(rows, d) / one.median / 1e12),
                milliseconds(least),
                f"{one.median / least:.2f}",
                *(f"{medians[name] / one.median:.2f}" if name in medians else "" for name in OURS),
                "" if one.peak_mb is None else f"{one.peak_mb:,.0f}",
                *(("", "") if one.errors is None else (f"{error:.1e}" for error in one.errors)),
            ]
        yield f"| {' | '.join(size + cells)} |"


def milliseconds(seconds: float) -> str:
    """Three figures."""
    return significant(seconds * 1e3)


def significant(value: float) -> str:
    """Three figures, with separators from a thousand on."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"
