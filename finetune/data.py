"""The molecules of a labelled table: read, split, and checked before anything is trained.

r rows of the table, n molecules that could be read, t targets.
    Table  ->  Prepared: columns of molecules and fingerprints (n), labels (n, t), the places of each part
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from finetune.config import Duplicates, FinetuneConfig, Task
from finetune.duplicates import Repeated, check_allowed, find_repeated, used
from finetune.metrics import evaluate, selection
from finetune.split import Split, make_split
from finetune.tasks import Table, reasons_in_words
from pretrain.encoder import Encoder
from sharding.columns import Molecules
from sharding.config import Fingerprint
from sharding.errors import UserError
from sharding.featurize import STRINGS, Featurized, featurize_strings


@dataclass(frozen=True, eq=False)
class Prepared:
    """The n molecules of a table, in its order, with labels (n, t), and the place of each part among them."""

    table: Table
    molecules: Molecules
    smiles: list[str]
    labels: Float64[NDArray, "n t"]
    rejected: dict[int, str]
    repeated: Repeated
    split: Split
    places: dict[str, NDArray[np.int64]]
    fingerprints: dict[str, NDArray[np.unsignedinteger]]


def prepare(
    config: FinetuneConfig,
    table: Table,
    encoder: Encoder,
    fingerprints: Sequence[Fingerprint] = (),
    views: Collection[str] = (),
) -> Prepared:
    """Read what these views read of the molecules, and split them.

    Raises `UserError` when a part cannot play its role.
    """
    made, rejected = read_smiles(table.smiles, encoder, fingerprints, views)
    rows = np.asarray(made.molecules.line, np.int64)
    if not len(rows):
        reasons = reasons_in_words(Counter(rejected.values()))
        raise UserError(f"{config.table} holds no valid molecule: {reasons}. Is smiles= the column?")
    labels = table.labels[rows]
    repeated = find_repeated(made.smiles, labels)
    if config.duplicates is Duplicates.refuse:
        check_allowed(repeated, rows, made.smiles, config.table)
    kept = used(repeated, len(rows), config.duplicates)
    split = make_split(config, table, [made.smiles[place] for place in kept], rows[kept].tolist())
    places = {part: np.searchsorted(rows, members) for part, members in split.parts.items()}
    _check_parts(config, labels, places)
    return Prepared(
        table=table,
        molecules=made.molecules,
        smiles=made.smiles,
        labels=labels,
        rejected=rejected,
        repeated=repeated,
        split=split,
        places=places,
        fingerprints=made.fingerprints,
    )


def read_smiles(
    smiles: Sequence[str],
    encoder: Encoder,
    fingerprints: Sequence[Fingerprint],
    views: Collection[str] = STRINGS,
) -> tuple[Featurized, dict[int, str]]:
    """Columns of the valid ones, with these fingerprints, as this encoder reads these views; {position: reason} of the
    rest."""
    record = replace(encoder.record, fingerprints=list(fingerprints), skeleton=False)
    return featurize_strings(smiles, encoder.tokenizers, record, views)


def _check_parts(
    config: FinetuneConfig, labels: Float64[NDArray, "n t"], places: dict[str, NDArray[np.int64]]
) -> None:
    """There is something to learn, and something to choose the epoch by."""
    train = labels[places["train"]]
    for target, column in zip(config.targets, train.T, strict=True):
        if np.isnan(column).all():
            raise UserError(
                f"target '{target}' has no label in the training part of split={config.split}. "
                "Choose another split, or leave this target out."
            )
    if (np.nanmin(train, axis=0) == np.nanmax(train, axis=0)).all():
        every = f"target '{config.targets[0]}'" if len(config.targets) == 1 else "every target"
        kind = "class" if config.task == Task.classification else "label"
        raise UserError(
            f"{every} has one {kind} only in the training part of split={config.split} ({len(train)} molecules): "
            "nothing to learn. Choose another split or other fractions."
        )
    metric, truth = selection(config.task, config.metric).metric, labels[places["valid"]]
    if evaluate(config.task, truth, np.zeros_like(truth), config.targets)[metric] is None:
        raise UserError(
            f"{metric}, which chooses the epoch, is not defined on the valid part of split={config.split} "
            f"({len(truth)} molecules): no label, or one class only. Choose another split or other fractions."
        )
