"""What a finished fit is worth, as numbers, as rows and as lines for a person.

r rows of the table, n molecules that could be read, t targets.
    Prepared, predictions (n, t)  ->  the content of metrics.json, the rows of predictions.csv, the summary
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from finetune.config import FinetuneConfig
from finetune.data import Prepared
from finetune.design import Design
from finetune.metrics import evaluate, selection
from finetune.split import PARTS
from finetune.tasks import number, predicted_name
from sharding.molecule import REASONS
from sharding.progress import duration

NAMED = 5
"""Targets that a line for a person names; metrics.json names all."""
CONSEQUENCE = {
    "train": "nothing of it was learned",
    "valid": "no say in the choice of the epoch",
    "test": "no score, and not in the mean",
}
"""What follows for a target whose labels in a part define no score."""


def scores(config: FinetuneConfig, data: Prepared, predicted: Float64[NDArray, "n t"]) -> dict[str, Any]:
    """Scores of each part; the baseline answers every test molecule with the training part's mean."""

    def score(part: str, answers: Float64[NDArray, "k t"]) -> dict[str, Any]:
        return evaluate(config.task, data.labels[data.places[part]], answers, config.targets)

    test = data.places["test"]
    mean = np.nanmean(data.labels[data.places["train"]], axis=0)
    return {
        "test": score("test", predicted[test]),
        "baseline": score("test", np.tile(mean, (len(test), 1))),
        **{part: score(part, predicted[data.places[part]]) for part in ("valid", "train")},
        "selected_by": selection(config.task, config.metric).metric,
    }


def circumstances(
    config: FinetuneConfig, data: Prepared, design: Design, origin: dict[str, Any]
) -> dict[str, Any]:
    """What the scores were obtained with; `origin` is the encoder's."""
    trained_on = {data.smiles[place] for place in data.places["train"]}
    return {
        "task": config.task.value,
        "targets": config.targets,
        "split": {
            "kind": config.split.value,
            "sha256": data.split.sha256,
            "sizes": data.split.sizes,
            # zero by construction where groups of molecules stay together
            "test_seen_in_train": sum(data.smiles[place] in trained_on for place in data.places["test"]),
        },
        "n": len(data.table.rows),
        "rejected": dict(Counter(data.rejected.values()).most_common()),
        "duplicates": _duplicates(config, data),
        "system": config.system.value,
        "fusion": config.fusion.value,
        "fingerprints": [name.value for name in design.fingerprints],
        "encoder": {
            "folder": config.encoder,
            "origin": origin,
            "pretrained": config.pretrained.value,
            "frozen": config.freeze,
            "train_layers": config.train_layers,
            "views": design.views,
        },
        "seed": config.seed,
    }


def _duplicates(config: FinetuneConfig, data: Prepared) -> dict[str, Any]:
    """Molecules that stand more than once; rows count from 0, as in split.json."""
    groups, conflicting = data.repeated.groups, data.repeated.conflicting
    rows = data.molecules.line
    return {
        "choice": config.duplicates.value,
        "molecules": len(groups),
        "rows": sum(map(len, groups)),
        "conflicting": len(conflicting),
        "conflicting_rows": [[int(rows[place]) for place in group] for group in conflicting],
    }


def added_columns(config: FinetuneConfig) -> list[str]:
    """What predictions.csv has beside the table's own columns."""
    return ["split", *(predicted_name(target) for target in config.targets), "error"]


def answered_rows(data: Prepared, predicted: Float64[NDArray, "n t"]) -> Iterator[list[str]]:
    """Every row of the table, in order, with its part, its predictions or the reason why there are none."""
    place_of = {int(row): place for place, row in enumerate(data.molecules.line)}
    part_of = {row: part for part in PARTS for row in data.split.parts[part]}
    nothing = [""] * predicted.shape[1]
    for row, fields in enumerate(data.table.rows):
        answers = [number(value) for value in predicted[place_of[row]]] if row in place_of else nothing
        yield [*fields, part_of.get(row, ""), *answers, data.rejected.get(row, "")]


def summary(config: FinetuneConfig, metrics: dict[str, Any]) -> str:
    """The job's account, as lines for a person."""
    split, test, baseline = metrics["split"], metrics["test"], metrics["baseline"]
    sizes = ", ".join(f"{size:,} {part}" for part, size in split["sizes"].items())
    rejected, run = metrics["rejected"], Path(config.run)
    best = ", ".join(f"{member['best_epoch']} of {member['epochs']}" for member in metrics["members"])
    return "\n".join(
        [
            f"{metrics['n']:,} rows, {sum(rejected.values()):,} rejected",
            *(f"  {count:,} x {reason}: {REASONS[reason]}" for reason, count in rejected.items()),
            *_told_duplicates(metrics["duplicates"], split["test_seen_in_train"]),
            f"split {split['kind']}: {sizes}, sha256 {split['sha256'][:12]}",
            f"best epoch {best}, {duration(metrics['seconds'])}",
            *(
                f"test {name} {value:.4f}   baseline {baseline[name]:.4f}"
                for name, value in test.items()
                if isinstance(value, float) and baseline[name] is not None
            ),
            *_told_undefined(metrics),
            f"scores {run / 'metrics.json'}, predictions {run / 'predictions.csv'}, model {run / 'model'}",
        ]
    )


def _told_duplicates(found: dict[str, Any], test_seen_in_train: int) -> Iterator[str]:
    if found["molecules"]:
        yield (
            f"molecules that stand more than once: {found['molecules']:,} ({found['rows']:,} rows), with labels that "
            f"differ: {found['conflicting']:,}; test rows of molecules that train: {test_seen_in_train:,} "
            f"(duplicates={found['choice']})"
        )


def _told_undefined(metrics: dict[str, Any]) -> Iterator[str]:
    """By part and reason, which targets have no score there, and what follows."""
    for part, consequence in CONSEQUENCE.items():
        targets: dict[str, list[str]] = {}
        for target, why in metrics[part].get("undefined", {}).items():
            targets.setdefault(why, []).append(target)
        for why, names in targets.items():
            more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
            # without a spread R2 alone is undefined, and there is nothing to learn
            follows = f": {consequence}" if part == "train" or not why.startswith("r2") else ""
            yield f"  {', '.join(names[:NAMED])}{more}: {why} in the {part} part{follows}"
