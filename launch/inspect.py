"""What is in a set of shards, on one page: counts, reasons, sizes, and a few molecules, drawn.

    folder of shards  ->  inspect.html in it (no outside resource), and the account as text
Sizes are of a sample of blocks, which are random samples of the molecules; the counts are of all.
"""

import gzip
import itertools
import json
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem
from rdkit.Chem.Draw import rdMolDraw2D

from launch.reporting.markup import document, grid, section, table
from sharding import block
from sharding.columns import Molecules, concatenate
from sharding.files import write_bytes
from sharding.job import summary
from sharding.manifest import REJECTS
from sharding.molecule import REASONS
from sharding.read import Shards

BLOCKS = 16
"""Blocks that the sizes are counted in."""
DRAWN = 12
EXAMPLES = 5
"""Rejected rows shown of each reason."""
LOOKED_AT = 20_000
"""Rejected rows that examples are taken from."""
WIDTH, HEIGHT = 300, 170
BARS = 24


def inspect(root: Path) -> str:
    """Write the page; the account, and where the page is."""
    shards = Shards(root)
    refs = shards.blocks[: min(BLOCKS, len(shards.blocks))]
    molecules = concatenate([shards.read(ref) for ref in refs])
    page = document(
        f"Shards: {root.resolve().name}",
        f"<header><h1>Shards in {escape(root.resolve().name)}</h1>",
        f'<p class="lead">Fingerprint <code>{shards.fingerprint}</code>, schema {shards.manifest["schema"]}, '
        f"RDKit {escape(shards.manifest['settings']['versions']['rdkit'])}.</p></header><main>",
        _counts(shards.manifest),
        _rejected(root, shards.manifest),
        _sizes(molecules, len(shards.blocks), len(refs)),
        _examples(shards),
        "</main>",
    )
    file = root / "inspect.html"
    write_bytes(file, page.encode())
    return f"{summary(shards.manifest)}\npage with drawings: {file}"


def _counts(manifest: dict[str, Any]) -> str:
    size = sum(entry["bytes"] for entry in manifest["shards"])
    rows = [
        ("in", f"{manifest['n_in']:,}", f"input files: {len(manifest['inputs'])}"),
        ("kept", f"{manifest['n_ok']:,}", f"{len(manifest['shards'])} shards, {manifest['blocks']['count']:,} blocks"),
        ("duplicates", f"{manifest['n_duplicate']:,}", "the same canonical SMILES again"),
        ("rejected", f"{sum(manifest['n_rejected'].values()):,}", "see below"),
        ("bytes", f"{size:,}", f"{size / max(1, manifest['n_ok']):.1f} a molecule"),
        *((f"unknown {name}", f"{count:,}", "outside the feature table")
          for name, count in manifest["unknown_features"].items()),
        *((f"{name} cut", f"{count:,}", "more tokens than are kept") for name, count in manifest["cut"].items()),
        *((f"texts {name}", f"{count:,}", "") for name, count in manifest["texts"].items()),
    ]  # fmt: skip
    return section("Counts", table(("molecules", "number", ""), rows, numbers={1}))


def _rejected(root: Path, manifest: dict[str, Any]) -> str:
    if not manifest["n_rejected"]:
        return section("Rejected", "<p>None.</p>")
    examples: dict[str, list[str]] = {}
    for row in itertools.islice(_rejects(root), LOOKED_AT):
        seen = examples.setdefault(row["reason"], [])
        if len(seen) < EXAMPLES:
            seen.append(f"line {row['line']:,}: {row['smiles'][:60]}")
    rows = [
        (reason, f"{count:,}", REASONS[reason], "; ".join(examples.get(reason, [])))
        for reason, count in manifest["n_rejected"].items()
    ]
    return section("Rejected", table(("reason", "number", "meaning", "for example"), rows, numbers={1}))


def _rejects(root: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(root / REJECTS, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _sizes(molecules: Molecules, blocks: int, counted: int) -> str:
    charts = (
        ("Heavy atoms", molecules.n_atoms),
        ("Bonds", molecules.n_bonds),
        ("SMILES tokens", molecules.n_smiles_tokens),
        ("Text tokens", molecules.n_text_tokens),
    )
    about = f"{len(molecules):,} molecules in {counted} of {blocks:,} blocks."
    return section("Sizes", f"<p>{about}</p>", grid(histogram(name, values) for name, values in charts))


def histogram(name: str, values: NDArray[np.integer]) -> str:
    """A picture of how a count is distributed, with its mean and range."""
    low, high = int(values.min()), int(values.max())
    step = max(1, -(-(high - low + 1) // BARS))
    counts = np.bincount((values.astype(np.int64) - low) // step)
    wide, tall = 380 / len(counts), 110 / counts.max()
    bars = "".join(
        f'<rect x="{10 + place * wide:.1f}" y="{120 - count * tall:.1f}" width="{max(1.0, wide - 1):.1f}" '
        f'height="{count * tall:.1f}" fill="#0072B2"/>'
        for place, count in enumerate(counts.tolist())
    )
    label = f"{name}: mean {values.mean():.1f}, {low} to {high}"
    ends = (
        f'<text x="10" y="138" font-size="12" fill="#333">{low}</text>'
        f'<text x="390" y="138" font-size="12" fill="#333" text-anchor="end">{high}</text>'
    )
    return (
        f'<figure><svg viewBox="0 0 400 144" role="img" aria-label="{escape(label)}" style="background:#fff">'
        f"{bars}{ends}</svg><figcaption>{escape(label)}</figcaption></figure>"
    )


def _examples(shards: Shards) -> str:
    members = shards.members(shards.blocks[0])
    found = list(
        zip(*(block.strings(members[name]) for name in ("smiles.txt.gz", "text.txt.gz")), strict=True)
    )
    places = np.unique(np.linspace(0, len(found) - 1, min(DRAWN, len(found))).astype(int)).tolist()
    return section(
        "Molecules", "<p>From the first block.</p>", grid(drawing(*found[place]) for place in places)
    )


def drawing(smiles: str, text: str) -> str:
    """A molecule with its SMILES and its description."""
    canvas = rdMolDraw2D.MolDraw2DSVG(WIDTH, HEIGHT)
    rdMolDraw2D.PrepareAndDrawMolecule(canvas, Chem.MolFromSmiles(smiles))
    canvas.FinishDrawing()
    svg = canvas.GetDrawingText()
    return (
        f"<figure>{svg[svg.index('<svg') :]}<figcaption><code>{escape(smiles)}</code><br>{escape(text)}"
        "</figcaption></figure>"
    )
