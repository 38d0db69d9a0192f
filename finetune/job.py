"""The fine-tuning job: table -> molecules -> split -> fit -> scores, predictions and a model.

r rows of the table, n molecules that could be read, t targets.
    FinetuneConfig  ->  the content of metrics.json, and a run folder (see finetune/run_folder.py)

Everything that a user can get wrong is checked before the run folder is touched. The labels of the test part
are taken out before training and come back for its score only.
"""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from numpy.typing import NDArray

from finetune.config import FinetuneConfig, Task
from finetune.metrics import evaluate, selection
from finetune.model import Design, FineTuned, Scaler, choose_device
from finetune.molecule_net import named
from finetune.run_folder import RunFolder
from finetune.split import PARTS, Split, make_split
from finetune.tasks import (
    Table,
    check_free,
    number,
    predicted_name,
    read_table,
    reasons_in_words,
    write_table,
)
from finetune.train import Examples, Fitted, fit
from pretrain.encoder import Encoder
from sharding.columns import Molecules
from sharding.errors import UserError, did_you_mean
from sharding.featurize import featurize_strings
from sharding.files import write_json
from sharding.molecule import REASONS
from sharding.progress import ProgressLine, duration


@dataclass(frozen=True, eq=False)
class Prepared:
    """The n molecules of a table, in its order, with labels (n, t), and the place of each part among them."""

    table: Table
    molecules: Molecules
    smiles: list[str]
    labels: Float64[NDArray, "n t"]
    rejected: dict[int, str]
    split: Split
    places: dict[str, NDArray[np.int64]]


def finetune(config: FinetuneConfig) -> dict[str, Any]:
    """Run the job and return the content of metrics.json."""
    begun, config = time.monotonic(), named(config)
    folder = RunFolder(Path(config.run), overwrite=config.overwrite)
    device = choose_device(config.device)
    table = read_table(Path(config.table), config.smiles, config.targets, config.task)
    check_free(Path(config.table), table.header, added_columns(config))
    encoder, views = load_encoder(config)
    data = prepare(config, table, encoder)

    model = design_model(config, data, encoder, views).to(device)
    folder.begin(config, data.split)
    fitted, predicted = _fit(config, model, data, folder)
    metrics = {
        **_scores(config, data, predicted),
        **fitted._asdict(),
        **_circumstances(config, data, model),
        "seconds": round(time.monotonic() - begun, 2),
    }
    if not (config.pretrained and config.freeze):  # new weights must not pass for those they began as
        encoder.config["origin"] = {**model.origin, "encoder": metrics["encoder"]}
    model.save(folder.model)
    write_table(folder.predictions, [*table.header, *added_columns(config)], answered_rows(data, predicted))
    write_json(folder.metrics, metrics)
    return metrics


def load_encoder(config: FinetuneConfig) -> tuple[Encoder, list[str]]:
    """The encoder with the weights that are asked for, and which of its views are read."""
    torch.manual_seed(config.seed)
    encoder = Encoder.load(config.encoder, weights=config.pretrained)
    known = list(encoder.model.widths)
    for view in config.views:
        if view not in known:
            raise UserError(
                f"views: {config.encoder} has no view '{view}'.{did_you_mean(view, known)} "
                f"It has: {', '.join(known)}."
            )
    return encoder, [view for view in known if view in config.views or not config.views]


def prepare(config: FinetuneConfig, table: Table, encoder: Encoder) -> Prepared:
    """Read the molecules and split them; raises `UserError` when a part cannot play its role."""
    made, rejected = featurize_strings(table.smiles, encoder.tokenizers, encoder.record)
    rows = np.asarray(made.molecules.line, np.int64)
    if not len(rows):
        reasons = reasons_in_words(Counter(rejected.values()))
        raise UserError(f"{config.table} holds no valid molecule: {reasons}. Is smiles= the column?")
    split = make_split(config, table, made.smiles, rows.tolist())
    places = {part: np.searchsorted(rows, members) for part, members in split.parts.items()}
    data = Prepared(table, made.molecules, made.smiles, table.labels[rows], rejected, split, places)
    for target, column in zip(config.targets, data.labels[places["train"]].T, strict=True):
        if np.isnan(column).all():
            raise UserError(
                f"target '{target}' has no label in the training part of split={config.split}. "
                "Choose another split, or leave this target out."
            )
    metric, truth = selection(config.task, config.metric).metric, data.labels[places["valid"]]
    if evaluate(config.task, truth, np.zeros_like(truth), config.targets)[metric] is None:
        raise UserError(
            f"{metric}, which chooses the epoch, is not defined on the valid part of split={config.split} "
            f"({len(truth)} molecules): no label, or one class only. Choose another split or other fractions."
        )
    return data


def design_model(config: FinetuneConfig, data: Prepared, encoder: Encoder, views: list[str]) -> FineTuned:
    """The model before training; its scaler knows the training part only."""
    torch.manual_seed(config.seed)  # again: the head is the same whatever weights the encoder took
    if config.task == Task.regression:
        scaler = Scaler.fit(data.labels[data.places["train"]])
    else:
        scaler = Scaler.identity(len(config.targets))
    design = Design(config.task, config.targets, config.system, views, config.hidden, config.dropout)
    origin = {"table": Path(config.table).name, "split_sha256": data.split.sha256, "seed": config.seed}
    return FineTuned(encoder, design, scaler, origin)


def summary(config: FinetuneConfig, metrics: dict[str, Any]) -> str:
    """The job's account, as lines for a person."""
    split, test, baseline = metrics["split"], metrics["test"], metrics["baseline"]
    sizes = ", ".join(f"{size:,} {part}" for part, size in split["sizes"].items())
    rejected, run = metrics["rejected"], Path(config.run)
    return "\n".join(
        [
            f"{metrics['n']:,} rows, {sum(rejected.values()):,} rejected",
            *(f"  {count:,} x {reason}: {REASONS[reason]}" for reason, count in rejected.items()),
            f"split {split['kind']}: {sizes}, sha256 {split['sha256'][:12]}",
            f"best epoch {metrics['best_epoch']} of {metrics['epochs']}, {duration(metrics['seconds'])}",
            *(
                f"test {name} {value:.4f}   baseline {baseline[name]:.4f}"
                for name, value in test.items()
                if isinstance(value, float) and baseline[name] is not None
            ),
            *(f"  {target}: {why} in the test part" for target, why in test.get("undefined", {}).items()),
            f"scores {run / 'metrics.json'}, predictions {run / 'predictions.csv'}, model {run / 'model'}",
        ]
    )


def _fit(
    config: FinetuneConfig, model: FineTuned, data: Prepared, folder: RunFolder
) -> tuple[Fitted, Float64[NDArray, "n t"]]:
    """Train without the test part's labels, then predict every molecule."""
    labels = data.labels.copy()
    labels[data.places["test"]] = np.nan
    examples = Examples(labels, data.places["train"], data.places["valid"])
    read = (model.encoded_once if config.freeze else model.encoded_each_time)(data.molecules)
    with ProgressLine("epoch", config.epochs) as line:

        def report(record: dict[str, Any]) -> None:
            folder.add_epoch(record)
            line.advance(1, "  ".join(f"{name} {value:.4g}" for name, value in list(record.items())[1:]))

        fitted = fit(model, read, examples, config, report)
    return fitted, model.predict(read, np.arange(len(labels)))


def _scores(config: FinetuneConfig, data: Prepared, predicted: Float64[NDArray, "n t"]) -> dict[str, Any]:
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


def _circumstances(config: FinetuneConfig, data: Prepared, model: FineTuned) -> dict[str, Any]:
    """What the scores were obtained with."""
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
        "encoder": {
            "folder": config.encoder,
            "origin": model.encoder.config["origin"],
            "pretrained": config.pretrained,
            "frozen": config.freeze,
            "views": model.design.views,
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
