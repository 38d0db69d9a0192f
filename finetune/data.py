"""The molecules of a labelled table: read, split, and checked before anything is trained.

r rows of the table, n molecules that could be read, t targets.
    Table  ->  Prepared: columns of molecules and fingerprints (n), labels (n, t), the places of each part
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from finetune.config import FinetuneConfig
from finetune.metrics import evaluate, selection
from finetune.split import Split, make_split
from finetune.tasks import Table, reasons_in_words
from pretrain.encoder import Encoder
from sharding.columns import Molecules
from sharding.config import Fingerprint
from sharding.errors import UserError
from sharding.featurize import Featurized, featurize_strings


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
    fingerprints: dict[str, NDArray[np.unsignedinteger]]


def prepare(
    config: FinetuneConfig, table: Table, encoder: Encoder, fingerprints: Sequence[Fingerprint] = ()
) -> Prepared:
    """Read the molecules and split them; raises `UserError` when a part cannot play its role."""
    made, rejected = read_smiles(table.smiles, encoder, fingerprints)
    rows = np.asarray(made.molecules.line, np.int64)
    if not len(rows):
        reasons = reasons_in_words(Counter(rejected.values()))
        raise UserError(f"{config.table} holds no valid molecule: {reasons}. Is smiles= the column?")
    split = make_split(config, table, made.smiles, rows.tolist())
    places = {part: np.searchsorted(rows, members) for part, members in split.parts.items()}
    labels = table.labels[rows]
    _check_parts(config, labels, places)
    return Prepared(table, made.molecules, made.smiles, labels, rejected, split, places, made.fingerprints)


def read_smiles(
    smiles: Sequence[str], encoder: Encoder, fingerprints: Sequence[Fingerprint]
) -> tuple[Featurized, dict[int, str]]:
    """Columns of the valid ones as this encoder reads them, with these fingerprints; {position: reason} of the rest."""
    record = replace(encoder.record, fingerprints=list(fingerprints), skeleton=False)
    return featurize_strings(smiles, encoder.tokenizers, record)


def _check_parts(
    config: FinetuneConfig, labels: Float64[NDArray, "n t"], places: dict[str, NDArray[np.int64]]
) -> None:
    for target, column in zip(config.targets, labels[places["train"]].T, strict=True):
        if np.isnan(column).all():
            raise UserError(
                f"target '{target}' has no label in the training part of split={config.split}. "
                "Choose another split, or leave this target out."
            )
    metric, truth = selection(config.task, config.metric).metric, labels[places["valid"]]
    if evaluate(config.task, truth, np.zeros_like(truth), config.targets)[metric] is None:
        raise UserError(
            f"{metric}, which chooses the epoch, is not defined on the valid part of split={config.split} "
            f"({len(truth)} molecules): no label, or one class only. Choose another split or other fractions."
        )
