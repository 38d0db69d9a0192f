"""The page of an explanation: shares, atoms, attention and maps, and how each is to be read.

Explanation  ->  report.html, which needs no other file, and pictures/
"""

import math
from html import escape
from pathlib import Path

import numpy as np

from finetune.config import Task
from finetune.explain.job import DOMINATES, Explanation
from launch.reporting import explain_molecules as drawing
from launch.reporting import markup
from launch.reporting.explain_attention import attention_section, told
from launch.reporting.explain_pictures import (
    AT_MOST,
    SCAFFOLD_STYLES,
    frequent,
    label_map,
    scaffold_map,
    shares_picture,
)
from launch.reporting.panel import Picture
from sharding.files import write_bytes

FULL_QUANTILE = 0.98
"""Of all explained atoms: a value above it has no deeper colour, so that one atom does not make the others pale."""
STYLE = """<style>
.few { display: flex; flex-wrap: wrap; gap: .8rem; } .few figure { width: 9.5rem; margin: 0; }
.bar { max-width: 20rem; } .bar img { border: 0; }
.read { display: flex; flex-wrap: wrap; gap: 1.2rem; align-items: start; margin-bottom: 1.4rem; }
.read > figure { margin: 0; flex: 0 1 19rem; } .read > div { flex: 1 1 22rem; }
.read p { margin: .2rem 0 .7rem; line-height: 1.75; }
.read span { border-radius: 3px; padding: .05rem 0; } .symbols { font-family: monospace; overflow-wrap: anywhere; }
.swatch { display: inline-block; width: .8rem; height: .8rem; border-radius: 2px; }
</style>"""


def write_report(made: Explanation, output: Path) -> Path:
    """Write the page, and its drawings beside it."""
    sections = [
        _shares(made, output),
        _atoms(made, output),
        attention_section(made, output),
        _maps(made, output),
    ]
    page = output / "report.html"
    write_bytes(page, _document(made, [section for section in sections if section]).encode())
    return page


def in_short(made: Explanation) -> list[str]:
    """What a reader should know first, sentence by sentence."""
    said = []
    for target, modality, share in made.dominated():
        said.append(
            f"Warning: in {target} the {modality} has {share:.0%} of the share, more than {DOMINATES:.0%}. The model "
            f"is little more than one that reads the {modality} alone."
        )
    if made.shares is not None:
        parts = zip(made.modalities, made.shares.mean(0), strict=True)
        over = f", mean of {len(made.shares)} targets" if len(made.shares) > 1 else ""
        said.append(f"Shares{over}: {', '.join(f'{name} {part:.0%}' for name, part in parts)}.")
    for name, one in made.maps.items():
        said.append(f"{name} keeps neighbourhoods with a trustworthiness of {one.trustworthiness:.2f}.")
    return [*said, *made.left_out]


def _document(made: Explanation, sections: list[str]) -> str:
    design = made.subject.model.design
    reading, members = ", ".join(made.modalities), len(made.subject.model.members)
    head = (
        f"{STYLE}<h1>Why this model answers as it does</h1>"
        f'<p class="lead">{escape(made.subject.told[:1].upper() + made.subject.told[1:])}. '
        f"{design.task.capitalize()} of "
        f"{escape(', '.join(design.targets[:AT_MOST]))}; system {design.system}, fusion {design.fusion}, "
        f"reads {reading}; {members} member{'s' if members > 1 else ''}; {made.seconds:,.0f} s.</p>"
    )
    short = "".join(f"<li>{escape(sentence)}</li>" for sentence in in_short(made))
    return markup.document("Explanation", head, f'<ul class="short">{short}</ul>', *sections)


def _shares(made: Explanation, output: Path) -> str:
    if made.shares is None:
        return ""
    rows = [
        [target, *(f"{part:.1%}" for part in row)]
        for target, row in zip(made.subject.model.design.targets, made.shares, strict=True)
    ]
    table = markup.table(["target", *made.modalities], rows, numbers=range(1, len(made.modalities) + 1))
    return markup.section(
        "Which modality decides",
        "<p>How much of the answers' differences from those of other molecules comes through each modality: exact "
        f"Shapley values against {len(made.subject.background.molecules):,} comparison molecules. A share says how "
        "much a modality moves the answer, not whether it moves it towards the truth.</p>",
        markup.grid([markup.figure(_kept(shares_picture(made), output))]),
        table
        if len(rows) <= AT_MOST
        else f"<details><summary>{len(rows)} targets</summary>{table}</details>",
    )


def _atoms(made: Explanation, output: Path) -> str:
    if not made.atoms:
        return ""
    parts = [
        "<p>Integrated gradients through the graph views: the values of a molecule's atoms add up to its answer less "
        "that of the same skeleton with blank atoms. What the text and the fingerprint say of the same atoms is not in "
        "them.</p>"
    ]
    classes = made.subject.model.design.task == Task.classification
    for number, (target, values) in enumerate(made.atoms.items()):
        full = float(np.quantile(np.abs(np.concatenate(values)), FULL_QUANTILE))
        unit = f"log-odds of {target} = 1" if classes else f"units of {target}"
        parts += [
            f"<h3>{escape(target)}</h3><p>Red atoms raise the prediction, blue atoms lower it, in {escape(unit)}; the "
            "same scale for all molecules. The three largest values are written beside their atoms."
            f"{_graph_share(made, target)}</p>",
            drawing.scale(f"{full:.2g}"),
        ]
        figures, digits = [], _digits(full)
        for one in made.drawn[target]:
            own = values[one.place]
            notes = [f"{value:+.{digits}f}" for value in own]
            svg = drawing.molecule_svg(made.subject.molecules.smiles[one.place], own, full, notes)
            name = f"atoms-{number}-row-{made.subject.rows[one.place]}"
            write_bytes(output / "pictures" / f"{name}.svg", svg.encode())
            caption = f"{told(made, one, target)}. Atoms together {own.sum():+.{digits}f}."
            figures.append(
                drawing.figure(svg, f"Atom values of {made.subject.molecules.smiles[one.place]}", caption)
            )
        parts.append(markup.grid(figures))
    return markup.section("Which atoms move the answer", *parts)


def _digits(full: float) -> int:
    """Decimals that tell two digits of the full colour's value: less than that is not to be seen either."""
    return max(0, 1 - math.floor(math.log10(full))) if full > 0 else 0


def _graph_share(made: Explanation, target: str) -> str:
    """How much of the answer the atoms' values speak of."""
    if made.shares is None:
        return ""
    share = made.shares[made.subject.target(target), made.modalities.index("graph")]
    return f" The graph, through which these values come, has {share:.0%} of this target's share."


def _maps(made: Explanation, output: Path) -> str:
    parts = [
        "<p>The vectors that the last layers read, in two dimensions. Distances between groups and their sizes mean "
        "nothing; neighbours mean something as far as the trustworthiness is high.</p>"
    ]
    for name, one in made.maps.items():
        pictures = [label_map(name, one, made), scaffold_map(name, one, made)]
        parts.append(markup.grid(markup.figure(_kept(picture, output)) for picture in pictures))
    known = frequent(made.scaffolds)
    figures = []
    for number, ((scaffold, count), (colour, _)) in enumerate(zip(known, SCAFFOLD_STYLES, strict=False), 1):
        caption = (
            f"{number}: {count} molecules" if scaffold else f"{number}: {count} molecules without a ring"
        )
        drawn = drawing.figure(drawing.plain_svg(scaffold), scaffold or "no ring", caption)
        figures.append(f'<div><span class="swatch" style="background: {colour}"></span>{drawn}</div>')
    if figures:
        parts.append(
            "<h3>The most frequent scaffolds</h3><p>Rings and what links them, whatever the atoms and bonds are.</p>"
            f'<div class="few">{"".join(figures)}</div>'
        )
    return markup.section("A map of the molecules", *parts)


def _kept(picture: Picture, output: Path) -> Picture:
    """The picture, written beside the page too."""
    write_bytes(output / "pictures" / f"{picture.name}.png", picture.png)
    return picture
