"""The grid: every set with every model and seed, a folder each, made once.

    EvaluateConfig  ->  [Cell]  ->  output/runs/<set>/<model>/<seed>/ with metrics.json and predictions.csv
A cell is a fine-tuning run as launch/finetune.py makes one, or a baseline that leaves the same two files. It is
complete when its metrics.json is there; a cell of other options or weights than asked for now is refused, not mixed in.
All models of a set and seed share one split, and its SHA-256 stands in each metrics.json.
"""

import hashlib
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from finetune.config import FinetuneConfig, Modality, Pretrained, SplitKind
from finetune.evaluation.baselines import BASELINES, check_chemprop
from finetune.evaluation.config import Baseline, EvaluateConfig
from finetune.job import added_columns, answered_rows, finetune, load_encoder, prepare
from finetune.metrics import evaluate
from finetune.molecule_net import named
from finetune.tasks import read_table, write_table
from sharding.errors import UserError, did_you_mean
from sharding.execute import execute
from sharding.files import read_json, sha256, write_json
from sharding.progress import ProgressLine

SEEDED = (SplitKind.balanced_scaffold, SplitKind.cluster, SplitKind.random)


class Cell(NamedTuple):
    """One run: a set, a model or baseline, a seed, and all its options."""

    dataset: str
    model: str
    seed: int
    options: FinetuneConfig

    def __str__(self) -> str:
        return f"{self.dataset} {self.model} seed {self.seed}"

    def __hash__(self) -> int:
        return hash(str(self))

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return Path(self.options.run)

    @property
    def metrics(self) -> Path:
        """Written last."""
        return self.folder / "metrics.json"


def cells(config: EvaluateConfig) -> list[Cell]:
    """All of the grid, the quick sets' files checked. Raises `UserError` for an option or a set that is not there."""
    if Baseline.chemprop in config.baselines:
        check_chemprop()
    found = []
    for dataset in config.datasets:
        for model, own in {**config.models, **{name.value: {} for name in config.baselines}}.items():
            for seed in range(config.seeds):
                folder = Path(config.output) / "runs" / dataset / model / f"seed{seed}"
                asked = replace(
                    _options({**config.common, **own}, model),
                    encoder=config.encoder,
                    dataset=dataset,
                    table=config.data,
                    run=str(folder),
                    seed=seed,
                    split=config.split,
                    split_seed=seed if config.split in SEEDED else 0,
                    device=config.device,
                    overwrite=True,
                )
                found.append(Cell(dataset, model, seed, named(asked)))
    return found


def run_all(config: EvaluateConfig, grid: list[Cell]) -> None:
    """Run what is not complete, where the configuration says."""
    waiting = [cell for cell in grid if not complete(cell)]
    done = len(grid) - len(waiting)
    with ProgressLine("evaluate", len(grid), done) as line:
        if done:
            line.say(f"complete already: {done} of {len(grid)} runs")
        for cell, seconds in execute(waiting, run_cell, config):
            line.advance(1, f"{cell} in {seconds:,.0f} s")


def complete(cell: Cell) -> bool:
    """Whether its files are there. Raises `UserError` when they are of other options."""
    if not cell.metrics.is_file():
        return False
    asked, file = _asked(cell), cell.folder / "cell.json"
    if not file.is_file() or read_json(file) != asked:
        raise UserError(
            f"{cell.folder} holds a run of other options or of another encoder. Delete it, or give a new output=... "
            "for this evaluation."
        )
    return True


def run_cell(cell: Cell) -> float:
    """Make one cell and return its seconds."""
    begun = time.monotonic()
    if cell.model in BASELINES:
        _baseline(cell)
    else:
        finetune(cell.options)
    write_json(cell.folder / "cell.json", _asked(cell))
    return time.monotonic() - begun


def _baseline(cell: Cell) -> None:
    """A baseline's answers, in the files that a fine-tuning run leaves."""
    begun, options = time.monotonic(), cell.options
    table = read_table(Path(options.table), options.smiles, options.targets, options.task)
    data = prepare(options, table, load_encoder(options))
    answers = BASELINES[Baseline(cell.model)](data, options.task, cell.seed)
    header = [*table.header, *added_columns(options)]
    write_table(cell.folder / "predictions.csv", header, answered_rows(data, answers))
    scores = {
        part: evaluate(options.task, data.labels[places], answers[places], options.targets)
        for part, places in data.places.items()
        if part != "train"
    }
    split = {"kind": options.split.value, "sha256": data.split.sha256, "sizes": data.split.sizes}
    about = {"task": options.task.value, "targets": options.targets, "split": split, "seed": cell.seed}
    write_json(cell.metrics, {**scores, **about, "seconds": round(time.monotonic() - begun, 2)})


def _options(given: dict[str, Any], model: str) -> FinetuneConfig:
    """The defaults with these changes. What is required is filled in by the grid."""
    blank: Any = OmegaConf.structured(FinetuneConfig(encoder="-", table="-", run="-", dataset="-"))
    for name in given:
        if name not in blank:
            raise UserError(
                f"models.{model}: '{name}' is no option of launch/finetune.py.{did_you_mean(name, blank)}"
            )
    try:
        made: Any = OmegaConf.to_object(OmegaConf.merge(blank, given))
    except OmegaConfBaseException as error:
        raise UserError(
            f"models.{model}: {str(error).splitlines()[0]}. See launch/finetune.py --help."
        ) from error
    assert isinstance(made, FinetuneConfig)
    return made


def _asked(cell: Cell) -> dict[str, Any]:
    """What decides a cell's result: the options, and of the encoder what the cell reads of it."""
    flat: Any = OmegaConf.to_container(OmegaConf.structured(cell.options), enum_to_str=True)
    free = ("run", "overwrite", "table", "device", "encoder")
    return {name: value for name, value in flat.items() if name not in free} | {
        "model": cell.model,
        "encoder": _read_of_encoder(cell),
    }


def _read_of_encoder(cell: Cell) -> dict[str, str]:
    """Digests. Another encoder of the same shape need not repeat baselines and models with random weights."""
    folder, options = Path(cell.options.encoder), cell.options
    config = read_json(folder / "config.json")
    read = {"record": _digest(config["record"])}
    if cell.model not in BASELINES:
        del config["origin"]
        read["shape"] = _digest(config)
        if options.pretrained != Pretrained.none and options.modalities != [Modality.fingerprint]:
            read["weights"] = sha256(folder / "model.safetensors")
    return read


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
