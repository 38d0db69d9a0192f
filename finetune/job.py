"""The fine-tuning job: table -> molecules -> split -> fit -> scores, predictions and a model.

n molecules that could be read, t targets.
    FinetuneConfig  ->  the content of metrics.json, and a run folder (see finetune/run_folder.py)

Everything that a user can get wrong is checked before the run folder is touched. The labels of the test part
are taken out before training and come back for its score only. A job that was killed goes on from its last epoch.
"""

import hashlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from numpy.typing import NDArray
from omegaconf import OmegaConf

from finetune import weights
from finetune.account import added_columns, answered_rows, circumstances, scores, summary
from finetune.applicability import Domain
from finetune.config import FinetuneConfig, Pretrained, Task
from finetune.conformal import Calibration
from finetune.data import Prepared, prepare
from finetune.design import Design, design
from finetune.model import FineTuned, Member
from finetune.molecule_net import named
from finetune.readers import ReadInputs, Source, encoded_each_time, encoded_once
from finetune.run_folder import RunFolder
from finetune.scaler import Scaler
from finetune.state import Progress
from finetune.systems import needs_of
from finetune.tasks import check_free, read_table, write_table
from finetune.train import Examples, fit
from pretrain.device import choose_device
from pretrain.encoder import Encoder
from sharding.files import sha256, write_json
from sharding.progress import ProgressLine

__all__ = ["Prepared", "added_columns", "answered_rows", "finetune", "load_encoder", "prepare", "summary"]


def finetune(config: FinetuneConfig) -> dict[str, Any]:
    """Run the job and return the content of metrics.json."""
    begun, config = time.monotonic(), named(config)
    folder = RunFolder(Path(config.run), overwrite=config.overwrite)
    device = choose_device(config.device)
    table = read_table(Path(config.table), config.smiles, config.targets, config.task)
    check_free(Path(config.table), table.header, added_columns(config))
    encoder = load_encoder(config)
    plan = design(config, encoder.model.widths)
    data = prepare(config, table, encoder, plan.fingerprints, plan.views)
    origin = encoder.config["origin"]

    folder.begin(config, data.split, _identity(config, data))
    members, fits, predicted, domain = _fit_members(config, plan, data, encoder, device, folder)
    metrics = {
        **scores(config, data, predicted),
        "members": fits,
        **circumstances(config, data, plan, origin),
        "seconds": round(time.monotonic() - begun, 2),
    }
    told = {"table": Path(config.table).name, "split_sha256": data.split.sha256, "seed": config.seed}
    if not (config.pretrained == Pretrained.both and config.freeze):
        for member in members:  # new weights must not pass for those they began as
            member.encoder.config["origin"] = {**told, "encoder": metrics["encoder"]}
    valid = data.places["valid"]
    calibration = Calibration(config.task, data.labels[valid], predicted[valid])
    FineTuned(members, told, calibration, domain).save(folder.model)
    write_table(folder.predictions, [*table.header, *added_columns(config)], answered_rows(data, predicted))
    write_json(folder.metrics, metrics)
    folder.end()
    return metrics


def load_encoder(config: FinetuneConfig) -> Encoder:
    """The encoder with the weights that are asked for."""
    return weights.load_encoder(Path(config.encoder), config.pretrained, config.seed)


def _fit_members(
    config: FinetuneConfig,
    plan: Design,
    data: Prepared,
    encoder: Encoder,
    device: torch.device,
    folder: RunFolder,
) -> tuple[list[Member], list[dict[str, int]], Float64[NDArray, "n t"], Domain]:
    """Train each member without the test part's labels: all of them, their epochs, mean answer and domain."""
    labels = data.labels.copy()
    labels[data.places["test"]] = np.nan
    examples = Examples(labels, data.places["train"], data.places["valid"])
    if config.task == Task.regression:
        scaler = Scaler.fit(labels[data.places["train"]])
    else:
        scaler = Scaler.identity(len(config.targets))
    members, fits, answers = [], [], []
    history: list[dict[str, Any]] = []
    for place, (own, read) in enumerate(_readers(config, plan, data, encoder, device)):
        member = Member(own, plan, scaler, config.seed + place)
        tag = {"seed": member.seed} if config.members > 1 else {}
        with ProgressLine(
            " ".join(["epoch", *(f"of seed {seed}" for seed in tag.values())]), config.epochs
        ) as line:
            report = partial(_report, folder, line, [*history], tag)
            done = fit(member, read, examples, config, folder.state(place), report)
            line.advance(config.epochs - line.done, f"{done.epoch} run, best {done.best_epoch}")
        history += [tag | record for record in done.records]
        folder.write_history(history)
        members.append(member)
        fits.append({"seed": member.seed, "epochs": done.epoch, "best_epoch": done.best_epoch})
        answers.append(member.predict(read, np.arange(len(labels))))
        if not place:
            domain = member.domain(read, data.smiles, data.places["train"])
    return members, fits, np.mean(answers, axis=0), domain


def _report(
    folder: RunFolder, line: ProgressLine, before: list[dict[str, Any]], tag: dict[str, int], done: Progress
) -> None:
    """An epoch is over: said, and written after what came before this member."""
    folder.write_history([*before, *(tag | record for record in done.records)])
    note = list(done.records[-1].items())[1:]
    line.advance(done.epoch - line.done, "  ".join(f"{name} {value:.4g}" for name, value in note))


def _readers(
    config: FinetuneConfig, plan: Design, data: Prepared, encoder: Encoder, device: torch.device
) -> Iterator[tuple[Encoder, ReadInputs]]:
    """Each member's encoder and what reads with it; one for all where nothing of it depends on the seed."""
    source = Source(data.molecules, data.fingerprints, needs_of(plan))
    shared = config.freeze and config.pretrained == Pretrained.both
    read: ReadInputs | None = None
    for place in range(config.members):
        if place and not shared:
            encoder = load_encoder(replace(config, seed=config.seed + place))
        encoder.model.to(device)
        if read is None or not shared:
            needed = source.bytes(encoder.model.widths) / 1e9
            if config.freeze and needed > config.cache_gb:
                print(
                    f"what the encoder makes takes {needed:.2g} GB, more than cache_gb={config.cache_gb:g}: "
                    "every epoch encodes anew",
                    file=sys.stderr,
                )
            kept = config.freeze and needed <= config.cache_gb
            read = (encoded_once if kept else encoded_each_time)(encoder, source)
        yield encoder, read


def _identity(config: FinetuneConfig, data: Prepared) -> str:
    """Equal for two jobs whose fits are the same, number by number: one may go on from the other's state."""
    options: Any = OmegaConf.to_container(OmegaConf.structured(config), enum_to_str=True)
    for free in (
        "encoder",
        "table",
        "run",
        "overwrite",
        "split_file",
    ):  # what they hold is compared, not where
        del options[free]
    encoder = [sha256(Path(config.encoder) / name) for name in ("config.json", "model.safetensors")]
    labels = hashlib.sha256(data.labels.tobytes()).hexdigest()
    whole = json.dumps([options, data.split.sha256, encoder, labels, data.smiles])
    return hashlib.sha256(whole.encode()).hexdigest()
