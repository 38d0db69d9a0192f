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


def scores(config: FinetuneConfig, data: Prepared, predicted: Float64[NDArray, "n t"]) -> dict[str, Any]:
    """Test and validation scores; the baseline answers every test molecule with the training part's mean."""

    def score(part: str, answers: Float64[NDArray, "k t"]) -> dict[str, Any]:
        return evaluate(config.task, data.labels[data.places[part]], answers, config.targets)

    test, valid = data.places["test"], data.places["valid"]
    mean = np.nanmean(data.labels[data.places["train"]], axis=0)
    return {
        "test": score("test", predicted[test]),
        "baseline": score("test", np.tile(mean, (len(test), 1))),
        "valid": score("valid", predicted[valid]),
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
            # duplicates in the table: zero by construction for a scaffold split
            "test_seen_in_train": sum(data.smiles[place] in trained_on for place in data.places["test"]),
        },
        "n": len(data.table.rows),
        "rejected": dict(Counter(data.rejected.values()).most_common()),
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
            f"split {split['kind']}: {sizes}, sha256 {split['sha256'][:12]}",
            f"best epoch {best}, {duration(metrics['seconds'])}",
            *(
                f"test {name} {value:.4f}   baseline {baseline[name]:.4f}"
                for name, value in test.items()
                if isinstance(value, float) and baseline[name] is not None
            ),
            *(f"  {target}: {why} in the test part" for target, why in test.get("undefined", {}).items()),
            f"scores {run / 'metrics.json'}, predictions {run / 'predictions.csv'}, model {run / 'model'}",
        ]
    )
