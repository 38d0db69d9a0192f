"""The pictures of docs/ntxent.md.

    python docs/pictures/draw_ntxent.py

Tiling and ranks are drawings; memory is drawn from benchmarks/results/ntxent-cpu.md, the last measurement of each
form and size.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, Rectangle

HERE = Path(__file__).parent
RESULTS = HERE.parents[1] / "benchmarks" / "results" / "ntxent-cpu.md"
INK, PALE, BLUE, DEEP, WARM = "#22303c", "#eef1f4", "#bcd5ea", "#5b93c4", "#e8a33d"
RANKS = ("#5b93c4", "#e8a33d", "#6aa67c", "#b0729f")
WIDTH = 128
"""Of the rows in the picture of memory."""

plt.rcParams.update(
    {"font.size": 10, "text.color": INK, "axes.edgecolor": INK, "axes.labelcolor": INK, "savefig.dpi": 110}
)


def box(axes: Axes, x: float, y: float, width: float, height: float, color: str, edge: str = "white") -> None:
    axes.add_patch(Rectangle((x, y), width, height, facecolor=color, edgecolor=edge, linewidth=1))


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], color: str = INK) -> None:
    axes.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=14, color=color, linewidth=1.6)
    )


def bare(axes: Axes, width: float, height: float, title: str) -> None:
    """No axes; row 0 is on top, as in a matrix."""
    axes.set_xlim(-0.6, width + 0.6)
    axes.set_ylim(height + 0.6, -0.6)
    axes.set_aspect("equal")
    axes.axis("off")
    axes.set_title(title, fontsize=11, loc="left", color=INK)


def triangle(axes: Axes) -> None:
    """The square of all pairs, cut into super-tiles."""
    bare(axes, 8, 9.4, "sums: super-tiles of the triangle")
    for row in range(8):
        for column in range(8):
            box(axes, column, row, 1, 1, BLUE if column >= row else PALE)
    box(axes, 5, 1, 1, 1, WARM)
    axes.plot([0, 8], [0, 8], color=INK, linewidth=1.2)
    axes.plot([4, 8], [0, 4], color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
    arrow(axes, (6.05, 1.5), (8.45, 1.5))
    arrow(axes, (5.5, 2.05), (5.5, 8.45))
    axes.text(2.3, 6.4, "not computed:\nthe same numbers", ha="center", va="center")
    axes.text(8.5, 0.9, "sums of\nits rows", ha="left", va="center", fontsize=9)
    axes.text(5.5, 8.95, "sums of its columns, which are rows too", ha="center", va="center", fontsize=9)
    axes.text(0, 9.75, "solid: a row and itself      dashed: a row and its positive", fontsize=8.5)
    axes.set_xlim(-0.6, 10.2)


def strips(axes: Axes) -> None:
    """Inside one super-tile."""
    bare(axes, 8, 9.4, "inside a super-tile: strips")
    for row in range(8):
        box(axes, 0, row, 8, 1, DEEP if row == 3 else BLUE if row < 3 else PALE)
    box(axes, 4, 3, 1, 1, WARM)
    for column in range(1, 8):
        axes.plot([column, column], [3, 4], color="white", linewidth=0.8)
    arrow(axes, (5.1, 3.5), (7.9, 3.5), "white")
    axes.text(4, 1.5, "done", ha="center", va="center")
    axes.text(4, 6, "to do", ha="center", va="center")
    axes.text(
        0, 9.1, "the strip's rows stay in shared memory;\npanels of columns pass by", fontsize=9, va="center"
    )


def pull(axes: Axes) -> None:
    """A block of rows meets all columns."""
    bare(axes, 8, 9.4, "pull: a block owns rows, meets all columns")
    box(axes, 0, 0, 8, 8, BLUE)
    box(axes, 0, 2, 8, 1.4, DEEP)
    box(axes, 3, 2, 1, 1.4, WARM)
    axes.plot([4, 4], [2, 3.4], color="white", linewidth=2)
    arrow(axes, (4.15, 2.7), (7.8, 2.7), "white")
    axes.text(1.5, 2.7, "summed", ha="center", va="center", color="white", fontsize=9)
    axes.text(4, 5.8, "other blocks' rows", ha="center", va="center")
    axes.text(
        0,
        9.1,
        "a tile of columns is loaded once and used twice:\nweights W from dot products, then W times the columns",
        fontsize=9,
        va="center",
    )


def tiling() -> None:
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.6), width_ratios=(10.8, 9.2, 9.2))
    triangle(axes[0])
    strips(axes[1])
    pull(axes[2])
    save(figure, "ntxent_tiling")


def ownership(axes: Axes) -> None:
    """Rows are a rank's own, columns are everyone's."""
    bare(axes, 8, 8, "who computes what")
    for rank, color in enumerate(RANKS):
        y = 2 * rank
        for column in range(4):
            box(axes, 2 * column, y, 2, 2, color)
            if column != rank:
                box(axes, 2 * column, y, 2, 2, "#ffffffa0")
        axes.text(-0.2, y + 1, f"rank {rank}'s rows", ha="right", va="center")
        axes.text(2 * rank + 1, -0.35, f"rank {rank}", ha="center", va="center")
        axes.plot([y, y + 2], [y, y + 2], color="white", linewidth=1.2)
    axes.text(4, -1.0, "columns: the gathered rows of all ranks", ha="center", va="center")
    axes.text(4, 8.5, "strong: own rows with own rows, symmetric", ha="center", va="center", fontsize=9)
    axes.set_xlim(-3.4, 8.4)
    axes.set_ylim(8.9, -1.4)


def course(axes: Axes) -> None:
    """What happens in a step, from top to bottom; what crosses ranks is warm."""
    steps = (
        ("normalise own z: rows u", BLUE),
        ("gather u:  m x d numbers of each rank", WARM),
        ("row sums N and Z of own rows, equation (2')", BLUE),
        ("gather 1/Z:  m numbers of each rank", WARM),
        ("loss of own rows, (3')", BLUE),
        ("pull on own rows, (4'), from all u and all 1/Z", BLUE),
        ("temperature (5), normalisation (6)", BLUE),
    )
    axes.axis("off")
    axes.set_title("a step of one rank", fontsize=11, loc="left", color=INK)
    axes.set_xlim(-1.6, 10)
    axes.set_ylim(8.6, -0.2)
    for place, (words, color) in enumerate(steps):
        y = place * 1.1 + (0.7 if place > 4 else 0)
        box(axes, 0, y, 9.8, 0.85, color)
        axes.text(0.25, y + 0.42, words, va="center")
    axes.text(-0.25, 2.6, "forward", rotation=90, ha="right", va="center")
    axes.text(-0.25, 7.2, "backward", rotation=90, ha="right", va="center")
    axes.plot([-0.6, 9.8], [5.75, 5.75], color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.text(9.8, 8.5, "below the line nothing crosses ranks", ha="right", va="center", fontsize=9)


def ranks() -> None:
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.8), width_ratios=(11, 10))
    ownership(axes[0])
    course(axes[1])
    save(figure, "ntxent_ranks")


def measured(width: int) -> dict[str, dict[int, float]]:
    """Peak MB of each form by rows M, of the last measurement."""
    found: dict[str, dict[int, float]] = {}
    for line in RESULTS.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 13 and cells[1] == str(width) and cells[10]:
            found.setdefault(cells[2], {})[int(cells[0].replace(",", ""))] = float(cells[10].replace(",", ""))
    return found


def memory() -> None:
    figure, axes = plt.subplots(figsize=(7, 4.4))
    labels = (
        ("reference", "the definition in torch", RANKS[3], (-8, 8), "right"),
        ("lightly", "lightly", WARM, (9, -4), "left"),
        ("chunked", "ours, tiles of torch", DEEP, (0, -36), "right"),
    )
    found = measured(WIDTH)
    for form, words, color, away, side in labels:
        rows = sorted(found[form])
        sizes = [found[form][row] for row in rows]
        axes.plot(rows, sizes, marker="o", color=color, linewidth=2)
        axes.annotate(
            words, (rows[-1], sizes[-1]), textcoords="offset points", xytext=away, ha=side, color=color
        )
    rows = [1024, 65536]
    axes.plot(rows, [4 * row**2 / 1e6 for row in rows], color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate(
        "one M x M matrix of float32",
        (65536, 4 * 65536**2 / 1e6),
        textcoords="offset points",
        xytext=(-8, 0),
        ha="right",
    )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    ticks = [1024 * 2**power for power in range(7)]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_yticks([1, 10, 100, 1000, 10000], ["1 MB", "10 MB", "100 MB", "1 GB", "10 GB"])
    axes.set_xlabel(f"rows M = 2N, width d = {WIDTH}")
    axes.set_title("Memory above the inputs, one step on a CPU, measured", fontsize=11, loc="left")
    axes.grid(color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, "ntxent_memory")


def save(figure: plt.Figure, name: str) -> None:
    figure.savefig(HERE / f"{name}.png", bbox_inches="tight", facecolor="white", metadata={"Software": ""})
    plt.close(figure)


if __name__ == "__main__":
    tiling()
    ranks()
    memory()
