"""A fine-tuned model: one or more members, each an encoder and the system that reads it, and a scale.

n molecules, t targets.
    Molecules and fingerprints (n)  ->  predictions (n, t) float64: original units, or the probability of class 1
Several members answer with the mean of their answers. The model's folder needs nothing else to predict with:
    folder/config.json          what it answers and how it is built; written last
    folder/head.safetensors     the systems' weights, member by member, and the scaler
    folder/calibration.safetensors   what the validation part said, see finetune/conformal.py
    folder/domain.safetensors        training molecules, see finetune/applicability.py
    folder/encoder/             the encoder, as launch/export.py writes one
    folder/encoder-<i>/         instead of it, where each member has an encoder of its own
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from finetune.applicability import Domain, drawn
from finetune.config import Task
from finetune.conformal import Calibration
from finetune.data import read_smiles
from finetune.design import Design
from finetune.inputs import Inputs
from finetune.readers import BATCH, ReadInputs, Source, device_of, encoded_each_time, pieces, vectors_of
from finetune.scaler import Scaler
from finetune.systems import SYSTEMS, needs_of
from finetune.weights import let_learn
from pretrain.encoder import Encoder
from sharding.errors import UserError
from sharding.featurize import Featurized
from sharding.files import read_json, write_json

MODEL_SCHEMA = 3
NAME = "molparallax fine-tuned model"
CALIBRATION, DOMAIN = "calibration.safetensors", "domain.safetensors"


class Answers(NamedTuple):
    """Of n molecules."""

    predicted: Float64[NDArray, "n t"]
    vectors: Float32[NDArray, "n w"] | None
    """What the first member's encoder made of them, all views that are read side by side; None where it reads none."""


class Member:
    """An encoder and a system of this design, new: its weights depend on the seed alone."""

    def __init__(self, encoder: Encoder, design: Design, scaler: Scaler, seed: int = 0) -> None:
        self.encoder, self.design, self.scaler, self.seed = encoder, design, scaler, seed
        torch.manual_seed(seed)  # the system is the same whatever weights the encoder took
        self.system = SYSTEMS[design.system](design).to(device_of(encoder))
        self.needs = needs_of(design)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return device_of(self.encoder)

    def outputs(self, inputs: Inputs) -> Float[Tensor, "k t"]:
        """What the system says, in the order that was asked for."""
        return self.system(inputs)[inputs.place]

    @torch.inference_mode()
    def answer(self, inputs: Inputs) -> Float64[NDArray, "k t"]:
        """Predictions for these inputs, in evaluation mode."""
        self.system.eval()
        outputs = self.outputs(inputs).double().cpu()
        if self.design.task == Task.classification:
            outputs = outputs.sigmoid()
        return self.scaler.original(outputs.numpy())

    @torch.inference_mode()
    def predict(self, read: ReadInputs, rows: NDArray[np.int64]) -> Float64[NDArray, "n t"]:
        """Predictions for these rows, in their order, in evaluation mode."""
        self.encoder.model.eval()
        parts = [self.answer(read(rows[piece])) for piece in pieces(len(rows))]
        return np.concatenate([np.zeros((0, len(self.design.targets))), *parts])

    @torch.inference_mode()
    def domain(self, read: ReadInputs, smiles: Sequence[str], train: NDArray[np.int64]) -> Domain:
        """Where its answers are no guesses; `smiles` are canonical, of all rows."""
        self.encoder.model.eval()
        known = train[drawn([smiles[row] for row in train])]
        vectors = _joined([vectors_of(read(known[piece]), self.needs) for piece in pieces(len(known))])
        return Domain.fit([smiles[row] for row in known], vectors)

    def learning(self, *, freeze: bool, last_layers: int) -> nn.ModuleDict:
        """What training changes."""
        parts: dict[str, nn.Module] = {"system": self.system}
        self.encoder.model.requires_grad_(False)
        if not freeze:
            parts["encoders"] = let_learn(self.encoder, self.needs.views, last_layers)
        return nn.ModuleDict(parts)


class FineTuned:
    """Predicts from columns of molecules. `FineTuned.load(folder)` is the usual way to one."""

    def __init__(
        self,
        members: Sequence[Member],
        origin: dict[str, Any],
        calibration: Calibration | None = None,
        domain: Domain | None = None,
    ) -> None:
        """Without calibration and domain it answers, and is not saved."""
        self.members, self.origin = list(members), origin
        self.calibration, self.domain = calibration, domain

    @property
    def encoder(self) -> Encoder:
        """The first member's; all have its tokenizers and settings."""
        return self.members[0].encoder

    @property
    def design(self) -> Design:
        """The same for all members."""
        return self.members[0].design

    def to(self, device: torch.device) -> "FineTuned":
        """Move all encoders and systems."""
        for member in self.members:
            member.encoder.model.to(device)
            member.system.to(device)
        return self

    def molecules(self, smiles: Sequence[str]) -> tuple[Featurized, dict[int, str]]:
        """What the members read of the valid ones, and {position: reason} of the rest."""
        return read_smiles(smiles, self.encoder, self.design.fingerprints, self.design.views)

    def predict(self, made: Featurized, batch: int = BATCH) -> Float64[NDArray, "n t"]:
        """The members' mean answer for each molecule."""
        return self.answers(made, batch).predicted

    @torch.inference_mode()
    def answers(self, made: Featurized, batch: int = BATCH) -> Answers:
        """The members' mean, and vectors from the same work; members that share an encoder share its work as well."""
        source = Source(made.molecules, made.fingerprints, self.members[0].needs)
        encoders = {id(member.encoder): member.encoder for member in self.members}
        for encoder in encoders.values():
            encoder.model.eval()
        readers = {key: encoded_each_time(encoder, source) for key, encoder in encoders.items()}
        predicted, vectors = [np.zeros((0, len(self.design.targets)))], []
        by_size = np.argsort(made.molecules.n_atoms, kind="stable")  # neighbours are alike: little padding
        for piece in pieces(len(by_size), batch):
            inputs = {key: read(by_size[piece]) for key, read in readers.items()}
            predicted.append(
                np.mean([member.answer(inputs[id(member.encoder)]) for member in self.members], axis=0)
            )
            vectors.append(vectors_of(inputs[id(self.encoder)], self.members[0].needs))
        order, joined = np.argsort(by_size), _joined(vectors)
        return Answers(np.concatenate(predicted)[order], None if joined is None else joined[order])

    def save(self, folder: Path) -> None:
        """Write the folder of a model with calibration and domain; config.json last: a folder that has one is whole."""
        assert self.calibration is not None
        assert self.domain is not None
        shared = len({id(member.encoder) for member in self.members}) == 1
        scaler = self.members[0].scaler
        weights = {
            "scaler.mean": torch.from_numpy(scaler.mean),
            "scaler.scale": torch.from_numpy(scaler.scale),
        }
        for place, member in enumerate(self.members):
            if not (shared and place):
                member.encoder.save(folder / _encoder_name(place, shared))
            for name, weight in member.system.state_dict().items():
                weights[f"{place}.{name}"] = weight.cpu().contiguous()
        save_file(weights, folder / "head.safetensors", metadata={"format": "pt"})
        self.calibration.save(folder / CALIBRATION)
        self.domain.save(folder / DOMAIN)
        about = {"members": len(self.members), "shared_encoder": shared, "origin": self.origin}
        config = {"name": NAME, "schema": MODEL_SCHEMA, "design": asdict(self.design), **about}
        write_json(folder / "config.json", config)

    @classmethod
    def load(cls, folder: Path) -> "FineTuned":
        """Open a model's folder, or the run's that holds it. Raises `UserError` for any other."""
        folder = model_folder(folder)
        config = _read_config(folder)
        try:
            shared, origin = config["shared_encoder"], config["origin"]
            encoders = [
                Encoder.load(folder / _encoder_name(place, shared))
                for place in range(1 if shared else config["members"])
            ]
            weights = load_file(folder / "head.safetensors")
            scaler = Scaler(weights.pop("scaler.mean").numpy(), weights.pop("scaler.scale").numpy())
            members = []
            for place in range(config["members"]):
                member = Member(encoders[0 if shared else place], Design(**config["design"]), scaler)
                own = {
                    k.removeprefix(f"{place}."): v for k, v in weights.items() if k.startswith(f"{place}.")
                }
                member.system.load_state_dict(own)
                members.append(member)
        except (OSError, KeyError, TypeError, SafetensorError, RuntimeError) as error:
            raise UserError(
                f"{folder}/head.safetensors does not fit its config.json ({str(error).splitlines()[0]}). "
                "Fine-tune again."
            ) from error
        plan = members[0].design
        calibration = Calibration.load(folder / CALIBRATION, plan.task, len(plan.targets))
        domain = Domain.load(folder / DOMAIN, sum(plan.sizes[view] for view in plan.views))
        return cls(members, origin, calibration, domain)


def model_folder(folder: Path) -> Path:
    """The model's own, of that or of the run's."""
    inner = folder / "model"
    return inner if not (folder / "config.json").is_file() and (inner / "config.json").is_file() else folder


def _joined(parts: Sequence[Float32[NDArray, "k w"] | None]) -> Float32[NDArray, "n w"] | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if known else None


def _encoder_name(place: int, shared: bool) -> str:
    return "encoder" if shared else f"encoder-{place}"


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
