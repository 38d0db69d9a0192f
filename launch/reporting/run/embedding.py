"""The pictures of what a run's embedding of held-out molecules is like, beyond those that a demo has too.

lines of evaluation.jsonl and histograms.jsonl  ->  Picture
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from launch.reporting import curves
from launch.reporting.curves import PAIR_STYLES
from launch.reporting.panel import (
    BLUE,
    GREY,
    STREAM_COLOURS,
    STREAM_DASHES,
    STREAM_MARKERS,
    End,
    Picture,
    chance,
    end,
    finish,
    line,
    mark,
    name_ends,
    panel,
    panels,
)
from launch.reporting.run.findings import Line, RunFindings, series, values_of


def geometry(run: RunFindings) -> Picture:
    """Alignment and uniformity of each stream; both fall as the embedding gets better."""
    figure, rows = panels("Alignment and uniformity", 2, 5.0, whole=True)
    marked, said = mark(rows, run.marks), []
    for axes, metric in zip(rows, ("alignment", "uniformity"), strict=True):
        ends = _by_stream(axes, run, metric, "{:.2f}")
        axes.set_ylabel(metric)
        axes.margins(y=0.15)
        name_ends(axes, ends)
        said += [f"{metric} {one.text}" for one in ends]
    rows[-1].set_xlabel("optimizer step")
    caption = (
        "Held-out molecules. Alignment: mean squared distance of a molecule's two views, 0 when they agree. "
        f"Uniformity: how evenly molecules fill the sphere, lower is more even.{marked}"
    )
    return finish("geometry", figure, f"Curves over steps; at the end {', '.join(said)}.", caption)


def effective_rank(run: RunFindings) -> Picture:
    """Directions that the embedding uses, of those that it has."""
    figure, axes = panel("Effective rank", whole=True)
    ends, most = _by_stream(axes, run, "effective_rank", "{:.1f}"), int(run.config["model.projection"])
    most = min(most, int(run.evaluation[-1]["gallery"]) - 1)
    chance(axes, most)
    axes.set(xlabel="optimizer step", ylabel="directions in use", ylim=(0, None))
    marked = mark([axes], run.marks)
    name_ends(axes, [*ends, End(most, f"at most {most}", GREY)])
    alt = f"Effective rank over steps; at the end {', '.join(one.text for one in ends)} of at most {most}."
    caption = f"Of held-out molecules' projections. 1: all molecules are on one line.{marked}"
    return finish("effective_rank", figure, alt, caption)


def histograms(stream: str, lines: Sequence[Line]) -> Picture:
    """How positives and negatives overlap, at the first evaluation and at the last."""
    shown = [lines[0], lines[-1]] if len(lines) > 1 else [lines[0]]
    figure, rows = panels(f"Cosines of pairs, {stream} stream", len(shown), 2.5 * len(shown) + 0.4)
    said = []
    for axes, found in zip(rows, shown, strict=True):
        edges = np.array(found["edges"], float)
        means, total = {}, 0.0
        for kind, (colour, _, _) in PAIR_STYLES.items():
            counts = np.array(found[f"{stream}_{kind}"], float)
            number = max(1.0, counts.sum())
            filled = kind == "negative"
            strokes = {"alpha": 0.45} if filled else {"lw": 2.0}
            density = counts / number / np.diff(edges)
            axes.stairs(density, edges, fill=filled, color=colour, label=curves.PAIRS[kind], **strokes)  # type: ignore[arg-type]
            means[kind] = float(counts @ (edges[1:] + edges[:-1]) / 2 / number)
            total += counts.sum()
        axes.set(ylabel="density, log.", xlim=(edges[0], edges[-1]))
        where = f"step {found['step']:,}"
        if total:
            # logarithmic: positives crowd near 1, where a linear axis would hide the negatives' spread
            axes.set(yscale="log", ylim=(0.01, None))
            said.append(f"at {where} positives {means['positive']:.2f}, negatives {means['negative']:.2f}")
        else:
            axes.set_yticks([])
            where += ": no cosine was finite"
            said.append(where)
        axes.annotate(where, (0.02, 0.9), xycoords="axes fraction", fontsize=11)
    rows[-1].set_xlabel("cosine similarity")
    figure.legend(*rows[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=10)
    alt = f"Histograms of cosine similarity, {stream} stream; means: {'; '.join(said)}."
    return finish(
        f"histogram_{stream}", figure, alt, "Held-out molecules, projections. " + _first_last(shown)
    )


def _first_last(shown: Sequence[Line]) -> str:
    return "The first evaluation above, the last below." if len(shown) > 1 else "The only evaluation so far."


def probe(run: RunFindings) -> Picture:
    """Score of a simple model on frozen vectors, with what needs no encoder."""
    figure, axes = panel("Probe on labelled molecules", whole=True)
    found = series(run.evaluation, "probe")
    metric = run.probe_metric
    baseline = series(run.evaluation, "probe_baseline")
    steps, values = zip(*found, strict=True)
    line(axes, steps, values, BLUE, marker="o")
    ends = [end("probe", values_of(run.evaluation, "probe"), BLUE, "{:.3f}")]
    if baseline:
        chance(axes, baseline[-1][1])
        ends.append(End(baseline[-1][1], f"baseline {baseline[-1][1]:.3f}", GREY))
    axes.set(xlabel="optimizer step", ylabel=metric)
    axes.margins(y=0.15)
    marked = mark([axes], run.marks)
    name_ends(axes, ends)
    alt = f"{metric} over steps; at the end {', '.join(one.text for one in ends)}."
    target = run.config["evaluation.probe_target"]
    caption = f"{metric} of {target}, predicted by a linear model from the frozen encoder's vectors.{marked}"
    return finish("probe", figure, alt, caption)


def _by_stream(axes: Axes, run: RunFindings, metric: str, form: str) -> list[End]:
    ends = []
    for stream in run.streams:
        key, colour = f"{stream}_{metric}", STREAM_COLOURS[stream]
        found = series(run.evaluation, key)
        if not found:
            continue
        steps, values = zip(*found, strict=True)
        line(axes, steps, values, colour, dash=STREAM_DASHES[stream], marker=STREAM_MARKERS[stream])
        ends.append(end(stream, values_of(run.evaluation, key), colour, form))
    return ends
