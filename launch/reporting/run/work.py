"""The pictures of how a run works: learning rate, gradients, speed, memory.

lines of metrics.jsonl  ->  Picture
"""

import numpy as np
from matplotlib.ticker import PercentFormatter

from launch.reporting.panel import (
    BLUE,
    GREEN,
    GREY,
    PURPLE,
    VERMILION,
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
from launch.reporting.run.findings import RunFindings, series, values_of

TOWERS = {"local": (BLUE, "-"), "global": (GREEN, "--"), "smiles": (VERMILION, "-."), "text": (PURPLE, ":")}
"""Colour and dash of each encoder with its projection head."""


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
        ends.append(end("whole", values_of(run.metrics, "gradient_norm"), "black", "{:.3g}"))
    for tower in towers(run):
        (colour, dash), key = TOWERS[tower], f"gradient_norm_{tower}"
        steps, values = zip(*series(run.metrics, key), strict=True)
        line(axes, steps, values, colour, dash=dash)
        ends.append(end(tower, values_of(run.metrics, key), colour, "{:.3g}"))
    axes.set(xlabel="optimizer step", ylabel="L2 norm, log.", yscale="log")
    clip = float(run.config["train.gradient_clipping"])
    low, high = axes.get_ylim()
    if clip and low / 2 < clip < high * 2:  # one far away would flatten the curves
        chance(axes, clip)
        ends.append(End(clip, f"clipped at {clip:g}", GREY))
    marked = mark([axes], run.marks)
    name_ends(axes, ends)
    alt = f"Gradient norms over steps; at the end {', '.join(one.text for one in ends)}."
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


def towers(run: RunFindings) -> list[str]:
    """Those whose gradient norms are recorded."""
    return [tower for tower in TOWERS if series(run.metrics, f"gradient_norm_{tower}")]
