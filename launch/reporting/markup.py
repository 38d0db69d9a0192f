"""HTML's few forms that the page is made of, and its style sheet.

System fonts, one column on a phone, light and dark by the reader's wish. Pictures keep their white paper in
the dark, because their colours were chosen on white.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a page without plots needs no plotting library
    from launch.reporting.panel import Picture

STYLE = """
:root { color-scheme: light dark; --ink: #1d2329; --soft: #5b6670; --line: #dde2e7; --paper: #fff;
  --tint: #f4f6f8; --accent: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e8ec; --soft: #9aa6b2; --line: #353d46; --paper: #14181c; --tint: #1d2329;
    --accent: #56b4e9; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 2rem 1.1rem 4rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.6 system-ui, sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.3rem; margin: 3rem 0 .6rem; padding-top: 1rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.8rem 0 .3rem; }
p, li { max-width: 46rem; }
.lead, figcaption, .note { color: var(--soft); }
.short { background: var(--tint); border-left: 4px solid var(--accent); padding: .8rem 1.1rem .8rem 2rem;
  border-radius: 0 8px 8px 0; margin: 1.2rem 0; }
.short li { margin: .25rem 0; max-width: none; }
.grid { display: grid; gap: 1.2rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 19rem), 1fr)); }
.grid > figure { max-width: 34rem; }
figure { margin: .6rem 0; }
figure img, figure svg { display: block; width: 100%; height: auto; background: #fff; border: 1px solid var(--line);
  border-radius: 8px; }
figcaption { font-size: .9rem; margin-top: .35rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .6rem 0; }
th, td { padding: .3rem .9rem .3rem 0; text-align: left; border-bottom: 1px solid var(--line);
  vertical-align: top; }
td.number, th.number { text-align: right; white-space: nowrap; }
pre { background: var(--tint); padding: .7rem .9rem; border-radius: 8px; overflow-x: auto;
  font-size: .82rem; }
code { overflow-wrap: anywhere; }
summary { cursor: pointer; }
"""


def document(title: str, *body: str) -> str:
    """A page of these parts, with its style inside."""
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>",
            *body,
            "</body></html>\n",
        ]
    )


def section(title: str, *parts: str) -> str:
    """A headline and what belongs to it."""
    return "\n".join([f"<section><h2>{escape(title)}</h2>", *parts, "</section>"])


def grid(figures: Iterable[str]) -> str:
    """Side by side where there is room."""
    return f'<div class="grid">{"".join(figures)}</div>'


def figure(picture: "Picture") -> str:
    """The picture inside the page, with caption and alternative text."""
    data = base64.b64encode(picture.png).decode()
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{escape(picture.alt)}">'
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
    )


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    numbers: Iterable[int] = (),
    best: Mapping[int, str] = MappingProxyType({}),
) -> str:
    """Rows of text under a header; the columns in `numbers` stand to the right, `best` of a column is bold."""
    right = set(numbers)

    def line(cells: Sequence[str], tag: str) -> str:
        starts = [f'{tag} class="number"' if place in right else tag for place in range(len(cells))]
        told = [
            f"<b>{escape(cell)}</b>" if best.get(place) == cell else escape(cell)
            for place, cell in enumerate(cells)
        ]
        made = [f"<{start}>{cell}</{tag}>" for start, cell in zip(starts, told, strict=True)]
        return f"<tr>{''.join(made)}</tr>"

    body = "".join(line(row, "td") for row in rows)
    head = line(header, "th")
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{body}</tbody></table></div>'
