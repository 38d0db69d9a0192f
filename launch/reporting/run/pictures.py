"""The pictures of a run, beyond those that a demo has too: geometry of the embedding, optimisation, speed.

RunFindings  ->  Pictures; none of what the run did not record
"""

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from launch.reporting import curves
from launch.reporting.curves import PAIR_STYLES
from launch.reporting.panel import (
    BLUE,
    GREEN,
    GREY,
    PURPLE,
    STREAM_COLOURS,
    STREAM_DASHES,
    STREAM_MARKERS,
    VERMILION,
    End,
    Picture,
    chance,
    finish,
    line,
    mark,
    name_ends,
    panel,
    panels,
)
from launch.reporting.run.findings import Line, RunFindings, series

TOWERS = {"local": (BLUE, "-"), "global": (GREEN, "--"), "smiles": (VERMILION, "-."), "text": (PURPLE, ":")}
"""Colour and dash of each encoder with its projection head."""


def draw(run: RunFindings) -> list[Picture]:
    """All that the run has numbers for."""
    return list(_draw(run))


def _draw(run: RunFindings) -> Iterator[Picture]:
    yield curves.losses(run.metrics, run.marks)
    if run.evaluation:
        for stream in run.streams:
            yield curves.recalls(stream, run.evaluation, run.marks)
            yield curves.cosine_curves(stream, run.evaluation, run.marks)
        yield geometry(run)
        yield effective_rank(run)
    if run.lines["histograms"]:
        yield from (histograms(stream, run.lines["histograms"]) for stream in run.streams)
    if series(run.evaluation, "probe"):
        yield probe(run)
    if series(run.metrics, "learning_rate"):
        yield schedule(run)
    if series(run.metrics, "gradient_norm") or _towers(run):
        yield gradient_norms(run)
    if series(run.metrics, "molecules_per_s") and series(run.metrics, "data_wait"):
        yield speed(run)
    if series(run.metrics, "memory_gb"):
        yield memory(run)


def geometry(run: RunFindings) -> Picture:
    """Alignment and uniformity of each stream; both fall as the embedding gets better."""
    figure, rows = panels("Alignment and uniformity", 2, 5.0, whole=True)
    marked, said = mark(rows, run.marks), []
    for axes, metric in zip(rows, ("alignment", "uniformity"), strict=True):
        ends = _by_stream(axes, run, metric, "{:.2f}")
        axes.set_ylabel(metric)
        axes.margins(y=0.15)
        name_ends(axes, ends)
        said += [f"{metric} {end.text}" for end in ends]
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
    alt = f"Effective rank over steps; at the end {', '.join(end.text for end in ends)} of at most {most}."
    caption = f"Of held-out molecules' projections. 1: all molecules are on one line.{marked}"
    return finish("effective_rank", figure, alt, caption)


def histograms(stream: str, lines: Sequence[Line]) -> Picture:
    """How positives and negatives overlap, at the first evaluation and at the last."""
    shown = [lines[0], lines[-1]] if len(lines) > 1 else [lines[0]]
    figure, rows = panels(f"Cosines of pairs, {stream} stream", len(shown), 2.5 * len(shown) + 0.4)
    said = []
    for axes, found in zip(rows, shown, strict=True):
        edges = np.array(found["edges"], float)
        means = {}
        for kind, (colour, _, _) in PAIR_STYLES.items():
            counts = np.array(found[f"{stream}_{kind}"], float)
            density = counts / max(1.0, counts.sum()) / np.diff(edges)
            filled = kind == "negative"
            strokes = {"alpha": 0.45} if filled else {"lw": 2.0}
            axes.stairs(density, edges, fill=filled, color=colour, label=curves.PAIRS[kind], **strokes)  # type: ignore[arg-type]
            means[kind] = float(counts @ (edges[1:] + edges[:-1]) / 2 / max(1.0, counts.sum()))
        # logarithmic: positives crowd near 1, where a linear axis would hide the negatives' spread
        axes.set(ylabel="density, log.", yscale="log", ylim=(0.01, None), xlim=(edges[0], edges[-1]))
        axes.annotate(f"step {found['step']:,}", (0.02, 0.9), xycoords="axes fraction", fontsize=11)
        said.append(
            f"at step {found['step']:,} positives {means['positive']:.2f}, negatives {means['negative']:.2f}"
        )
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
    metric = str(run.evaluation[-1].get("probe_metric", "score"))
    baseline = series(run.evaluation, "probe_baseline")
    steps, values = zip(*found, strict=True)
    line(axes, steps, values, BLUE, marker="o")
    ends = [End(values[-1], f"probe {values[-1]:.3f}", BLUE)]
    if baseline:
        chance(axes, baseline[-1][1])
        ends.append(End(baseline[-1][1], f"baseline {baseline[-1][1]:.3f}", GREY))
    axes.set(xlabel="optimizer step", ylabel=metric)
    axes.margins(y=0.15)
    marked = mark([axes], run.marks)
    name_ends(axes, ends)
    alt = f"{metric} over steps; at the end {', '.join(end.text for end in ends)}."
    target = run.config["evaluation.probe_target"]
    caption = f"{metric} of {target}, predicted from the frozen encoder's vectors.{marked}"
    return finish("probe", figure, alt, caption)


def schedule(run: RunFindings) -> Picture:
    """Learning rate, and the temperature where it is recorded."""
    rates, temperatures = series(run.metrics, "learning_rate"), series(run.metrics, "temperature")
    figure, rows = panels("Learning rate and temperature" if temperatures else "Learning rate",
                          2 if temperatures else 1, 4.6 if temperatures else 3.4, whole=True)  # fmt: skip
    marked, said = mark(rows, run.marks), []
    for axes, found, name, form in zip(
        rows, (rates, temperatures), ("learning rate", "temperature"), ("{:.2g}", "{:.3g}"), strict=False
    ):
        steps, values = zip(*found, strict=True)
        line(axes, steps, values, BLUE if axes is rows[0] else GREEN)
        axes.set(ylabel=name, ylim=(0, 1.12 * max(values)))
        name_ends(axes, [End(values[-1], form.format(values[-1]), GREY)])
        said.append(f"{name} {form.format(values[-1])}")
    rows[0].ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    rows[-1].set_xlabel("optimizer step")
    fixed = "" if run.config["loss.learn_temperature"] else " The temperature is fixed in this run."
    alt = f"Over steps; at the end {', '.join(said)}."
    return finish("schedule", figure, alt, f"AdamW's rate after warm-up and cosine.{fixed}{marked}")


def gradient_norms(run: RunFindings) -> Picture:
    """Of the whole gradient before clipping, and of each tower's part."""
    figure, axes = panel("Gradient norm", height=4.2, whole=True)
    whole, ends = series(run.metrics, "gradient_norm"), []
    if whole:
        steps, values = zip(*whole, strict=True)
        line(axes, steps, values, "black")
        ends.append(End(values[-1], f"whole {values[-1]:.2g}", "black"))
    for tower in _towers(run):
        (colour, dash), found = TOWERS[tower], series(run.metrics, f"gradient_norm_{tower}")
        steps, values = zip(*found, strict=True)
        line(axes, steps, values, colour, dash=dash)
        ends.append(End(values[-1], f"{tower} {values[-1]:.2g}", colour))
    axes.set(xlabel="optimizer step", ylabel="L2 norm, log.", yscale="log")
    clip = float(run.config["train.gradient_clipping"])
    low, high = axes.get_ylim()
    if clip and low / 2 < clip < high * 2:  # one far away would flatten the curves
        chance(axes, clip)
        ends.append(End(clip, f"clipped at {clip:g}", GREY))
    marked = mark([axes], run.marks)
    name_ends(axes, ends)
    alt = f"Gradient norms over steps; at the end {', '.join(end.text for end in ends)}."
    said = f"Before clipping to {clip:g}." if clip else "The gradient is not clipped."
    return finish("gradient_norm", figure, alt, f"{said} A tower: an encoder with its head.{marked}")


def speed(run: RunFindings) -> Picture:
    """Molecules per second, and the share of time without data."""
    figure, rows = panels("Speed", 2, 4.6, whole=True)
    marked = mark(rows, run.marks)
    rates, waits = series(run.metrics, "molecules_per_s"), series(run.metrics, "data_wait")
    steps, values = zip(*rates, strict=True)
    line(rows[0], steps, values, BLUE)
    rows[0].set(ylabel="molecules/s", ylim=(0, 1.12 * max(values)))
    middle = float(np.median(values))
    chance(rows[0], middle)
    name_ends(rows[0], [End(middle, f"median\n{middle:,.0f}", GREY)])
    steps, shares = zip(*waits, strict=True)
    line(rows[1], steps, shares, VERMILION)
    rows[1].set(xlabel="optimizer step", ylabel="time without data", ylim=(0, max(0.02, 1.12 * max(shares))))
    rows[1].yaxis.set_major_formatter(PercentFormatter(1.0))
    name_ends(rows[1], [End(shares[-1], f"{shares[-1]:.1%}", VERMILION)])
    alt = f"Over steps; molecules/s have median {middle:,.0f}; at the end {shares[-1]:.1%} of time without data."
    caption = (
        "All ranks together, evaluations and checkpoints left out. Time without data is that of the rank that "
        f"waited longest.{marked}"
    )
    return finish("speed", figure, alt, caption)


def memory(run: RunFindings) -> Picture:
    """Peak of the device, or what the process holds."""
    figure, axes = panel("Memory", whole=True)
    steps, values = zip(*series(run.metrics, "memory_gb"), strict=True)
    line(axes, steps, values, BLUE)
    axes.set(xlabel="optimizer step", ylabel="GB", ylim=(0, 1.12 * max(values)))
    marked = mark([axes], run.marks)
    name_ends(axes, [End(values[-1], f"{values[-1]:.2f} GB", BLUE)])
    where = "Peak of the device." if run.environment.get("cuda") else "Resident memory of the process."
    alt = f"Memory over steps; at the end {values[-1]:.2f} GB, at most {max(values):.2f} GB."
    return finish("memory", figure, alt, f"{where} Of the rank that has most.{marked}")


def _by_stream(axes: Axes, run: RunFindings, metric: str, form: str) -> list[End]:
    ends = []
    for stream in run.streams:
        found, colour = series(run.evaluation, f"{stream}_{metric}"), STREAM_COLOURS[stream]
        if not found:
            continue
        steps, values = zip(*found, strict=True)
        line(axes, steps, values, colour, dash=STREAM_DASHES[stream], marker=STREAM_MARKERS[stream])
        ends.append(End(values[-1], f"{stream} {form.format(values[-1])}", colour))
    return ends


def _towers(run: RunFindings) -> list[str]:
    return [tower for tower in TOWERS if series(run.metrics, f"gradient_norm_{tower}")]
