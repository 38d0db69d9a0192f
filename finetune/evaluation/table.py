"""Finished cells become one table: a row a set and model, with everything that a doubter asks for.

    cells, output folder  ->  table.json, table.csv
Of each row: the set's metric, mean and standard deviation over seeds, a bootstrap interval over test molecules, the
difference from the first model with its paired interval, all other metrics, each target's score where there are
several, the split's SHA-256, and the same score without test molecules that pretraining has met. Beside the rows:
each model's mean over the sets that are scored alike.
A cell that is missing is missing in the table: its row says how many seeds it has.
"""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64
from numpy.typing import NDArray

from finetune.config import Metric, Task
from finetune.evaluation.bootstrap import Answers, draws, interval, resampled
from finetune.evaluation.config import EvaluateConfig
from finetune.evaluation.grid import SEEDED, Cell
from finetune.evaluation.leakage import Met, overlap
from finetune.metrics import evaluate, selection
from finetune.tasks import number, predicted_name, read_label, write_table
from sharding.files import read_json, write_json

LEFT_OUT = ("molecule", "scaffold")
"""What a test molecule can have in common with pretraining."""
UNITLESS = (Metric.roc_auc, Metric.pr_auc)


def make_table(config: EvaluateConfig, grid: Sequence[Cell], met: Met | None) -> dict[str, Any]:
    """Read the finished cells, write table.json and table.csv, return the content of the former."""
    rows = []
    for dataset in config.datasets:
        of_set = [cell for cell in grid if cell.dataset == dataset and cell.metrics.is_file()]
        models = list(dict.fromkeys(cell.model for cell in of_set))
        runs = {model: [cell for cell in of_set if cell.model == model] for model in models}
        rows += [_row(runs[model], runs[models[0]], met) for model in models]
    content = {
        "encoder": config.encoder,
        "split": config.split.value,
        "compared_with": next(iter(config.models)),
        "seeds": config.seeds,
        "pretraining": config.pretraining or None,
        "means": means_over_sets(rows),
        "rows": rows,
    }
    write_json(Path(config.output) / "table.json", content)
    write_table(Path(config.output) / "table.csv", COLUMNS, [_flat(row) for row in rows])
    return content


COLUMNS = [
    *("dataset", "model", "metric", "mean", "deviation", "low", "high", "seeds"),
    *("difference", "difference_low", "difference_high"),
    *(f"without_met_{kind}s{what}" for kind in LEFT_OUT for what in ("", "_removed")),
    *("labels", "split_sha256", "seconds"),
]


def _row(runs: Sequence[Cell], first: Sequence[Cell], met: Met | None) -> dict[str, Any]:
    options, stored = runs[0].options, [read_json(cell.metrics) for cell in runs]
    metric = selection(options.task, options.metric).metric
    scores = [run["test"][metric] for run in stored]
    digests = sorted({run["split"]["sha256"] for run in stored})
    row: dict[str, Any] = {
        "dataset": runs[0].dataset,
        "model": runs[0].model,
        "metric": metric,
        "seeds": [cell.seed for cell in runs],
        "scores": scores,
        "mean": None if None in scores else fmean(scores),
        "deviation": None if None in scores else pstdev(scores),
        "all": _means([run["test"] for run in stored]),
        "labels": stored[0]["test"]["labels"],
        "split_sha256": digests,
        "seconds": fmean(run["seconds"] for run in stored),
    }
    if "targets" in stored[0]["test"]:
        row["targets"] = {
            name: [run["test"]["targets"][name][metric] for run in stored]
            for name in stored[0]["test"]["targets"]
        }
    tests = {cell.seed: _test_part(cell) for cell in runs}
    if options.split not in SEEDED:  # a paired bootstrap wants one test part for all
        row |= _intervals(runs, first, tests)
    if met is not None:
        row["without"] = {kind: _without(runs, tests, met, kind) for kind in LEFT_OUT}
    return row


def means_over_sets(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """{metric: {model: mean over the sets}} where two sets or more have it, of models that all of them have.

    Of scores without a unit only: the errors of two sets cannot be added.
    """
    found: dict[str, dict[str, float]] = {}
    for metric in UNITLESS:
        own = [row for row in rows if row["metric"] == metric]
        sets = {row["dataset"] for row in own}
        for model in dict.fromkeys(row["model"] for row in own):
            scores = [row["mean"] for row in own if row["model"] == model and row["mean"] is not None]
            if len(scores) == len(sets) > 1:
                found.setdefault(metric, {})[model] = fmean(scores)
    return found


def _means(tests: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Every metric that each seed defines."""
    return {
        name: fmean(test[name] for test in tests)
        for name in tests[0]
        if all(isinstance(test.get(name), float) for test in tests)
    }


def _intervals(
    runs: Sequence[Cell], first: Sequence[Cell], tests: dict[int, tuple[list[str], Answers]]
) -> dict[str, Any]:
    """The score's interval, and that of the difference from the first model, over the seeds that both have."""
    options = runs[0].options
    metric, higher_is_better = selection(options.task, options.metric)
    own = [answers for _, answers in tests.values()]
    weights = draws(len(own[0].truth))
    found = interval(resampled(metric, own, weights))
    told: dict[str, Any] = {"low": found and found.low, "high": found and found.high}
    others = {cell.seed: _test_part(cell)[1] for cell in first if cell.seed in tests}
    if runs[0].model == first[0].model or not others:
        return told
    mine = [tests[seed][1] for seed in others]
    here, there = _mean(runs[0], mine), _mean(runs[0], others.values())
    if here is not None and there is not None:
        theirs = resampled(metric, list(others.values()), weights)
        sure = interval(resampled(metric, mine, weights) - theirs)
        told["difference"] = {
            "value": here - there,
            "low": sure and sure.low,
            "high": sure and sure.high,
            "higher_is_better": higher_is_better,
        }
    return told


def _without(
    runs: Sequence[Cell], tests: dict[int, tuple[list[str], Answers]], met: Met, kind: str
) -> dict[str, Any]:
    """The mean score of the test molecules that pretraining has not met, and how many it has."""
    kept, removed = [], []
    for smiles, answers in tests.values():
        new: Bool[NDArray, " n"] = ~getattr(overlap(smiles, met), kind)
        kept.append(Answers(answers.truth[new], answers.predicted[new]))
        removed.append(int((~new).sum()))
    mean = _mean(runs[0], kept) if all(len(answers.truth) for answers in kept) else None
    return {"mean": mean, "removed": fmean(removed), "of": fmean(len(smiles) for smiles, _ in tests.values())}


def _mean(cell: Cell, seeds: Iterable[Answers]) -> float | None:
    """The set's metric, mean over seeds; None where it is not defined."""
    options = cell.options
    metric = selection(options.task, options.metric).metric
    scores = [evaluate(options.task, *answers, options.targets)[metric] for answers in seeds]
    return None if None in scores else fmean(scores)


def _test_part(cell: Cell) -> tuple[list[str], Answers]:
    """SMILES as written, labels and predictions of the test part, from predictions.csv."""
    options = cell.options
    with (cell.folder / "predictions.csv").open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "test"]

    def numbers(columns: Sequence[str], task: Task) -> Float64[NDArray, "n t"]:
        where = f"{cell.folder}/predictions.csv"
        return np.array([[read_label(row[column], task, where) for column in columns] for row in rows])

    predicted = [predicted_name(target) for target in options.targets]
    return [row[options.smiles] for row in rows], Answers(
        numbers(options.targets, options.task), numbers(predicted, Task.regression)
    )


def _flat(row: dict[str, Any]) -> list[str]:
    """A row of table.csv; what there is not is empty."""
    difference, without = row.get("difference", {}), row.get("without", {})
    values = [
        *(row.get(name) for name in ("dataset", "model", "metric", "mean", "deviation", "low", "high")),
        len(row["seeds"]),
        *(difference.get(name) for name in ("value", "low", "high")),
        *(without.get(kind, {}).get(name) for kind in LEFT_OUT for name in ("mean", "removed")),
        row["labels"],
        " ".join(digest[:12] for digest in row["split_sha256"]),
        row["seconds"],
    ]
    return [
        "" if value is None else number(value) if isinstance(value, float) else str(value) for value in values
    ]
