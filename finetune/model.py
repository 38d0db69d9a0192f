"""A fine-tuned model: an encoder, the system that reads its views, and the scale of its answers.

n molecules, t targets, w width of a view.
    Molecules (n)  ->  predictions (n, t) float64: original units, or the probability of class 1
Its folder needs nothing else to predict with:
    folder/config.json          what it answers, from which views, of which sizes; written last
    folder/head.safetensors     the system's weights and the scaler
    folder/encoder/             the encoder, as launch/export.py writes one
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from finetune.config import Device, SystemName, Task
from finetune.systems import SYSTEMS
from pretrain.batch import collate
from pretrain.encoder import Encoder
from sharding.columns import Molecules
from sharding.errors import UserError
from sharding.files import read_json, write_json

MODEL_SCHEMA = 1
NAME = "molparallax fine-tuned model"
ReadViews = Callable[[Int[NDArray, " k"]], dict[str, Tensor]]
"""Rows of some molecules -> {view: (k, w)} on the model's device."""


@dataclass(frozen=True)
class Scaler:
    """Labels in original units <-> what the head is trained on, per target."""

    mean: Float64[NDArray, " t"]
    scale: Float64[NDArray, " t"]

    @classmethod
    def fit(cls, labels: Float64[NDArray, "n t"]) -> "Scaler":
        """Mean and standard deviation of the observed labels, at least one a target."""
        deviation = np.nanstd(labels, axis=0)
        return cls(
            np.nanmean(labels, axis=0), np.where(deviation > 0, deviation, 1.0)
        )  # all equal: shift only

    @classmethod
    def identity(cls, targets: int) -> "Scaler":
        """Nothing changes: what classification uses."""
        return cls(np.zeros(targets), np.ones(targets))

    def scaled(self, labels: Float64[NDArray, "n t"]) -> Float64[NDArray, "n t"]:
        """What the head is trained on; NaN stays NaN."""
        return (labels - self.mean) / self.scale

    def original(self, outputs: Float64[NDArray, "n t"]) -> Float64[NDArray, "n t"]:
        """The inverse."""
        return outputs * self.scale + self.mean


@dataclass(frozen=True)
class Design:
    """What a model answers and how it is built: enough to build it again."""

    task: Task
    targets: list[str]
    system: SystemName
    views: list[str]
    hidden: int
    dropout: float


class FineTuned:
    """Predicts from columns of molecules. `FineTuned.load(folder)` is the usual way to one."""

    def __init__(self, encoder: Encoder, design: Design, scaler: Scaler, origin: dict[str, Any]) -> None:
        self.encoder, self.design, self.scaler, self.origin = encoder, design, scaler, origin
        self.system = SYSTEMS[design.system](
            widths={view: encoder.model.widths[view] for view in design.views},
            targets=len(design.targets),
            hidden=design.hidden,
            dropout=design.dropout,
        )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.system.parameters()).device

    def to(self, device: torch.device) -> "FineTuned":
        """Move the encoder and the system."""
        self.encoder.model.to(device)
        self.system.to(device)
        return self

    def encoded_once(self, molecules: Molecules) -> ReadViews:
        """Reads vectors that the encoder, in evaluation mode, makes here and now."""
        made = self.encoder.encode(molecules)
        # a copy, because autograd refuses tensors that were made in inference mode
        kept = {view: made[view].clone().to(self.device) for view in self.design.views}
        return lambda rows: {view: vectors[torch.from_numpy(rows)] for view, vectors in kept.items()}

    def encoded_each_time(self, molecules: Molecules) -> ReadViews:
        """Runs the encoder on each batch, in the mode that it is in, with gradients where enabled."""

        def read(rows: NDArray[np.int64]) -> dict[str, Tensor]:
            views = self.encoder.model.encode(collate(molecules.take(rows)).to(self.device))
            return {view: views[view] for view in self.design.views}

        return read

    @torch.inference_mode()
    def predict(self, read: ReadViews, rows: NDArray[np.int64], batch: int = 256) -> Float64[NDArray, "n t"]:
        """Predictions for these rows, in their order, in evaluation mode."""
        self.encoder.model.eval()
        self.system.eval()
        parts = [
            self.system(read(rows[start : start + batch])).double().cpu()
            for start in range(0, len(rows), batch)
        ]
        outputs = torch.cat([torch.zeros(0, len(self.design.targets), dtype=torch.float64), *parts])
        if self.design.task == Task.classification:
            outputs = outputs.sigmoid()
        return self.scaler.original(outputs.numpy())

    def save(self, folder: Path) -> None:
        """Write the folder; config.json last, so a folder that has one is whole."""
        self.encoder.save(folder / "encoder")
        weights = {f"system.{name}": weight.cpu() for name, weight in self.system.state_dict().items()}
        weights["scaler.mean"] = torch.from_numpy(self.scaler.mean)
        weights["scaler.scale"] = torch.from_numpy(self.scaler.scale)
        save_file(weights, folder / "head.safetensors", metadata={"format": "pt"})
        config = {"name": NAME, "schema": MODEL_SCHEMA, **asdict(self.design), "origin": self.origin}
        write_json(folder / "config.json", config)

    @classmethod
    def load(cls, folder: Path) -> "FineTuned":
        """Open a model's folder, or the run's that holds it. Raises `UserError` for any other."""
        if not (folder / "config.json").is_file() and (folder / "model" / "config.json").is_file():
            folder = folder / "model"
        config = _read_config(folder)
        encoder = Encoder.load(folder / "encoder")
        design = Design(**{name: config[name] for name in Design.__dataclass_fields__})
        try:
            weights = load_file(folder / "head.safetensors")
            scaler = Scaler(weights.pop("scaler.mean").numpy(), weights.pop("scaler.scale").numpy())
            model = cls(encoder, design, scaler, config["origin"])
            model.system.load_state_dict({k.removeprefix("system."): v for k, v in weights.items()})
        except (OSError, KeyError, SafetensorError, RuntimeError) as error:
            raise UserError(
                f"{folder}/head.safetensors does not fit its config.json ({str(error).splitlines()[0]}). "
                "Fine-tune again."
            ) from error
        return model

    def modules(self, *, frozen: bool) -> nn.ModuleDict:
        """What training changes."""
        parts: dict[str, nn.Module] = {"system": self.system}
        if not frozen:  # the projection heads belong to pretraining, other views to nobody here
            parts["encoders"] = nn.ModuleDict(
                {view: self.encoder.model.encoders[view] for view in self.design.views}
            )
        return nn.ModuleDict(parts)


def choose_device(device: Device) -> torch.device:
    """The device that an option means here."""
    if device == Device.cuda and not torch.cuda.is_available():
        raise UserError("device=cuda, and torch finds no CUDA device here. Use device=cpu or device=auto.")
    if device == Device.auto:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device.value)


def _read_config(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    if not file.is_file():
        raise UserError(f"{folder} is no fine-tuned model (no config.json). Make one: launch/finetune.py.")
    try:
        config = read_json(file)
    except ValueError as error:
        raise UserError(f"{file} is not JSON ({error}). Fine-tune again.") from error
    if not isinstance(config, dict) or config.get("name") != NAME:
        raise UserError(f"{folder} is no fine-tuned model. Give the folder of a launch/finetune.py run.")
    if config.get("schema") != MODEL_SCHEMA:
        raise UserError(
            f"{folder} holds a model of schema {config.get('schema')}; this version reads schema "
            f"{MODEL_SCHEMA}. Fine-tune again with this version."
        )
    return config
