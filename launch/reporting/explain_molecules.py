"""Molecules with coloured atoms, as SVG, and text with coloured words.

a atoms of a canonical SMILES.
    values (a,), the value that gets the full colour  ->  SVG
A disc behind each atom has its value's colour in the middle and fades to nothing at the next atom, so that the colour
under an atom is its own. The scale is that of the page, not of the molecule: pale means little. Atoms' symbols are
black, because red oxygen on a red disc says two things at once.
"""

import base64
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray
from rdkit import Chem
from rdkit.Chem.Draw import rdMolDraw2D

RED, BLUE, AMBER = "#cc3311", "#0077bb", "#e69f00"
"""Raises, lowers, is read. The colour-blind tell them apart."""
WIDTH, HEIGHT = 360, 270
STRONGEST = 0.85
"""Opacity of the full colour: bonds stay legible."""
NOTED = 3
"""Atoms whose value is written beside them."""


def molecule_svg(
    smiles: str,
    values: Float64[NDArray, " a"],
    full: float,
    notes: Sequence[str] = (),
    *,
    signed: bool = True,
) -> str:
    """The atoms' values as discs; `notes` (a,) stand beside the atoms with the largest."""
    molecule = Chem.MolFromSmiles(smiles)
    for place in np.argsort(-np.abs(values), kind="stable")[:NOTED].tolist() if notes else []:
        molecule.GetAtomWithIdx(place).SetProp("atomNote", notes[place])
    drawer, places = _drawn(molecule, WIDTH, HEIGHT)
    radius = _bond_length(molecule, places)
    discs = []
    for (x, y), value in zip(places, values, strict=True):
        opacity = min(1.0, abs(value) / full) * STRONGEST if full > 0 else 0.0
        colour = ("red" if value > 0 else "blue") if signed else "amber"
        if opacity >= 0.01 and (signed or value > 0):
            discs.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="url(#{colour})" opacity="{opacity:.2f}"/>'
            )
    behind = f"<defs>{''.join(_fading(*one) for one in _names(signed))}</defs>{''.join(discs)}"
    return drawer.replace("<!-- END OF HEADER -->", f"<!-- END OF HEADER -->{behind}", 1)


def plain_svg(smiles: str, width: int = 150, height: int = 110) -> str:
    """A molecule without values."""
    return _drawn(Chem.MolFromSmiles(smiles), width, height)[0]


def scale(full: str, *, signed: bool = True) -> str:
    """The colours of `molecule_svg` with the numbers at their ends."""
    return f'<div class="bar">{figure(_bar_svg(full, signed=signed), f"colour scale up to {full}", "")}</div>'


def figure(svg: str, alt: str, caption: str) -> str:
    """The drawing inside the page. As an image, so that no drawing's names meet another's."""
    data = base64.b64encode(svg.encode()).decode()
    return (
        f'<figure><img src="data:image/svg+xml;base64,{data}" alt="{escape(alt)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def marked(
    text: str, places: Sequence[tuple[int, int]], shares: Sequence[float], hints: Sequence[str]
) -> str:
    """The text with a colour behind each place; a share of 1 is the full colour."""
    parts, at = [], 0
    for (begin, end), share, hint in zip(places, shares, hints, strict=True):
        parts.append(escape(text[at:begin]))
        opacity = min(1.0, max(0.0, share)) * STRONGEST
        red, green, blue = (int(AMBER[place : place + 2], 16) for place in (1, 3, 5))
        style = f"background: rgba({red}, {green}, {blue}, {opacity:.2f})"
        parts.append(f'<span style="{style}" title="{escape(hint)}">{escape(text[begin:end])}</span>')
        at = end
    return "".join([*parts, escape(text[at:])])


def _drawn(molecule: Chem.Mol, width: int, height: int) -> tuple[str, list[tuple[float, float]]]:
    """The SVG, and where its atoms are."""
    drawer = rdMolDraw2D.MolDraw2DSVG(width, height)
    options: Any = drawer.drawOptions()
    options.useBWAtomPalette()
    options.clearBackground = False
    options.padding = 0.12
    options.annotationFontScale = 0.75
    options.minFontSize = 7
    options.maxFontSize = 16
    options.fixedBondLength = 34
    rdMolDraw2D.PrepareAndDrawMolecule(drawer, molecule)
    places = [drawer.GetDrawCoords(place) for place in range(molecule.GetNumAtoms())]
    drawer.FinishDrawing()
    return drawer.GetDrawingText(), [(place.x, place.y) for place in places]


def _bond_length(molecule: Chem.Mol, places: list[tuple[float, float]]) -> float:
    """The median, in the drawing's units."""
    spots = np.array(places)
    ends = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in molecule.GetBonds()]
    if not ends:
        return 34.0
    first, second = np.array(ends).T
    return float(np.median(np.hypot(*(spots[first] - spots[second]).T)))


def _names(signed: bool) -> list[tuple[str, str]]:
    return [("red", RED), ("blue", BLUE)] if signed else [("amber", AMBER)]


def _fading(name: str, colour: str) -> str:
    stops = ((0, 1), (0.45, 0.85), (1, 0))
    made = "".join(f'<stop offset="{at}" stop-color="{colour}" stop-opacity="{seen}"/>' for at, seen in stops)
    return f'<radialGradient id="{name}">{made}</radialGradient>'


def _bar_svg(full: str, *, signed: bool) -> str:
    ends = ((BLUE, f"-{full}"), (RED, f"+{full}")) if signed else ((AMBER, full),)
    stops = [f'<stop offset="{place}" stop-color="{colour}" stop-opacity="{opacity}"/>'
             for place, colour, opacity in _stops(signed)]  # fmt: skip
    texts = [("4", "start", ends[0][1] if signed else "even share"), ("316", "end", ends[-1][1])]
    if signed:
        texts.append(("160", "middle", "0"))
    said = "".join(f'<text x="{x}" y="34" text-anchor="{anchor}">{text}</text>' for x, anchor, text in texts)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 320 40" width="320" height="40" '
        'font-family="sans-serif" font-size="12">'
        f'<defs><linearGradient id="scale">{"".join(stops)}</linearGradient></defs>'
        f'<rect x="4" y="4" width="312" height="14" fill="url(#scale)" stroke="#bbbbbb"/>{said}</svg>'
    )


def _stops(signed: bool) -> list[tuple[float, str, float]]:
    if not signed:
        return [(0, AMBER, 0), (1, AMBER, STRONGEST)]
    return [(0, BLUE, STRONGEST), (0.5, BLUE, 0), (0.5, RED, 0), (1, RED, STRONGEST)]
