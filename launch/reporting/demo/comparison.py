"""With pretraining and without, on two MoleculeNet tables: which runs there are, and what their scores say.

    finished fine-tuning runs (table, variant, seed)  ->  Comparison  ->  one sentence
Both variants share the split, the head's initial weights (by seed) and everything else; only the encoder's
weights differ. The sentence follows from the numbers: a win needs every seed, not a better mean.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, NamedTuple

from sharding.errors import UserError
from sharding.files import read_json

Variant = Literal["pretrained", "scratch"]
VARIANTS: dict[Variant, str] = {"pretrained": "pretrained", "scratch": "random weights"}
"""The encoder's weights, as a reader knows them."""


class TableOfLabels(NamedTuple):
    """One MoleculeNet table and how its score is read."""

    name: str
    title: str
    target: str
    task: Literal["regression", "classification"]
    metric: str
    metric_name: str
    unit: str
    lower_is_better: bool
    quantity: str

    @property
    def metric_title(self) -> str:
        """With its unit, for a column or a caption."""
        return f"{self.metric_name}, {self.unit}" if self.unit else self.metric_name


TABLES = {
    table.name: table
    for table in (
        TableOfLabels(
            "esol",
            "ESOL: solubility in water",
            "log_solubility",
            "regression",
            "rmse",
            "RMSE",
            "log10(mol/L)",
            True,
            "log10 of solubility in mol/L",
        ),
        TableOfLabels(
            "bbbp",
            "BBBP: crosses the blood-brain barrier",
            "p_np",
            "classification",
            "roc_auc",
            "ROC-AUC",
            "",
            False,
            "crosses the blood-brain barrier",
        ),
    )
}


class Run(NamedTuple):
    """A finished fine-tuning run."""

    folder: Path
    score: float
    metrics: dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """The runs of one table: `runs[variant][seed]`, all on one split."""

    table: TableOfLabels
    runs: dict[Variant, dict[int, Run]]

    @property
    def any_run(self) -> Run:
        """What all runs share (split, sizes, baseline) can be read from this one."""
        return next(run for runs in self.runs.values() for run in runs.values())

    @property
    def split(self) -> dict[str, Any]:
        """Kind, sha256 and sizes."""
        return dict(self.any_run.metrics["split"])

    @property
    def baseline(self) -> float:
        """Score of answering every test molecule with the training part's mean."""
        return float(self.any_run.metrics["baseline"][self.table.metric])

    @property
    def seeds(self) -> list[int]:
        """Seeds that ran with both variants."""
        return sorted(self.runs["pretrained"].keys() & self.runs["scratch"].keys())

    def mean(self, variant: Variant) -> float:
        """Mean test score over the shared seeds."""
        return fmean(self.runs[variant][seed].score for seed in self.seeds)

    def better(self, score: float, other: float) -> bool:
        """Whether `score` beats `other`."""
        return score < other if self.table.lower_is_better else score > other

    @property
    def wins(self) -> int:
        """Seeds with which the pretrained encoder scores better."""
        return sum(
            self.better(self.runs["pretrained"][seed].score, self.runs["scratch"][seed].score)
            for seed in self.seeds
        )

    @property
    def verdict(self) -> str:
        """What the numbers say about pretraining, in two sentences."""
        n, wins = len(self.seeds), self.wins
        here, there = self.mean("pretrained"), self.mean("scratch")
        numbers = f"{self.table.metric_name} {here:.3f} with pretraining, {there:.3f} with random weights"
        if n == 1:
            better = "better" if wins else "no better"
            said = f"One seed only, which shows no trend: pretraining is {better} ({numbers})."
        elif wins == n:
            said = f"Pretraining helped: {numbers} (mean of {n} seeds, better with each)."
        elif self.better(here, there):
            said = f"No clear difference: {numbers}; better in the mean, but with {wins} of {n} seeds only."
        else:
            said = f"Pretraining did not help: {numbers} (mean of {n} seeds; better with {wins} of {n})."
        beaten = "is beaten" if self.better(here, self.baseline) else "is not beaten"
        return f"{said} The baseline, {self.baseline:.3f}, {beaten} by the pretrained encoder."


def run_name(table: str, variant: Variant, seed: int) -> str:
    """The folder of a run under `finetune/`, and of its log."""
    return f"{table}-{variant}-seed{seed}"


RUN_NAME: Callable[[str], re.Match[str] | None] = re.compile(
    rf"({'|'.join(TABLES)})-({'|'.join(VARIANTS)})-seed(\d+)"
).fullmatch


def read_comparisons(folder: Path) -> list[Comparison]:
    """Every table with finished runs of both variants. Raises `UserError` when their splits differ."""
    found: dict[str, dict[Variant, dict[int, Run]]] = {}
    for file in sorted(folder.glob("*/metrics.json")):
        named = RUN_NAME(file.parent.name)
        if named:
            name, variant, seed = named.groups()
            metrics = read_json(file)
            score = float(metrics["test"][TABLES[name].metric])
            runs = found.setdefault(name, {variant: {} for variant in VARIANTS})
            runs[variant][int(seed)] = Run(file.parent, score, metrics)  # type: ignore[index]
    comparisons = [Comparison(TABLES[name], found[name]) for name in TABLES if name in found]
    for comparison in comparisons:
        every = [run for runs in comparison.runs.values() for run in runs.values()]
        digests = {run.metrics["split"]["sha256"] for run in every}
        if len(digests) > 1:
            name = comparison.table.name
            raise UserError(
                f"the runs {folder}/{name}-* are on {len(digests)} different splits. "
                "Delete them and run the demo again."
            )
    return [comparison for comparison in comparisons if comparison.seeds]
