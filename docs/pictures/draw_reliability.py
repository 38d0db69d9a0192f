"""The picture of docs/reliability.md: a run whose ranks are killed, beside the same run left in peace.

python -m benchmarks.reliability.lives --write      measures
python docs/pictures/draw_reliability.py            draws benchmarks/results/reliability-lives.json
"""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

HERE = Path(__file__).parent
RESULTS = HERE.parents[1] / "benchmarks" / "results" / "reliability-lives.json"
INK, PALE, DEEP, WARM, GREY = "#22303c", "#eef1f4", "#5b93c4", "#e8a33d", "#9aa5ae"

plt.rcParams.update(
    {"font.size": 10, "text.color": INK, "axes.edgecolor": INK, "axes.labelcolor": INK, "savefig.dpi": 110}
)


def lives(seen: list[tuple[float, int]]) -> list[list[tuple[float, int]]]:
    """Cut where the record falls back to a checkpoint."""
    found: list[list[tuple[float, int]]] = [[]]
    for point in seen:
        if found[-1] and point[1] < found[-1][-1][1]:
            found.append([])
        found[-1].append(point)
    return found


def timeline(axes: Axes, measured: dict[str, Any]) -> None:
    """Step against time; a kill ends a life, the next one begins at the last checkpoint."""
    killed = measured["killed"]
    for step in range(0, measured["steps"] + 1, measured["save_every"]):
        axes.axhline(step, color=PALE, linewidth=1, zorder=0)
    axes.plot(*zip(*measured["whole"]["seen"], strict=True), color=GREY, linewidth=1.5)
    axes.annotate(
        "left in peace", measured["whole"]["seen"][-1], (6, -4), textcoords="offset points", color=GREY
    )
    parts = lives(killed["seen"])
    for before, after in pairwise(parts):
        axes.plot(*zip(before[-1], after[0], strict=True), color=WARM, linewidth=1, linestyle=(0, (2, 2)))
    for part in parts:
        axes.plot(*zip(*part, strict=True), color=DEEP, linewidth=2)
    for seconds, step, rank in killed["kills"]:
        axes.plot(seconds, step, marker="X", color=WARM, markersize=9, zorder=3)
        axes.annotate(
            f"rank {rank}", (seconds, step), (0, 9), textcoords="offset points", ha="center", fontsize=9
        )
    axes.set_xlabel("seconds")
    axes.set_ylabel("step in the record")
    axes.set_title("SIGKILL of a rank (X), started again from the last checkpoint", fontsize=11, loc="left")


def losses(axes: Axes, measured: dict[str, Any]) -> None:
    """Both records; where they are the same bits, one line covers the other."""
    axes.plot(*zip(*measured["whole"]["losses"], strict=True), color=GREY, linewidth=5)
    axes.plot(*zip(*measured["killed"]["losses"], strict=True), color=DEEP, linewidth=1.5)
    pairs = zip(measured["whole"]["losses"], measured["killed"]["losses"], strict=True)
    far = max(abs(one - other) for (_, one), (_, other) in pairs)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.set_title(f"losses of both: largest difference {far:g}", fontsize=11, loc="left")


def main() -> None:
    measured = json.loads(RESULTS.read_text())
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.2), width_ratios=(7, 5))
    timeline(axes[0], measured)
    losses(axes[1], measured)
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(HERE / "reliability_lives.png", facecolor="white", metadata={"Software": ""})


if __name__ == "__main__":
    main()
