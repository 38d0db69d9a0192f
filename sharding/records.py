"""Rows of a bucket become records: featurized in a child that a molecule may kill, and by option told anew.

    k rows  ->  their records, {position: reason} of the molecules that were fatal

Apart from `sharding.write`, which brings webdataset and with it torch: the child needs neither, and starts
without them in a third of the time, 190 MB smaller.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from rdkit import Chem

from sharding.binary import PROBES
from sharding.config import RecordConfig
from sharding.featurize import Featurized, featurize
from sharding.guard import guarded
from sharding.plan import Plan
from sharding.tokens import Tokenizers, Where, opened

if TYPE_CHECKING:  # imported when a text is asked for
    from sharding.text.language_model import TextWriter


class Row(NamedTuple):
    """A distinct molecule of a bucket."""

    smiles: str
    id: int
    name: str


def guarded_features(
    rows: Sequence[Row], tokenizers: Tokenizers, record: RecordConfig, time_limit_s: float
) -> tuple[Featurized, dict[int, str]]:
    """The records of these rows, any of which may hang or crash: see `guarded`."""
    probes = [Row(smiles, 0, "") for smiles in PROBES]
    return guarded(features, rows, tokenizers.where, record, time_limit_s=time_limit_s, warm_up=probes)


def features(rows: Sequence[Row], tokenizers: Where, record: RecordConfig) -> Featurized:
    """The records of these rows: what the guard's child does."""
    numbers = np.array([row.id for row in rows], np.int64)
    return featurize([row.smiles for row in rows], numbers, opened(tokenizers), record)


def retold(
    made: Featurized, writer: "TextWriter", tokenizers: Tokenizers, record: RecordConfig
) -> tuple[Featurized, Counter[str]]:
    """The same records with a language model's texts, and how many came from where."""
    molecules = [Chem.MolFromSmiles(smiles) for smiles in made.smiles]  # these came through the guard
    texts, counted = writer.write(molecules, made.smiles, made.texts)
    tokens = tokenizers.text.encode(texts, record.max_text_tokens)
    columns = replace(made.molecules, n_text_tokens=tokens.lengths, text_tokens=tokens.ids)
    return (
        replace(
            made,
            molecules=columns,
            texts=texts,
            cut=Counter({**made.cut, "text": tokens.cut}),
            unknown_tokens=Counter({**made.unknown_tokens, "text": tokens.unknown}),
        ),
        counted,
    )


_writers: dict[str, "TextWriter"] = {}
"""One a process and configuration: a model is loaded once, a cache is read once."""


def text_writer(plan: Plan, root: Path) -> "TextWriter":
    from sharding.text.language_model import TextWriter

    config = plan.record.language_model
    folder = Path(config.cache) if config.cache else root / "text_cache"
    key = f"{folder} {config}"
    if key not in _writers:
        _writers.clear()
        _writers[key] = TextWriter(config, folder)
    return _writers[key]
