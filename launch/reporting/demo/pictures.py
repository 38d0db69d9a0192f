"""The pictures of a demo: what its exported encoder makes of molecules, and what fine-tuning got from it.

arrays and records  ->  Picture
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from launch.reporting.curves import PAIRS
from launch.reporting.demo.comparison import VARIANTS, TableOfLabels, Variant
from launch.reporting.demo.held_out import Cosines, Map
from launch.reporting.panel import BLUE, GREY, STREAM_TITLES, VERMILION, Picture, finish, panel

VARIANT_COLOURS: dict[Variant, str] = {"pretrained": BLUE, "scratch": VERMILION}


def stage_times(seconds: Mapping[str, float]) -> Picture:
    """A bar a stage."""
    figure, axes = panel("How long each stage took", height=2.9)
    names = list(seconds)
    bars = axes.barh(names, list(seconds.values()), color=BLUE, label="wall time")
    axes.bar_label(bars, fmt="{:.0f} s", padding=4)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlabel("wall time, s")
    axes.grid(visible=False, axis="y")
    said = ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
    return finish("stages", figure, f"Bars of wall time: {said}.", "Wall time of each stage.")


def cosine_histogram(stream: str, cosines: Cosines) -> Picture:
    """How positives and negatives overlap at the end."""
    figure, axes = panel(STREAM_TITLES[stream])
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
    return finish(f"histogram_{stream}", figure, alt, caption)


def embedding_map(variant: Variant, seen: Map, log_p: Float[NDArray, " g"]) -> Picture:
    """t-SNE of the held-out molecules, coloured by logP."""
    title = "Pretrained encoder" if variant == "pretrained" else "The same encoder, random weights"
    figure, axes = panel(title, height=4.4)
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
    return finish(f"tsne_{variant}", figure, alt, scores)


class Answers(NamedTuple):
    """Test molecules of one run: what is true, what was predicted, and the run's score."""

    truth: Float[NDArray, " m"]
    predicted: Float[NDArray, " m"]
    score: float


def parity(table: TableOfLabels, variant: Variant, seed: int, answers: Mapping[Variant, Answers]) -> Picture:
    """Predicted against measured; the limits are those of all variants, so that panels compare."""
    figure, axes = panel(f"{table.name.upper()}, {VARIANTS[variant]}", height=4.6)
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
    return finish(f"parity_{table.name}_{variant}", figure, alt, f"Test part, seed {seed}. {score}.")


def roc(table: TableOfLabels, answers: Mapping[Variant, Sequence[Answers]]) -> Picture:
    """A curve for every seed."""
    from sklearn.metrics import roc_curve

    figure, axes = panel(f"{table.name.upper()}, test part", height=4.6)
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
    return finish(
        f"roc_{table.name}", figure, alt, "One curve a seed; whether a molecule " + table.quantity + "."
    )


def molecule(index: int, smiles: str) -> Picture:
    """A structure, drawn by RDKit."""
    from rdkit import Chem
    from rdkit.Chem.Draw import rdMolDraw2D

    canvas = rdMolDraw2D.MolDraw2DCairo(640, 440)
    rdMolDraw2D.PrepareAndDrawMolecule(canvas, Chem.MolFromSmiles(smiles))
    return Picture(f"molecule_{index}", canvas.GetDrawingText(), f"Structure of {smiles}", smiles)
