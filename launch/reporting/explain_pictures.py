"""Pictures of an explanation: the modalities' shares by target, and maps of the molecules.

Explanation  ->  Picture
"""

import textwrap
from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from finetune.config import Task
from finetune.explain.job import Explanation
from finetune.explain.space import NEIGHBOURS, Map
from launch.reporting.panel import BLUE, GREEN, PURPLE, VERMILION, Picture, finish, panel

COLOURS = {"graph": BLUE, "text": VERMILION, "fingerprint": GREEN}
AT_MOST = 40
"""Targets in a picture; a table has all."""
SCAFFOLDS = 6
SCAFFOLD_STYLES = (
    (BLUE, "o"),
    (VERMILION, "s"),
    (GREEN, "^"),
    (PURPLE, "D"),
    ("#E69F00", "v"),
    ("#56B4E9", "P"),
)
PALE = "#c4cad0"
NAME = 26
"""Letters of a target's name that leave room for its bar; the table below has the whole name."""


def shares_picture(made: Explanation) -> Picture:
    """One bar a target, its parts the modalities."""
    assert made.shares is not None
    names = made.subject.model.design.targets[:AT_MOST]
    figure, axes = panel("Share of each modality", 1.5 + 0.38 * len(names))
    heights = np.arange(len(names))[::-1]
    begins = np.zeros(len(names))
    for m, modality in enumerate(made.modalities):
        parts = made.shares[: len(names), m]
        axes.barh(heights, parts, left=begins, height=0.66, color=COLOURS[modality], label=modality)
        for height, begin, part in zip(heights, begins, parts, strict=True):
            if part >= 0.07:  # narrower ones have no room for their number
                axes.text(begin + part / 2, height, f"{part:.0%}", color="white", ha="center", va="center")
        begins += parts
    short = [textwrap.shorten(name, NAME, placeholder="...") if " " in name else name for name in names]
    axes.set_yticks(heights, short)
    axes.set(xlim=(0, 1), xticks=[0, 0.25, 0.5, 0.75, 1], ylim=(-0.6, len(names) - 0.4))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.grid(visible=False, axis="y")
    figure.legend(ncols=3, loc="outside lower center", frameon=False, fontsize=11)
    told = [
        f"{target}: " + ", ".join(f"{m} {part:.0%}" for m, part in zip(made.modalities, row, strict=True))
        for target, row in zip(names, made.shares, strict=False)
    ]
    more = len(made.subject.model.design.targets) - len(names)
    rest = f" {more} more targets stand in shares.csv." if more else ""
    return finish(
        "shares",
        figure,
        "; ".join(told) + ".",
        f"Parts of the mean |Shapley value| over {len(made.subject.rows):,} molecules.{rest}",
    )


def label_map(name: str, one: Map, made: Explanation) -> Picture:
    """Coloured by the first explained target's label, or by its prediction where there is no label."""
    target = made.targets[0]
    place = made.subject.target(target)
    values, kind = made.subject.labels[:, place], "label"
    if np.isnan(values).all():
        values, kind = made.subject.predicted[:, place], "prediction"
    figure, axes = _plane(f"{name}, by {kind}")
    unknown = np.isnan(values)
    _points(axes, one.places[unknown], PALE, "o", f"no label ({unknown.sum()})")
    if made.subject.model.design.task == Task.classification and kind == "label":
        for value, colour, marker in ((0, BLUE, "o"), (1, VERMILION, "^")):
            chosen = values == value
            _points(axes, one.places[chosen], colour, marker, f"{target} = {value} ({chosen.sum()})")
        _legend(figure)
    else:
        known = ~unknown
        drawn = axes.scatter(
            one.places[known, 0], one.places[known, 1], c=values[known], cmap="cividis", s=22, lw=0
        )
        figure.colorbar(drawn, ax=axes, label=target)
    return finish(_file(name, "label"), figure, f"{name} of {len(values)} molecules by {kind}.", _kept(one))


def scaffold_map(name: str, one: Map, made: Explanation) -> Picture:
    """Coloured by the most frequent scaffolds, which the page draws beside it."""
    figure, axes = _plane(f"{name}, by scaffold")
    own = np.array(made.scaffolds, dtype=object)
    known = frequent(made.scaffolds)
    _points(axes, one.places[~np.isin(own, [scaffold for scaffold, _ in known])], PALE, "o", "others")
    for number, ((scaffold, count), style) in enumerate(zip(known, SCAFFOLD_STYLES, strict=False), 1):
        _points(axes, one.places[own == scaffold], *style, f"{number} ({count})")
    _legend(figure)
    alt = f"{name} of {len(own)} molecules; {len(known)} most frequent scaffolds coloured."
    return finish(_file(name, "scaffold"), figure, alt, _kept(one))


def frequent(scaffolds: Sequence[str]) -> list[tuple[str, int]]:
    """The scaffolds of at least two molecules, the most frequent first; the empty one has no ring."""
    counted = sorted(Counter(scaffolds).items(), key=lambda item: (-item[1], item[0]))
    return [(scaffold, count) for scaffold, count in counted if count > 1][:SCAFFOLDS]


def _plane(title: str) -> tuple[Figure, Axes]:
    """Axes without numbers: a map's directions and units mean nothing."""
    figure, axes = panel(title, 4.9)
    axes.set(xticks=[], yticks=[])
    axes.spines[["top", "right"]].set_visible(True)
    return figure, axes


def _points(axes: Axes, places: Float64[NDArray, "k 2"], colour: str, marker: str, name: str) -> None:
    if len(places):
        axes.scatter(
            places[:, 0], places[:, 1], s=24, color=colour, marker=marker, label=name, lw=0, alpha=0.85
        )


def _legend(figure: Figure) -> None:
    figure.legend(ncols=4, loc="outside lower center", frameon=False, fontsize=10)


def _kept(one: Map) -> str:
    return (
        f"Trustworthiness {one.trustworthiness:.2f}, continuity {one.continuity:.2f} "
        f"({NEIGHBOURS} neighbours; 1: all kept)."
    )


def _file(name: str, by: str) -> str:
    return f"{name.lower().replace('-', '')}-{by}"
