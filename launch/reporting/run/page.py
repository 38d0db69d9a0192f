"""The page of a run: findings and pictures become one HTML file without any outside resource.

    RunFindings, {name: Picture}, the page's folder  ->  HTML
Every statement is made from the numbers; what the folder does not hold is said to be missing.
"""

import os
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from launch.reporting.curves import recall_levels
from launch.reporting.markup import document, figure, grid, section, table
from launch.reporting.panel import Picture
from launch.reporting.run import words
from launch.reporting.run.findings import RunFindings
from launch.reporting.run.options import flat
from sharding.progress import in_bytes

ROWS = 100
"""Skipped steps that the page lists; skipped.jsonl has all."""

UNFINISHED = "unfinished: counts for nothing"


def write_page(run: RunFindings, pictures: Mapping[str, Picture], output: Path) -> str:
    """The whole document."""
    shown = {name: figure(picture) for name, picture in pictures.items()}
    name = run.folder.resolve().name
    return document(
        f"molparallax: {name}",
        f"<header><h1>Pretraining run {escape(name)}</h1>",
        f'<p class="lead">{escape(words.state(run))}</p></header><main>',
        '<ul class="short">' + "".join(f"<li>{escape(line)}</li>" for line in words.in_short(run)) + "</ul>",
        _learning(run, shown),
        _embedding(run, shown),
        _optimisation(shown),
        _speed(run, shown),
        _checkpoints(run),
        _skipped(run, output),
        _configuration(run),
        _where(run),
        "</main>",
    )


def _learning(run: RunFindings, shown: Mapping[str, str]) -> str:
    parts = [
        _pick(shown, "losses", "probe"),
        _pick(shown, *(f"recall_{stream}" for stream in run.streams)),
    ]
    if run.evaluation:
        parts.append(_retrieval(run))
    return section(
        "What it learns",
        "<p>Each stream learns to find a molecule's other view among the views of other molecules. An encoder to "
        "which all are equally likely has the loss ln(2N - 1), with N molecules a step.</p>",
        *parts,
    )


def _retrieval(run: RunFindings) -> str:
    first, newest = run.evaluation[0], run.evaluation[-1]
    levels = recall_levels(newest)
    entries = [first, newest] if len(run.evaluation) > 1 else [newest]
    rows = [
        [f"{stream}, step {entry['step']:,}", *(f"{entry[f'{stream}_recall_at_{k}']:.1%}" for k in levels)]
        for stream in run.streams
        for entry in entries
    ]
    rows.append(["chance", *(f"{k * newest['chance']:.2%}" for k in levels)])
    header = ("held out", *(f"recall@{k}" for k in levels))
    return table(header, rows, numbers=set(range(1, len(header))))


def _embedding(run: RunFindings, shown: Mapping[str, str]) -> str:
    if not run.evaluation:
        return section("The embedding", "<p>There is no evaluation yet.</p>")
    curves = [f"cosine_{stream}" for stream in run.streams]
    counts = [f"histogram_{stream}" for stream in run.streams]
    absent = "" if counts[0] in shown else "<p>The run wrote no histograms of cosines.</p>"
    rows = (curves, counts, ("geometry", "effective_rank"))
    return section("The embedding", *(_pick(shown, *names) for names in rows), absent)


def _optimisation(shown: Mapping[str, str]) -> str:
    absent = "" if "gradient_norm" in shown else "<p>The run wrote no gradient norms.</p>"
    return section("Optimisation", _pick(shown, "schedule", "gradient_norm"), absent)


def _speed(run: RunFindings, shown: Mapping[str, str]) -> str:
    header = ("", "median", "last")
    absent = "" if "memory" in shown else "<p>The run wrote no memory.</p>"
    rows = words.speeds(run)
    return section(
        "Speed and memory", _pick(shown, "speed", "memory"), table(header, rows, numbers={1, 2}), absent
    )


def _checkpoints(run: RunFindings) -> str:
    if not run.checkpoints:
        return section("Checkpoints", "<p>There is none yet.</p>")
    rows = [
        (saved.name, in_bytes(saved.bytes), f"{saved.files:,}", "" if saved.published else UNFINISHED)
        for saved in run.checkpoints
    ]
    return section(
        "Checkpoints",
        table(("folder", "size", "files", ""), rows, numbers={1, 2}),
        '<p class="note">Sizes as they are on the disk. Their SHA-256 are checked when one is loaded, not here.</p>',
    )


def _skipped(run: RunFindings, output: Path) -> str:
    skipped = run.lines["skipped"]
    if not skipped:
        none = "None." if (run.folder / "skipped.jsonl").is_file() else "There is no record of any."
        return section("Skipped steps", f"<p>{none}</p>")
    head = (("step", True), ("reason", False), ("loss", True), ("losses before", True), ("molecules", False))
    rows = [_row("th", [(title, number) for title, number in head])]
    for line in skipped[:ROWS]:
        cells = (
            f"{line['step']:,}",
            escape(str(line.get("reason", "not said"))),
            words.number(line.get("loss")),
        )
        every = (*cells, _usual(line), _molecules(run, line["step"], output))
        rows.append(_row("td", [(cell, number) for cell, (_, number) in zip(every, head, strict=True)]))
    more = (
        f"<p>The first {ROWS} of {len(skipped):,}; skipped.jsonl has all.</p>" if len(skipped) > ROWS else ""
    )
    return section(
        "Skipped steps",
        "<p>Their gradients were not finite, or their loss was a spike: they changed no weight.</p>",
        f'<div class="scroll"><table>{"".join(rows)}</table></div>{more}',
    )


def _row(tag: str, cells: Iterable[tuple[str, bool]]) -> str:
    """Of HTML, which `markup.table` would escape: the molecules are a link."""
    made = (
        f"<{tag}{' class=' + chr(34) + 'number' + chr(34) if number else ''}>{cell}</{tag}>"
        for cell, number in cells
    )
    return f"<tr>{''.join(made)}</tr>"


def _usual(line: Mapping[str, Any]) -> str:
    if not line.get("mean"):  # there were none yet
        return ""
    return f"{words.number(line['mean'])} ± {words.number(line.get('deviation'))}"


def _molecules(run: RunFindings, step: int, output: Path) -> str:
    file = run.folder / "skipped" / f"step-{step}.csv"
    if not file.is_file():
        return "not written"
    there = Path(os.path.relpath(file.resolve(), output.resolve())).as_posix()
    return f'<a href="{quote(there)}">{file.name}</a>'


def _configuration(run: RunFindings) -> str:
    given = [(option.name, option.value, option.default) for option in run.options]
    rows = [*((name, str(run.config.get(name, "")), "") for name in ("data", "run")), *given]
    return section(
        "Configuration",
        f"<p>{len(run.options)} of {len(run.config)} options differ from this version's defaults.</p>",
        table(("option", "value", "default"), rows),
        *_changes(run),
    )


def _changes(run: RunFindings) -> Iterable[str]:
    for line in run.lines["changes"]:
        changed = line.get("changes", {}).items()
        said = "; ".join(f"{name}: {old}, now {new}" for name, (old, new) in changed)
        yield f'<p class="note">Resumed at step {line["step"]:,} with {escape(said)}.</p>'


def _where(run: RunFindings) -> str:
    if not run.environment:
        return section("Where it ran", "<p>environment.json is missing or cannot be read.</p>")
    rows = [
        (name, " ".join(map(str, value)) if isinstance(value, list) else str(value))
        for name, value in flat(run.environment).items()
        if value not in (None, "", []) and name != "starts"
    ]
    return section("Where it ran", _starts(run), table(("", "the newest start"), rows))


def _starts(run: RunFindings) -> str:
    if len(run.starts) < 2:
        return ""
    rows = [
        [f"{start['step']:,}", *(str(start.get(name, "")) for name in ("world", "zero_stage", "commit"))]
        for start in run.starts
    ]
    return table(("started at step", "ranks", "ZeRO stage", "commit"), rows, numbers={0, 1, 2})


def _pick(shown: Mapping[str, str], *names: str) -> str:
    there = [shown[name] for name in names if name in shown]
    return grid(there) if there else ""
