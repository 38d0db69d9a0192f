"""Pictures of a training that a demo's report and a run's share: losses, retrieval, cosines over the steps.

lines of metrics.jsonl or evaluation.jsonl  ->  Picture
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import PercentFormatter

from launch.reporting.panel import (
    BLUE,
    GREEN,
    GREY,
    NOTHING,
    STREAM_COLOURS,
    STREAM_DASHES,
    STREAM_MARKERS,
    VERMILION,
    End,
    Marks,
    Picture,
    chance,
    end,
    finish,
    line,
    mark,
    name_ends,
    panel,
)

PAIRS = {"positive": "same molecule (positive)", "negative": "two molecules (negative)"}
PAIR_STYLES = {"positive": (BLUE, "o", "-"), "negative": (VERMILION, "s", "--")}


def losses(metrics: Sequence[Mapping[str, Any]], marks: Marks = NOTHING) -> Picture:
    """Both streams' losses against chance."""
    figure, axes = panel("Contrastive loss", whole=True)
    steps, blind = [entry["step"] for entry in metrics], metrics[-1]["chance"]
    ends = [End(blind, f"chance {blind:.2f}", GREY)]
    for stream in streams(metrics[-1], "loss"):
        values, colour = [entry[f"{stream}_loss"] for entry in metrics], STREAM_COLOURS[stream]
        line(axes, steps, values, colour, dash=STREAM_DASHES[stream], marker=STREAM_MARKERS[stream])
        ends.append(end(stream, values, colour))
    chance(axes, blind)
    axes.set(xlabel="optimizer step", ylabel="NT-Xent loss, nats", ylim=(0, None))
    marked = mark([axes], marks)
    name_ends(axes, ends)
    molecules = round((np.exp(blind) + 1) / 2)
    caption = (
        f"Training loss, each point the mean since the last. Chance is ln(2N - 1), N = {molecules:,} "
        f"molecules a step.{marked}"
    )
    alt = f"Loss over {steps[-1]} steps; at the end {', '.join(one.text for one in ends)}."
    return finish("losses", figure, alt, caption)


def recalls(stream: str, evaluation: Sequence[Mapping[str, Any]], marks: Marks = NOTHING) -> Picture:
    """Recall at 1, 5 and 10 on the held-out molecules, each with its chance."""
    figure, axes = panel(f"Retrieval, {stream} stream", height=4.2, whole=True)
    steps, last = [entry["step"] for entry in evaluation], evaluation[-1]
    ends, said = [], []
    for k, colour, marker in zip(recall_levels(last), (BLUE, GREEN, VERMILION), "os^", strict=True):
        values, blind = [entry[f"{stream}_recall_at_{k}"] for entry in evaluation], k * last["chance"]
        line(axes, steps, values, colour, marker=marker)
        chance(axes, blind, colour)
        ends += [end(f"recall@{k}", values, colour, "{:.1%}"), End(blind, f"chance@{k}", colour)]
        said.append(f"recall@{k} {values[-1]:.1%} (chance {blind:.2%})")
    axes.set(xlabel="optimizer step", ylabel="molecules that find their view", ylim=(0, None))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    marked = mark([axes], marks)
    name_ends(axes, ends)
    alt = f"Held-out retrieval of the {stream} stream over steps; at the end {', '.join(said)}."
    caption = (
        f"Each of {last['gallery']:,.0f} held-out molecules looks for its other view among all of them. Dotted: "
        f"chance.{marked}"
    )
    return finish(f"recall_{stream}", figure, alt, caption)


def cosine_curves(stream: str, evaluation: Sequence[Mapping[str, Any]], marks: Marks = NOTHING) -> Picture:
    """Mean cosine of positives and of negatives over the steps."""
    figure, axes = panel(f"Cosines, {stream} stream", whole=True)
    steps, ends = [entry["step"] for entry in evaluation], []
    for kind, (colour, marker, dash) in PAIR_STYLES.items():
        values = [entry[f"{stream}_{kind}_cosine"] for entry in evaluation]
        line(axes, steps, values, colour, dash=dash, marker=marker)
        ends.append(end(kind, values, colour))
    axes.set(xlabel="optimizer step", ylabel="mean cosine similarity")
    axes.margins(y=0.15)
    marked = mark([axes], marks)
    name_ends(axes, ends)
    said = ", ".join(one.text for one in ends)
    alt = f"Mean cosine of the {stream} stream's pairs over steps; at the end {said}."
    caption = f"Projections of held-out molecules. Positive: of one molecule; negative: of two.{marked}"
    return finish(f"cosine_{stream}", figure, alt, caption)


def stream_in_short(stream: str, metrics: Mapping[str, Any], evaluation: Mapping[str, Any]) -> str:
    """Loss and retrieval of a stream beside chance, in a sentence."""
    loss, blind = metrics[f"{stream}_loss"], metrics["chance"]
    under = "under" if loss < blind else "not under"
    said = f"{stream.capitalize()} stream: loss {loss:.2f}, {under} chance ({blind:.2f})"
    if f"{stream}_recall_at_1" not in evaluation:
        return f"{said}; not evaluated yet."
    recall, level = evaluation[f"{stream}_recall_at_1"], evaluation["chance"]
    return f"{said}; held-out recall@1 {recall:.1%}, {recall / level:.0f} x chance ({level:.2%})."


def recall_levels(entry: Mapping[str, Any]) -> list[int]:
    """The k of an evaluation's recall@k. From the line itself: to ask the module would import all encoders."""
    found = (re.fullmatch(r"[a-z]+_recall_at_(\d+)", key) for key in entry)
    return sorted({int(match.group(1)) for match in found if match})


def streams(entry: Mapping[str, Any], metric: str) -> list[str]:
    """Streams of which this line holds the metric."""
    return [stream for stream in STREAM_COLOURS if f"{stream}_{metric}" in entry]
