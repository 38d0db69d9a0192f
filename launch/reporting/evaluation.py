"""The page of an evaluation: all sets in one table, then a picture and a table a set, and what each number is.

    table.json's content  ->  report.html, and the same as text
A difference is called one only where its interval leaves out zero.
"""

from pathlib import Path
from typing import Any

from launch.reporting import markup
from launch.reporting.panel import BLUE, GREY, Picture, finish, panel
from sharding.files import write_bytes

HIGHER = {"roc_auc": True, "pr_auc": True, "rmse": False, "mae": False}
METRICS = {"roc_auc": "ROC-AUC", "pr_auc": "PR-AUC", "rmse": "RMSE", "mae": "MAE"}


def write_report(content: dict[str, Any], output: Path) -> Path:
    """Write report.html and its pictures."""
    drawn = {}
    for dataset, rows in by_dataset(content).items():
        drawn[dataset] = scores_picture(dataset, rows)
        write_bytes(output / "pictures" / f"{drawn[dataset].name}.png", drawn[dataset].png)
    page = output / "report.html"
    write_bytes(page, _page(content, drawn).encode())
    return page


def summary(content: dict[str, Any]) -> str:
    """The table as lines for a person."""
    lines = [f"{'set':14s} {'model':22s} {'metric':8s} {'mean':>9s}  {'95 % interval':>18s}  seeds"]
    for row in content["rows"]:
        between = _between(row)
        lines.append(
            f"{row['dataset']:14s} {row['model']:22s} {row['metric']:8s} {_number(row['mean']):>9s}  {between:>18s}"
            f"  {len(row['seeds'])}"
        )
    for metric, means in content["means"].items():
        told = ", ".join(f"{model} {_number(mean)}" for model, mean in means.items())
        lines.append(f"mean {METRICS[metric]} over its sets: {told}")
    return "\n".join(lines)


def by_dataset(content: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """{set: its rows}, in the table's order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in content["rows"]:
        found.setdefault(row["dataset"], []).append(row)
    return found


def scores_picture(dataset: str, rows: list[dict[str, Any]]) -> Picture:
    """Each model's mean, its interval as a line, its seeds as dots; the best is above."""
    metric = METRICS[rows[0]["metric"]]
    best_last = sorted(
        (row for row in rows if row["mean"] is not None),
        key=lambda row: row["mean"] if HIGHER[row["metric"]] else -row["mean"],
    )
    figure, axes = panel(dataset, 1.3 + 0.42 * max(1, len(best_last)))
    for place, row in enumerate(best_last):
        if row.get("low") is not None:
            axes.plot([row["low"], row["high"]], [place, place], color=BLUE, lw=2.2, solid_capstyle="round")
        axes.plot(row["scores"], [place] * len(row["scores"]), "o", color=GREY, ms=4, alpha=0.7)
        axes.plot([row["mean"]], [place], "D", color=BLUE, ms=6)
    axes.set_yticks(range(len(best_last)), [row["model"] for row in best_last])
    axes.set_ylim(-0.6, max(1, len(best_last)) - 0.4)
    axes.grid(visible=False, axis="y")
    better = "higher" if HIGHER[rows[0]["metric"]] else "lower"
    axes.set_xlabel(f"{metric} on the test part ({better} is better)")
    told = ", ".join(f"{row['model']} {_number(row['mean'])}" for row in reversed(best_last))
    return finish(
        f"scores-{dataset}",
        figure,
        f"{metric} of each model on {dataset}: {told}.",
        "Diamond: mean over seeds. Dots: seeds. Line: 95 % of resamples of the test molecules.",
    )


def _page(content: dict[str, Any], drawn: dict[str, Picture]) -> str:
    sections = []
    for dataset, rows in by_dataset(content).items():
        parts = [markup.figure(drawn[dataset]), _scores(rows, content), f"<p>{_verdict(rows, content)}</p>"]
        if any("targets" in row for row in rows):
            parts.append(_targets(rows))
        sections.append(markup.section(dataset, *parts))
    head = (
        f"<h1>Evaluation on {len(drawn)} set{'s' if len(drawn) != 1 else ''}</h1>"
        f'<p class="lead">Encoder {Path(content["encoder"]).name}, split {content["split"]}, {content["seeds"]} seeds. '
        f"Differences are against <b>{content['compared_with']}</b>, on the same test molecules.</p>"
    )
    overview = [markup.section("All sets", _overview(content))] if len(drawn) > 1 else []
    notes = [
        "The epoch is chosen on the validation part; test labels come in for the score only.",
        "Interval: 95 % of 1,000 resamples of the test molecules, the mean over seeds in each. It says how sure the "
        "score is on such molecules, not on others.",
        "Deviation: over seeds.",
        "The split's SHA-256 is that of its rows: equal digests are equal splits.",
    ]
    if content["pretraining"]:
        notes.append(
            "Without met: the score of the test molecules whose InChIKey skeleton (or whose scaffold) is not in the "
            "shards that the encoder was pretrained on, and how many were left out."
        )
    listed = "".join(f"<li>{note}</li>" for note in notes)
    return markup.document(
        "Evaluation", head, *overview, *sections, markup.section("How to read this", f"<ul>{listed}</ul>")
    )


def _overview(content: dict[str, Any]) -> str:
    """Models under sets, the best of each set bold, and the means of scores without a unit."""
    sets = by_dataset(content)
    columns = {
        f"{dataset} ({METRICS[rows[0]['metric']]})": (
            rows[0]["metric"],
            {r["model"]: r["mean"] for r in rows},
        )
        for dataset, rows in sets.items()
    }
    columns |= {f"mean {METRICS[name]}": (name, means) for name, means in content["means"].items()}
    best = {}
    for place, (metric, scores) in enumerate(columns.values(), start=1):
        known = [score for score in scores.values() if score is not None]
        if known:
            best[place] = _number(max(known) if HIGHER[metric] else min(known))
    models = dict.fromkeys(row["model"] for row in content["rows"])
    body = [[model, *(_number(scores.get(model)) for _, scores in columns.values())] for model in models]
    scored = {
        METRICS[metric]: [dataset for dataset, rows in sets.items() if rows[0]["metric"] == metric]
        for metric in dict.fromkeys(rows[0]["metric"] for rows in sets.values())
    }
    told = "; ".join(f"{metric}: {', '.join(names)}" for metric, names in scored.items())
    table = markup.table(["model", *columns], body, numbers=range(1, len(columns) + 1), best=best)
    return f"{table}<p class='note'>{told}. Means over seeds; the best of each set is bold.</p>"


def _scores(rows: list[dict[str, Any]], content: dict[str, Any]) -> str:
    header = [
        "model",
        METRICS[rows[0]["metric"]],
        "95 % interval",
        "deviation",
        "difference",
        "its 95 % interval",
    ]
    header += ["seeds", "seconds", "split"]
    if content["pretraining"]:
        header[6:6] = ["without met molecules", "without met scaffolds"]
    body = []
    for row in rows:
        difference = row.get("difference", {})
        cells = [
            row["model"],
            _number(row["mean"]),
            _between(row),
            _number(row["deviation"]),
            _signed(difference.get("value")),
            _between(difference),
            str(len(row["seeds"])),
            f"{row['seconds']:,.0f}",
            " ".join(digest[:12] for digest in row["split_sha256"]),
        ]
        if content["pretraining"]:
            cells[6:6] = [_left(row["without"][kind]) for kind in ("molecule", "scaffold")]
        body.append(cells)
    return markup.table(header, body, numbers=range(1, len(header) - 1))


def _targets(rows: list[dict[str, Any]]) -> str:
    """Each target's mean over seeds, folded away."""
    names = list(rows[0]["targets"])
    header = ["target", *(row["model"] for row in rows)]
    body = [[name, *(_number(_target_mean(row, name)) for row in rows)] for name in names]
    return (
        f"<details><summary>{len(names)} targets</summary>"
        f"{markup.table(header, body, numbers=range(1, len(header)))}</details>"
    )


def _target_mean(row: dict[str, Any], name: str) -> float | None:
    scores = row["targets"].get(name, [None])
    return None if None in scores else sum(scores) / len(scores)


def _verdict(rows: list[dict[str, Any]], content: dict[str, Any]) -> str:
    """What the intervals say, model by model."""
    first, said = content["compared_with"], []
    for row in rows:
        difference = row.get("difference")
        if difference is None or difference["low"] is None:
            continue
        if difference["low"] <= 0 <= difference["high"]:
            said.append(f"{first} and {row['model']}: no difference that this test part shows.")
            continue
        worse = (difference["value"] < 0) == difference["higher_is_better"]
        said.append(f"{first} is {'better' if worse else 'worse'} than {row['model']}.")
    return " ".join(said)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}" if abs(value) >= 10 else f"{value:.3f}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.4g}" if abs(value) >= 10 else f"{value:+.3f}"


def _between(found: dict[str, Any]) -> str:
    if found.get("low") is None:
        return "-"
    return f"{_number(found['low'])} to {_number(found['high'])}"


def _left(found: dict[str, Any]) -> str:
    return f"{_number(found['mean'])} ({found['removed']:,.0f} of {found['of']:,.0f} left out)"
