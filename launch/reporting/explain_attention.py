"""The page's section on attention: what each fingerprint reads of a molecule's atoms, SMILES and description.

Explanation  ->  HTML
Colours count in even shares: a row that is read as if all rows were read equally has 1, and no colour. So attention
that chooses nothing looks like nothing, however its largest weight compares with its smallest.
"""

from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from finetune.explain.attention import Reading, Word
from finetune.explain.choice import Drawn
from finetune.explain.files import strings_of, words_of
from finetune.explain.job import Explanation
from launch.reporting import explain_molecules as drawing
from launch.reporting import markup
from sharding.files import write_bytes

LEAST_FULL = 1.5
"""Even shares that get the full colour, at least: nearly even attention stays pale."""
NAMES = {"local": "local graph", "global": "global graph", "smiles": "SMILES", "text": "description"}
PARTS = {"graph": "atoms", "text": "tokens"}
FINGERPRINTS = {"maccs": "MACCS", "pubchem": "PubChem", "erg": "ErG"}


def attention_section(made: Explanation, output: Path) -> str:
    """Empty where there is none."""
    if made.readings is None:
        return ""
    drawn = made.drawn[made.targets[0]]
    read = {one.place: _Read(made, made.readings[one.place], one.place) for one in drawn}
    full = _Full(
        *(max([LEAST_FULL, *most]) for most in zip(*(one.most for one in read.values()), strict=True))
    )
    parts = [
        "<p>How much each fingerprint reads of what, before the last layers see it: the softmax of the fusion's "
        "cross-attention, mean over heads. It says what was looked at, not what it did to the answer; the sections "
        "above say that.</p>",
        _table(made, made.readings),
        _legend(made, full) if drawn else "",
    ]
    parts += [_molecule(made, one, read[one.place], full, output) for one in drawn]
    return markup.section("What the fingerprint reads", *parts)


def told(made: Explanation, one: Drawn, target: str) -> str:
    """A molecule's row, answer and label."""
    place = made.subject.target(target)
    label, answer = made.subject.labels[one.place, place], made.subject.predicted[one.place, place]
    known = "no label" if np.isnan(label) else f"label {label:.3g}"
    why = "" if one.why.startswith("row") else f"{one.why}: "
    return f"{why}row {made.subject.rows[one.place]}, predicted {answer:.3g}, {known}"


class _Full(NamedTuple):
    """Even shares that get the full colour, on atoms and in strings."""

    atoms: float = LEAST_FULL
    words: float = LEAST_FULL


class _Read:
    """What is read of one molecule, in even shares."""

    def __init__(self, made: Explanation, reading: Reading, place: int) -> None:
        design = made.subject.model.design
        graph, text = design.of("graph"), design.of("text")
        self.atoms: Float64[NDArray, " a"] | None = None
        if graph:
            self.atoms = reading.atoms.mean(0) * reading.rows(graph) / len(graph)
        self.words: dict[str, list[Word]] = {view: words_of(made, view, place) for view in text}
        rows = reading.rows(text)
        self.times = {
            view: [float(word.weights.mean()) * rows / word.tokens for word in words]
            for view, words in self.words.items()
        }

    @property
    def most(self) -> _Full:
        """The largest of its atoms, and of its symbols and words."""
        words = [value for values in self.times.values() for value in values]
        return _Full(0.0 if self.atoms is None else float(self.atoms.max()), max(words, default=0.0))


def _legend(made: Explanation, full: _Full) -> str:
    """What the colours count."""
    said = "<p>Below, mean over the fingerprints: what is read more than an even share, in even shares"
    parts = []
    if made.subject.model.design.of("graph"):
        parts.append(drawing.scale(f"atoms: {full.atoms:.2g}", signed=False))
    if made.subject.model.design.of("text"):
        parts.append(drawing.scale(f"words and symbols: {full.words:.2g}", signed=False))
        said += "; point at a word for its number"
    return f"{said}.</p>{markup.grid(parts)}"


def _table(made: Explanation, readings: list[Reading]) -> str:
    """What each fingerprint reads of each view, the mean over all explained molecules, and how evenly."""
    design, rows = made.subject.model.design, []
    for stream in ("graph", "text"):
        views = design.of(stream)
        for view in views:
            first = np.array([reading.weights[view][:, 0] for reading in readings])
            rest = np.array([reading.weights[view][:, 1:].sum(1) for reading in readings])
            rows.append([f"{NAMES[view]}: {PARTS[stream]}", *_percents(rest)])
            rows.append([f"{NAMES[view]}: read-out", *_percents(first)])
        if views:
            rows.append([f"evenness, {stream}", *(f"{value:.2f}" for value in _evenness(readings, views))])
    names = [FINGERPRINTS[name.value] for name in design.fingerprints]
    table = markup.table(["is read by", *names], rows, numbers=range(1, len(names) + 1))
    note = (
        "The graph views add up to 100 %, and so do SMILES and description. A read-out is a view's one vector for the "
        "whole molecule. Evenness: 1 reads all alike; reading one atom or word only would be near 0."
    )
    return f'{table}<p class="note">{note}</p>'


def _percents(values: Float64[NDArray, "n k"]) -> list[str]:
    return [f"{value:.0%}" for value in values.mean(0)]


def _evenness(readings: list[Reading], views: list[str]) -> Float64[NDArray, " k"]:
    """exp(entropy) / rows, the mean over molecules."""
    found = []
    for reading in readings:
        weights = np.concatenate([reading.weights[view] for view in views], axis=1)
        entropy = -(weights * np.log(np.maximum(weights, 1e-12))).sum(1)
        found.append(np.exp(entropy) / weights.shape[1])
    return np.mean(found, axis=0)


def _molecule(made: Explanation, one: Drawn, read: _Read, full: _Full, output: Path) -> str:
    """The drawing, and the strings beside it."""
    about, parts = made.subject, []
    caption = told(made, one, made.targets[0])
    if read.atoms is not None:
        more = np.maximum(read.atoms - 1, 0)
        svg = drawing.molecule_svg(about.molecules.smiles[one.place], more, full.atoms - 1, signed=False)
        write_bytes(output / "pictures" / f"attention-row-{about.rows[one.place]}.svg", svg.encode())
        parts.append(drawing.figure(svg, f"Atoms read of {about.molecules.smiles[one.place]}", caption))
    else:
        parts.append(f"<p>{escape(caption)}</p>")
    said = []
    for view, string in reversed(strings_of(made, one.place).items()):  # the description first
        places = [(word.begin, word.end) for word in read.words[view]]
        shares = [(times - 1) / (full.words - 1) for times in read.times[view]]
        hints = [f"{times:.2g} x an even share" for times in read.times[view]]
        style = ' class="symbols"' if view == "smiles" else ""
        said.append(f"<p{style}>{drawing.marked(string, places, shares, hints)}</p>")
    return f'<div class="read">{"".join(parts)}<div>{"".join(said)}</div></div>'
