"""The report's pictures: one panel each, legible on a phone, drawn from numbers that are already there.

    arrays and records  ->  Picture: a PNG's bytes, with a caption and a text for those who cannot see it
Colours are Okabe and Ito's, which the colour-blind tell apart; lines differ in dash or marker as well.
matplotlib's Figure is used without pyplot: no display, no global state.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from launch.comparison import VARIANTS, TableOfLabels, Variant
from launch.held_out import Cosines, Map
from pretrain.diagnostics import RECALL_AT

BLUE, VERMILION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#555555"
STREAM_COLOURS = {"graph": BLUE, "text": VERMILION}
STREAM_MARKERS = {"graph": "o", "text": "s"}
VARIANT_COLOURS: dict[Variant, str] = {"pretrained": BLUE, "scratch": VERMILION}
STREAM_TITLES = {"graph": "Graph stream: local and global", "text": "Text stream: SMILES and description"}
RESOLUTION = 160


class Picture(NamedTuple):
    """A PNG with what a reader needs beside it."""

    name: str
    png: bytes
    alt: str
    caption: str


def stage_times(seconds: Mapping[str, float]) -> Picture:
    """A bar a stage."""
    figure, axes = _panel("How long each stage took", height=2.9)
    names = list(seconds)
    bars = axes.barh(names, list(seconds.values()), color=BLUE, label="wall time")
    axes.bar_label(bars, fmt="{:.0f} s", padding=4)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlabel("wall time, s")
    axes.grid(visible=False, axis="y")
    said = ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
    return _picture("stages", figure, f"Bars of wall time: {said}.", "Wall time of each stage.")


def losses(metrics: Sequence[dict[str, Any]]) -> Picture:
    """Both streams' losses against chance."""
    figure, axes = _panel("Contrastive loss", whole=True)
    steps, chance = [line["step"] for line in metrics], metrics[-1]["chance"]
    ends = []
    for stream in _streams(metrics[-1], "loss"):
        values = [line[f"{stream}_loss"] for line in metrics]
        axes.plot(
            steps, values, color=STREAM_COLOURS[stream], ls=_dash(stream), lw=2, label=f"{stream} stream"
        )
        ends.append(f"{stream} {values[-1]:.2f}")
    axes.axhline(chance, color=GREY, ls=":", lw=1.8, label=f"chance, ln(2N − 1) = {chance:.2f}")  # noqa: RUF001
    axes.set(xlabel="optimizer step", ylabel="NT-Xent loss, nats", ylim=(0, None))
    axes.legend()
    molecules = round((np.exp(chance) + 1) / 2)
    caption = f"Training loss, each point the mean since the last. N = {molecules} molecules a step."
    alt = f"Loss over {steps[-1]} steps; at the end {', '.join(ends)}; chance is {chance:.2f}."
    return _picture("losses", figure, alt, caption)


def recalls(stream: str, evaluation: Sequence[dict[str, Any]]) -> Picture:
    """Recall at 1, 5 and 10 on the held-out molecules, each with its chance."""
    figure, axes = _panel(STREAM_TITLES[stream], height=4.4, whole=True)
    steps, last = [line["step"] for line in evaluation], evaluation[-1]
    ends = []
    for k, colour, marker in zip(RECALL_AT, (BLUE, GREEN, VERMILION), "os^", strict=True):
        values = [line[f"{stream}_recall_at_{k}"] for line in evaluation]
        axes.plot(steps, values, color=colour, marker=marker, lw=2, label=f"recall@{k}")
        axes.axhline(k * last["chance"], color=colour, ls=":", lw=1.5, label=f"chance@{k}")
        ends.append(f"recall@{k} {values[-1]:.1%} (chance {k * last['chance']:.2%})")
    axes.set(xlabel="optimizer step", ylabel="molecules that find their view", ylim=(0, None))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    figure.legend(loc="outside lower center", ncols=len(RECALL_AT))
    alt = f"Held-out retrieval of the {stream} stream over steps; at the end {', '.join(ends)}."
    caption = f"Each of {last['gallery']:,.0f} held-out molecules looks for its other view among all of them."
    return _picture(f"recall_{stream}", figure, alt, caption)


def cosine_curves(stream: str, evaluation: Sequence[dict[str, Any]]) -> Picture:
    """Mean cosine of positives and of negatives over the steps."""
    figure, axes = _panel(STREAM_TITLES[stream], whole=True)
    steps = [line["step"] for line in evaluation]
    ends = []
    styles = {"positive": (BLUE, "o", "-"), "negative": (VERMILION, "s", "--")}
    for kind, (colour, marker, dash) in styles.items():
        values = [line[f"{stream}_{kind}_cosine"] for line in evaluation]
        axes.plot(steps, values, color=colour, marker=marker, ls=dash, lw=2, label=PAIRS[kind])
        ends.append(f"{kind} {values[-1]:.2f}")
    axes.set(xlabel="optimizer step", ylabel="mean cosine similarity")
    axes.margins(y=0.15)
    axes.legend()
    alt = f"Mean cosine of the {stream} stream's pairs over steps; at the end {', '.join(ends)}."
    return _picture(f"cosine_{stream}", figure, alt, "Held-out molecules, projections.")


PAIRS = {"positive": "same molecule (positive)", "negative": "two molecules (negative)"}


def cosine_histogram(stream: str, cosines: Cosines) -> Picture:
    """How positives and negatives overlap at the end."""
    figure, axes = _panel(STREAM_TITLES[stream])
    edges = np.linspace(min(-0.2, *map(np.min, cosines)), 1, 61)
    counts = {kind: np.histogram(getattr(cosines, kind), edges, density=True)[0] for kind in PAIRS}
    axes.stairs(counts["negative"], edges, fill=True, color=VERMILION, alpha=0.45, label=PAIRS["negative"])
    axes.stairs(counts["positive"], edges, color=BLUE, lw=2, label=PAIRS["positive"])
    # logarithmic: positives crowd near 1, where a linear axis would hide the negatives' spread
    axes.set(xlabel="cosine similarity", ylabel="density, logarithmic", yscale="log", ylim=(0.01, None))
    axes.legend(loc="upper left")
    above = float((cosines.negative < np.median(cosines.positive)).mean())
    alt = (
        f"Histograms of cosine similarity, {stream} stream: positives have mean "
        f"{cosines.positive.mean():.2f}, negatives {cosines.negative.mean():.2f}."
    )
    caption = f"The exported encoder. {above:.1%} of the negatives lie below the median positive."
    return _picture(f"histogram_{stream}", figure, alt, caption)


def embedding_map(variant: Variant, seen: Map, log_p: Float[NDArray, " g"]) -> Picture:
    """t-SNE of the held-out molecules, coloured by logP."""
    title = "Pretrained encoder" if variant == "pretrained" else "The same encoder, random weights"
    figure, axes = _panel(title, height=4.4)
    low, high = np.quantile(log_p, [0.02, 0.98])
    across, up = seen.points.T
    dots = axes.scatter(
        across, up, c=log_p, cmap="viridis", vmin=low, vmax=high, s=16, label="a held-out molecule"
    )
    figure.colorbar(dots, ax=axes, extend="both", label="Crippen logP (RDKit)")
    axes.set(xlabel="t-SNE 1 (no unit)", ylabel="t-SNE 2 (no unit)", xticks=[], yticks=[])
    axes.legend(loc="upper left", fontsize=9)
    scores = (
        f"Trustworthiness {seen.trustworthiness:.3f}; "
        f"logP from nearest neighbours: R² {seen.neighbour_r2:.2f}."
    )
    alt = f"t-SNE of {len(log_p)} held-out molecules coloured by logP, {VARIANTS[variant]}. {scores}"
    return _picture(f"tsne_{variant}", figure, alt, scores)


class Answers(NamedTuple):
    """Test molecules of one run: what is true, what was predicted, and the run's score."""

    truth: Float[NDArray, " m"]
    predicted: Float[NDArray, " m"]
    score: float


def parity(table: TableOfLabels, variant: Variant, seed: int, answers: Mapping[Variant, Answers]) -> Picture:
    """Predicted against measured; the limits are those of all variants, so that panels compare."""
    figure, axes = _panel(f"{table.name.upper()}, {VARIANTS[variant]}", height=4.6)
    every = np.concatenate([part for each in answers.values() for part in each[:2]])
    limits = (every.min() - 0.4, every.max() + 0.4)
    here = answers[variant]
    axes.plot(limits, limits, color=GREY, ls=":", lw=1.8, label="predicted = measured")
    axes.scatter(
        here.truth,
        here.predicted,
        s=22,
        alpha=0.7,
        color=VARIANT_COLOURS[variant],
        label=f"{len(here.truth)} test molecules",
    )
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    axes.set(xlabel=f"measured {table.quantity}", ylabel=f"predicted {table.quantity}")
    axes.legend(loc="upper left")
    score = f"{table.metric_name} {here.score:.3f} {table.unit}".rstrip()
    alt = f"Predicted against measured {table.quantity}, {VARIANTS[variant]}, {score}."
    return _picture(f"parity_{table.name}_{variant}", figure, alt, f"Test part, seed {seed}. {score}.")


def roc(table: TableOfLabels, answers: Mapping[Variant, Sequence[Answers]]) -> Picture:
    """A curve for every seed."""
    from sklearn.metrics import roc_curve

    figure, axes = _panel(f"{table.name.upper()}, test part", height=4.6)
    axes.plot((0, 1), (0, 1), color=GREY, ls=":", lw=1.8, label="chance, area 0.5")
    said = []
    for variant, runs in answers.items():
        mean = float(np.mean([run.score for run in runs]))
        for index, run in enumerate(runs):
            false, true, _ = roc_curve(run.truth, run.predicted)
            label = f"{VARIANTS[variant]}, mean area {mean:.3f}" if not index else None
            ls = "-" if variant == "pretrained" else "--"
            axes.plot(false, true, color=VARIANT_COLOURS[variant], ls=ls, lw=1.8, alpha=0.8, label=label)
        said.append(f"{VARIANTS[variant]} {mean:.3f}")
    axes.set(xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
    axes.legend(loc="lower right", fontsize=9.5)
    alt = f"ROC curves on the test part; mean area: {', '.join(said)}; chance is 0.5."
    return _picture(
        f"roc_{table.name}", figure, alt, "One curve a seed; whether a molecule " + table.quantity + "."
    )


def molecule(index: int, smiles: str) -> Picture:
    """A structure, drawn by RDKit."""
    from rdkit import Chem
    from rdkit.Chem.Draw import rdMolDraw2D

    canvas = rdMolDraw2D.MolDraw2DCairo(640, 440)
    rdMolDraw2D.PrepareAndDrawMolecule(canvas, Chem.MolFromSmiles(smiles))
    return Picture(f"molecule_{index}", canvas.GetDrawingText(), f"Structure of {smiles}", smiles)


def _panel(title: str, height: float = 3.7, *, whole: bool = False) -> tuple[Figure, Axes]:
    """One axis pair; `whole` where the horizontal axis counts steps."""
    figure = Figure(figsize=(5.4, height), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=13, loc="left")
    axes.tick_params(labelsize=11)
    axes.xaxis.label.set_fontsize(11.5)
    axes.yaxis.label.set_fontsize(11.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd", lw=0.7)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=whole))
    return figure, axes


def _picture(name: str, figure: Figure, alt: str, caption: str) -> Picture:
    stream = io.BytesIO()
    figure.savefig(stream, dpi=RESOLUTION, facecolor="white")
    return Picture(name, stream.getvalue(), alt, caption)


def _streams(record: Mapping[str, Any], metric: str) -> list[str]:
    return [stream for stream in STREAM_COLOURS if f"{stream}_{metric}" in record]


def _dash(stream: str) -> str:
    return "-" if stream == "graph" else "--"
