"""The page: findings and pictures become one HTML file without any outside resource.

    Findings, {name: Picture}  ->  HTML
Every statement is made from the numbers. Plain HTML with one small style sheet; it reads on a phone, in the
dark, and printed.
"""

from collections.abc import Iterable, Mapping
from html import escape

from launch.reporting.curves import stream_in_short
from launch.reporting.demo.comparison import VARIANTS, Comparison
from launch.reporting.demo.findings import Findings
from launch.reporting.markup import document, figure, grid, section, table
from launch.reporting.panel import Picture
from sharding.molecule import REASONS
from sharding.progress import duration


def write_page(findings: Findings, pictures: Mapping[str, Picture]) -> str:
    """The whole document."""
    shown = {name: figure(picture) for name, picture in pictures.items()}
    return document(
        "molparallax: a demo",
        "<header><h1>Molecules from two viewpoints</h1>",
        f'<p class="lead">{_lead(findings)}</p></header><main>',
        '<ul class="short">' + "".join(f"<li>{escape(line)}</li>" for line in in_short(findings)) + "</ul>",
        _molecules(findings, shown),
        _pretraining(findings, shown),
        _maps(findings, shown),
        _finetuning(findings, shown),
        _what_ran(findings, shown),
        "</main>",
    )


def in_short(findings: Findings) -> list[str]:
    """The results, a sentence each."""
    last, evaluation, manifest = findings.metrics[-1], findings.evaluation[-1], findings.manifest
    lines = [
        f"{manifest['n_in']:,} molecules in, {manifest['n_ok']:,} kept, "
        f"{findings.bytes_per_molecule:.0f} bytes each."
    ]
    lines += [stream_in_short(stream, last, evaluation) for stream in findings.streams]
    return [*lines, *(f"{each.table.name.upper()}: {each.verdict}" for each in findings.comparisons)]


def _lead(findings: Findings) -> str:
    took = duration(sum(findings.journal.content["stages"].values()))
    return escape(
        f"The whole job on small real data, in {took}: {findings.manifest['n_ok']:,} molecules, "
        f"{findings.metrics[-1]['step']:,} pretraining steps. This shows that every part works. It says "
        "little about how good such an encoder becomes with millions of molecules and hours of training."
    )


def _molecules(findings: Findings, shown: Mapping[str, str]) -> str:
    manifest = findings.manifest
    rejected = manifest["n_rejected"]
    rows = [
        ("in", f"{manifest['n_in']:,}", ""),
        ("kept", f"{manifest['n_ok']:,}", ""),
        ("duplicates", f"{manifest['n_duplicate']:,}", "the same canonical SMILES again"),
        ("rejected", f"{sum(rejected.values()):,}", ""),
        *((f"rejected: {reason}", f"{count:,}", REASONS[reason]) for reason, count in rejected.items()),
        (
            "bytes per molecule",
            f"{findings.bytes_per_molecule:.0f}",
            "graph, SMILES, description, tokens; packed",
        ),
    ]
    examples = [
        shown[f"molecule_{place}"].replace("</figcaption>", f"<br>{escape(example.text)}</figcaption>")
        for place, example in enumerate(findings.held_out.examples, 1)
    ]
    return section(
        "The molecules",
        table(("molecules", "number", ""), rows, numbers={1}),
        f"<p>The first {len(examples)} of the held-out molecules, with their SMILES and the description that "
        "a program wrote from the structure:</p>",
        grid(examples),
    )


def _pretraining(findings: Findings, shown: Mapping[str, str]) -> str:
    last, streams = findings.evaluation[-1], findings.streams
    rows = [[stream, *(f"{last[f'{stream}_recall_at_{k}']:.1%}" for k in (1, 5, 10))] for stream in streams]
    rows.append(["chance", *(f"{k * last['chance']:.2%}" for k in (1, 5, 10))])
    return section(
        "Pretraining",
        "<p>Each stream learns to find a molecule's other view among the views of other molecules. An "
        "encoder to which all are equally likely has the loss ln(2N - 1), with N molecules a step.</p>",
        grid([shown["losses"]]),
        "<h3>Does it find molecules that it never saw?</h3>",
        grid(shown[f"recall_{stream}"] for stream in streams),
        table(("stream", "recall@1", "recall@5", "recall@10"), rows, numbers={1, 2, 3}),
        "<h3>How alike are the two views of one molecule, and those of two?</h3>",
        grid(shown[f"cosine_{stream}"] for stream in streams),
        grid(shown[f"histogram_{stream}"] for stream in streams),
        '<p class="note">The numbers of the run\'s last evaluation, computed again from the exported encoder '
        f"without DeepSpeed, differ by at most {findings.disagreement:.1g}.</p>",
    )


def _maps(findings: Findings, shown: Mapping[str, str]) -> str:
    seen = findings.held_out.maps
    here, there = seen["pretrained"].neighbour_r2, seen["scratch"].neighbour_r2
    return section(
        "A map of held-out molecules",
        "<p>t-SNE of the vectors that fine-tuning reads, all views side by side. The colour is logP, which "
        "pretraining meets only as a word of the description (low, moderate, high). Trustworthiness says "
        "how far neighbours on the map are neighbours in the embedding: 1 is best, a random map has about "
        "0.5.</p>",
        grid(shown[f"tsne_{variant}"] for variant in VARIANTS),
        f"<p>Nearest neighbours in the pretrained embedding say {'more' if here > there else 'no more'} "
        f"about a molecule's logP (R² {here:.2f}) than with random weights (R² {there:.2f}).</p>",
    )


def _finetuning(findings: Findings, shown: Mapping[str, str]) -> str:
    parts = [
        "<p>The encoder stays frozen; a small head learns from its vectors. <em>Random weights</em> is the "
        "same encoder without pretraining, on the same split, with the same head. The baseline answers every "
        "test molecule with the mean of the training part.</p>"
    ]
    if not findings.comparisons:
        parts.append("<p>No fine-tuning run with and without pretraining is complete.</p>")
    for comparison in findings.comparisons:
        kinds = (f"parity_{comparison.table.name}", f"roc_{comparison.table.name}")
        parts += [
            f"<h3>{escape(comparison.table.title)}</h3>",
            f"<p><strong>{escape(comparison.verdict)}</strong></p>",
            _scores(comparison),
            grid(picture for name, picture in shown.items() if name.startswith(kinds)),
        ]
    return section("With and without pretraining", *parts)


def _scores(comparison: Comparison) -> str:
    seeds, split, about = comparison.seeds, comparison.split, comparison.table
    rows = [
        [
            title,
            *(f"{comparison.runs[variant][seed].score:.3f}" for seed in seeds),
            f"{comparison.mean(variant):.3f}",
        ]
        for variant, title in VARIANTS.items()
    ]
    rows.append(["baseline", *("" for _ in seeds), f"{comparison.baseline:.3f}"])
    header = (f"test {about.metric_title}", *(f"seed {seed}" for seed in seeds), "mean")
    sizes = ", ".join(f"{size:,} {part}" for part, size in split["sizes"].items())
    return (
        table(header, rows, numbers=set(range(1, len(header))))
        + f'<p class="note">{"Lower" if about.lower_is_better else "Higher"} is better. '
        f"{escape(split['kind'].capitalize())} split: {sizes}; "
        f"sha256 <code>{escape(split['sha256'])}</code></p>"
    )


def _what_ran(findings: Findings, shown: Mapping[str, str]) -> str:
    journal, environment = findings.journal.content, findings.environment
    machine = journal["machine"]
    gpus = f"{len(machine['gpus'])} x {machine['gpus'][0]}" if machine["gpus"] else "no GPU"
    commit = environment.get("commit") or "unknown"
    seconds = [(stage, f"{spent:.1f}") for stage, spent in journal["stages"].items()]
    packages = {"python": environment["python"], **environment["packages"]}
    versions = [(package, version) for package, version in packages.items() if version]
    return section(
        "What ran",
        f"<p>{machine['cores']} CPU cores, {escape(gpus)}; pretraining on {environment['world']} ranks. "
        f"Commit <code>{escape(commit)}</code>.</p>",
        grid([shown["stages"]]),
        table(("stage", "wall time, s"), seconds, numbers={1}),
        _commands(journal["commands"].values()),
        "<h3>Versions</h3>",
        table(("package", "version"), versions),
    )


def _commands(recorded: Iterable[Mapping[str, str]]) -> str:
    by_stage: dict[str, list[str]] = {}
    for entry in recorded:
        by_stage.setdefault(entry["stage"], []).append(entry["shown"])
    return "".join(
        f"<details{' open' if len(lines) == 1 else ''}><summary>{escape(stage)}: {len(lines)} "
        f"command{'' if len(lines) == 1 else 's'}</summary><pre>{escape(chr(10).join(lines))}</pre></details>"
        for stage, lines in by_stage.items()
    )
