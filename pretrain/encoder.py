"""The exported encoder: a folder that needs neither DeepSpeed nor the shards that it was trained on.

folder/config.json          sizes, streams, record settings, feature table, tokenizer hashes, origin
folder/model.safetensors    float32 weights
folder/tokenizers/          both, in Hugging Face form
folder/README.md            the model card
SMILES (k)  ->  {view: (k, width)} float32, NaN rows for rejected ones, and the reasons by row
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pretrain.batch import collate
from pretrain.config import Device, LossConfig, ModelConfig, Streams
from pretrain.device import choose_device
from pretrain.model import TwoStreams, Vocabularies
from pretrain.smiles import as_strings, refuse
from sharding.columns import Molecules
from sharding.config import RecordConfig, record_config
from sharding.errors import UserError, did_you_mean
from sharding.feature_table import ATOM_COLUMNS, BOND_COLUMNS
from sharding.featurize import featurize_strings
from sharding.files import read_json, write_json
from sharding.tokens import Tokenizers

ENCODER_SCHEMA = 1
BATCH = 256
"""Molecules encoded at a time, where nothing else is said."""
FEATURES = [[column.name, column.kind, list(column.meaning)] for column in (*ATOM_COLUMNS, *BOND_COLUMNS)]


class Embedding(NamedTuple):
    """What `Encoder.embed` made of k SMILES."""

    vectors: dict[str, NDArray[np.float32]]
    """{view: (k, width)} in the order given, NaN where a SMILES was rejected."""
    rejected: dict[int, str]
    """{position: reason} of those, keys of `sharding.molecule.REASONS`."""


class Encoder:
    """A model with what it needs to read SMILES. `Encoder.from_pretrained(folder)` is the usual way to one."""

    def __init__(
        self, model: TwoStreams, tokenizers: Tokenizers, record: RecordConfig, config: dict[str, Any]
    ):
        self.model, self.tokenizers, self.record, self.config = model, tokenizers, record, config

    @classmethod
    def from_pretrained(cls, folder: str | Path, device: str = Device.auto) -> "Encoder":
        """`load` with its weights, on a device: auto (a GPU that is there), cpu or cuda."""
        encoder = cls.load(folder)
        encoder.model.to(choose_device(Device(device)))
        return encoder

    @classmethod
    def load(cls, folder: str | Path, *, weights: bool = True) -> "Encoder":
        """Open an encoder folder, in evaluation mode on the CPU. `weights=False` keeps the random ones.

        Raises `UserError` for a folder that is no encoder, or was made by another schema or feature table.
        """
        folder = Path(folder)
        config = _read_config(folder)
        tokenizers = Tokenizers.beside(folder)
        try:
            known, record = config["tokenizers"] == tokenizers.sha256, record_config(config["record"])
            model = build(config, tokenizers)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{folder}/config.json is not as it was written ({error}). Export the encoder again."
            ) from error
        if not known:
            raise UserError(
                f"{folder}/tokenizers are not those of its config.json. Export the encoder again."
            )
        if weights:
            try:
                model.load_state_dict(load_file(folder / "model.safetensors"))
            except (OSError, SafetensorError, RuntimeError) as error:
                raise UserError(
                    f"{folder}/model.safetensors does not fit its config.json ({str(error).splitlines()[0]}). "
                    "Export the encoder again."
                ) from error
        return cls(model.eval(), tokenizers, record, config)

    def save(self, folder: str | Path) -> None:
        """Write config.json, model.safetensors and tokenizers; the weights first, the config last."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.tokenizers.save(folder)
        weights = {
            name: tensor.detach().float().contiguous() for name, tensor in self.model.state_dict().items()
        }
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        write_json(folder / "config.json", self.config)

    def molecules(self, smiles: Sequence[str], views: Sequence[str] = ()) -> tuple[Molecules, dict[int, str]]:
        """What these views, or all, read of the valid ones (`line` is the position in `smiles`), and {position: reason}
        of the rest."""
        made, reasons = featurize_strings(smiles, self.tokenizers, self.record, self.choose_views(views))
        return made.molecules, reasons

    @torch.inference_mode()
    def encode(
        self, molecules: Molecules, batch: int = BATCH, views: Sequence[str] = ()
    ) -> dict[str, Tensor]:
        """{view: (m, width)} on the CPU, in evaluation mode, `batch` molecules at a time."""
        self.model.eval()
        device = next(self.model.parameters()).device
        found: dict[str, list[Tensor]] = {view: [] for view in self.choose_views(views)}
        for start in range(0, len(molecules), batch):
            part = collate(molecules.slice(start, min(start + batch, len(molecules)))).to(device)
            for view, vectors in self.model.encode(part, found).items():
                found[view].append(vectors.float().cpu())
        return {
            view: torch.cat(parts) if parts else torch.zeros(0, self.model.widths[view])
            for view, parts in found.items()
        }

    def embed(
        self, smiles: Iterable[str], *, views: Sequence[str] = (), batch: int = BATCH, strict: bool = False
    ) -> Embedding:
        """Vectors of these views, or of all, `batch` molecules at a time.

        A SMILES that cannot be read has a row of NaN and its reason; with `strict` it raises `InvalidSmiles` instead.
        """
        strings = as_strings(smiles)
        molecules, rejected = self.molecules(strings, views)
        if strict:
            refuse(strings, rejected)
        vectors = {}
        for view, rows in self.encode(molecules, batch, views).items():
            vectors[view] = np.full((len(strings), rows.shape[1]), np.nan, np.float32)
            vectors[view][molecules.line] = rows.numpy()
        return Embedding(vectors, rejected)

    def choose_views(self, asked: Sequence[str]) -> list[str]:
        """Those asked for, or all, in the encoder's order; `UserError` for one that it does not have."""
        known = list(self.model.widths)
        for view in asked:
            if view not in known:
                raise UserError(
                    f"views: the encoder has no view '{view}'.{did_you_mean(view, known)} It has: {', '.join(known)}."
                )
        return [view for view in known if view in asked or not asked]


def _read_config(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    if not file.is_file():
        raise UserError(f"{folder} is no encoder folder (no config.json). Make one with launch/export.py.")
    try:
        config = read_json(file)
    except ValueError as error:
        raise UserError(f"{file} is not JSON ({error}). Export the encoder again.") from error
    if not isinstance(config, dict):
        raise UserError(f"{file} is no encoder's. Give a folder made with launch/export.py.")
    if config.get("schema") != ENCODER_SCHEMA or config.get("features") != FEATURES:
        raise UserError(
            f"{folder} holds an encoder of schema {config.get('schema')} or of another feature table; this "
            f"version reads schema {ENCODER_SCHEMA}. Export it again with this version."
        )
    return config


def build(config: dict[str, Any], tokenizers: Tokenizers) -> TwoStreams:
    """The model that an encoder's config.json describes, with random weights."""
    loss = LossConfig(
        streams=Streams(config["streams"]),
        learn_temperature=config["learn_temperature"],
        temperature=config["temperature"],
    )
    vocabularies = Vocabularies(tokenizers.smiles.size, tokenizers.text.size)
    return TwoStreams(ModelConfig(**config["model"]), loss, vocabularies)


def describe_encoder(
    model: ModelConfig, loss: LossConfig, record: RecordConfig, tokenizers: Tokenizers, origin: dict[str, Any]
) -> dict[str, Any]:
    """The content of config.json."""
    kept = {name: value for name, value in asdict(record).items() if not name.endswith("_tokenizer")}
    return {
        "name": "molparallax encoder",
        "schema": ENCODER_SCHEMA,
        "model": asdict(model),
        "streams": loss.streams.value,
        "learn_temperature": loss.learn_temperature,
        "temperature": loss.temperature,
        "record": kept,
        "tokenizers": tokenizers.sha256,
        "features": FEATURES,
        "origin": origin,
    }
