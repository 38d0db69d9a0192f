"""What every picture is made with: one panel, legible on a phone, and a PNG with words beside it.

    title  ->  Figure, Axes;  a drawn Figure  ->  Picture: a PNG's bytes, a caption, a text for those who cannot see it
Colours are Okabe and Ito's, which the colour-blind tell apart; lines differ in dash or marker as well, and bear
their names at their ends. matplotlib's Figure is used without pyplot: no display, no global state.
"""

import io
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

BLUE, VERMILION, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#AA3377", "#555555"
STREAM_COLOURS = {"graph": BLUE, "text": VERMILION}
STREAM_MARKERS = {"graph": "o", "text": "s"}
STREAM_DASHES = {"graph": "-", "text": "--"}
STREAM_TITLES = {"graph": "Graph stream: local and global", "text": "Text stream: SMILES and description"}
RESOLUTION = 160
LABEL_POINTS = 10.5
FEW = 40
"""Points of a line up to which each gets a marker."""


class Picture(NamedTuple):
    """A PNG with what a reader needs beside it."""

    name: str
    png: bytes
    alt: str
    caption: str


class End(NamedTuple):
    """A name beside the last point of a line."""

    value: float
    text: str
    colour: str


def end(name: str, values: Sequence[float], colour: str, form: str = "{:.2f}") -> End:
    """The name with the last value, which may be none that is finite; then it stands at the last that is."""
    finite = [value for value in values if math.isfinite(value)]
    return End(finite[-1] if finite else math.nan, f"{name} {form.format(values[-1])}".strip(), colour)


class Marks(NamedTuple):
    """Steps at which something happened that the curves should show."""

    resumed: Sequence[int] = ()
    skipped: Sequence[int] = ()


NOTHING = Marks()


def panel(title: str, height: float = 3.7, *, whole: bool = False) -> tuple[Figure, Axes]:
    """One axis pair; `whole` where the horizontal axis counts steps."""
    figure, (axes,) = panels(title, 1, height, whole=whole)
    return figure, axes


def panels(title: str, count: int, height: float, *, whole: bool = False) -> tuple[Figure, list[Axes]]:
    """Axis pairs one above the other, with one horizontal axis."""
    figure = Figure(figsize=(5.4, height), layout="constrained")
    rows = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0].tolist()
    rows[0].set_title(title, fontsize=13, loc="left", pad=10)
    for axes in rows:
        axes.tick_params(labelsize=11)
        axes.xaxis.label.set_fontsize(11.5)
        axes.yaxis.label.set_fontsize(11.5)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#dddddd", lw=0.7)
        axes.set_axisbelow(True)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=whole))
    return figure, rows


def finish(name: str, figure: Figure, alt: str, caption: str) -> Picture:
    """The figure as a picture."""
    stream = io.BytesIO()
    figure.savefig(stream, dpi=RESOLUTION, facecolor="white")
    return Picture(name, stream.getvalue(), alt, caption)


def line(
    axes: Axes,
    steps: Sequence[int],
    values: Sequence[float],
    colour: str,
    *,
    dash: str = "-",
    marker: str | None = None,
) -> None:
    """A curve over steps; a marker at each point while they are few."""
    shown = marker if len(steps) <= FEW else None
    shown = shown or ("o" if len(steps) == 1 else None)
    axes.plot(steps, values, color=colour, ls=dash, marker=shown, ms=4.5, lw=1.9)


def chance(axes: Axes, value: float, colour: str = GREY) -> None:
    """What nobody who knows nothing would beat."""
    axes.axhline(value, color=colour, ls=":", lw=1.5)


def name_ends(axes: Axes, ends: Iterable[End]) -> None:
    """Write each name to the right of its line's end, apart from the others. Call it when all is drawn."""
    axes.autoscale_view()
    known = [one for one in ends if math.isfinite(one.value)]
    heights = [_height(axes, one.value) for one in known]
    tall = axes.get_subplotspec().get_gridspec().nrows  # type: ignore[union-attr]
    figure_points = axes.figure.get_size_inches()[1] * 72 / tall  # type: ignore[union-attr]
    gap = LABEL_POINTS * 1.25 / (figure_points * 0.72)
    for one, place in zip(known, apart(heights, gap), strict=True):
        axes.text(
            1.02,
            place,
            one.text,
            color=one.colour,
            fontsize=LABEL_POINTS,
            va="center",
            transform=axes.transAxes,
        )


def _height(axes: Axes, value: float) -> float:
    """Of a value, as a part of the panel."""
    return float(axes.transAxes.inverted().transform(axes.transData.transform((0, value)))[1])


def apart(heights: Sequence[float], gap: float) -> list[float]:
    """The heights in the same order, moved as little as keeps each `gap` from the next."""
    order = np.argsort(heights, kind="stable")
    groups: list[list[float]] = []  # [mean of the group's wishes, how many]
    for wish in np.asarray(heights, float)[order]:
        groups.append([wish, 1])
        while len(groups) > 1 and groups[-1][0] - groups[-2][0] < gap * (groups[-1][1] + groups[-2][1]) / 2:
            (below, few), (above, more) = groups[-2:]
            groups[-2:] = [[(below * few + above * more) / (few + more), few + more]]
    spread = [middle + gap * (place - (n - 1) / 2) for middle, n in groups for place in range(int(n))]
    found = np.empty(len(order))
    found[order] = spread
    return found.tolist()


def mark(rows: Sequence[Axes], marks: Marks) -> str:
    """Draw the marks into panels over steps; what a caption says of them."""
    said = []
    for axes in rows:
        for step in marks.resumed:
            axes.axvline(step, color=GREY, lw=1.2, ls=(0, (5, 2)), zorder=0.5)
        if marks.skipped:
            foot = axes.get_xaxis_transform()
            dots = np.zeros(len(marks.skipped))
            axes.plot(marks.skipped, dots, "^", color="black", ms=5, transform=foot, clip_on=False)
    if marks.resumed:
        said.append("Dashed upright line: resumed there.")
    if marks.skipped:
        said.append("Triangle: a skipped step.")
    return "".join(f" {sentence}" for sentence in said)
