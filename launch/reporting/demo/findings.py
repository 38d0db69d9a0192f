"""Everything that the report tells, read from a demo's folder; nothing is drawn or worded here.

output/{shards,pretrain,encoder,finetune}, stages.json  ->  Findings
"""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from launch.journal import Journal
from launch.reporting.demo.comparison import Comparison, Run, read_comparisons
from launch.reporting.demo.held_out import HeldOut, look_at_held_out
from launch.reporting.demo.pictures import Answers
from sharding.errors import UserError
from sharding.files import read_json
from sharding.manifest import load_manifest


@dataclass(frozen=True, eq=False)
class Findings:
    """One demo."""

    manifest: dict[str, Any]
    metrics: list[dict[str, Any]]
    evaluation: list[dict[str, Any]]
    environment: dict[str, Any]
    held_out: HeldOut
    comparisons: list[Comparison]
    journal: Journal

    @property
    def streams(self) -> list[str]:
        """Streams that were trained."""
        return [stream for stream in ("graph", "text") if f"{stream}_loss" in self.metrics[-1]]

    @property
    def bytes_per_molecule(self) -> float:
        """Of the shards, all columns together."""
        return sum(shard["bytes"] for shard in self.manifest["shards"]) / max(1, self.manifest["n_ok"])

    @property
    def disagreement(self) -> float:
        """Greatest difference between the run's last evaluation and that of the exported encoder."""
        last, again = self.evaluation[-1], self.held_out.metrics
        return max(abs(last[name] - value) for name, value in again.items() if name in last)


def read_findings(output: Path, journal: Journal) -> Findings:
    """Read, and embed the held-out molecules. Raises `UserError` naming what is missing."""
    run, encoder = output / "pretrain", output / "encoder"
    for file in (
        run / "metrics.jsonl",
        run / "evaluation.jsonl",
        run / "environment.json",
        encoder / "config.json",
    ):
        if not file.is_file():
            raise UserError(
                f"{file} does not exist yet. Run launch/demo.py output={output} to the end first."
            )
    return Findings(
        manifest=load_manifest(output / "shards"),
        metrics=_lines(run / "metrics.jsonl"),
        evaluation=_lines(run / "evaluation.jsonl"),
        environment=read_json(run / "environment.json"),
        held_out=look_at_held_out(output / "shards", run, encoder),
        comparisons=read_comparisons(output / "finetune"),
        journal=journal,
    )


def answers_on_test_part(run: Run, target: str) -> Answers:
    """The test part of a run's predictions.csv, without missing labels."""
    with (run.folder / "predictions.csv").open(newline="") as stream:
        rows = [
            (float(row[target]), float(row[f"{target}_predicted"]))
            for row in csv.DictReader(stream)
            if row["split"] == "test" and row[target].strip()
        ]
    truth, predicted = np.array(rows).T
    return Answers(truth, predicted, run.score)


def _lines(file: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    if not lines:
        raise UserError(f"{file} is empty. Run the demo to the end first.")
    return lines
