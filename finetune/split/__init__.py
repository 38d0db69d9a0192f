"""Which rows train, which choose the epoch, which test: as one of seven definitions says.

n molecules that can be used (rejected SMILES are in no part).
    canonical SMILES (n), their rows in the table (n)  ->  Split: three sorted lists of rows

"Scaffold split" names several things: the same Random Forest scores BBBP 0.694 on one and 0.926 on another.
Here each has its own name, its definition stands in `groups.py` and `given.py`, and the split's SHA-256 stands
beside every score. Whatever keeps groups together asserts that no group is in two parts.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from finetune.config import FinetuneConfig, SplitKind
from finetune.split.given import column_split, read_split, time_split
from finetune.split.groups import butina_clusters, by_chance, by_size, murcko_scaffolds
from finetune.split.parts import PARTS, Split, assert_no_group_straddles
from finetune.tasks import Table
from sharding.errors import UserError, did_you_mean

__all__ = [
    "PARTS",
    "Split",
    "assert_no_group_straddles",
    "make_split",
    "random_split",
]


def make_split(config: FinetuneConfig, table: Table, smiles: Sequence[str], rows: Sequence[int]) -> Split:
    """The split that the configuration asks for; every part holds at least one molecule."""
    split = _made(config, table, smiles, rows)
    empty = [part for part, members in split.parts.items() if not members]
    if empty:
        raise UserError(
            f"split={config.split} of {len(rows)} molecules leaves none for {' and '.join(empty)}. "
            "Use split=random, other fractions, or a larger table."
        )
    return split


def random_split(rows: Sequence[int], fractions: Sequence[float], seed: int) -> Split:
    """Any molecule anywhere; the same for the same rows and seed."""
    mixed = np.random.default_rng(seed).permutation(np.sort(np.asarray(rows, np.int64))).tolist()
    first, second = round(fractions[0] * len(mixed)), round((fractions[0] + fractions[1]) * len(mixed))
    return Split(sorted(mixed[:first]), sorted(mixed[first:second]), sorted(mixed[second:]))


def _made(config: FinetuneConfig, table: Table, smiles: Sequence[str], rows: Sequence[int]) -> Split:
    fractions, seed, column = config.fractions, config.split_seed, config.split_column
    match config.split:
        case SplitKind.scaffold:
            return by_size(rows, murcko_scaffolds(smiles), fractions)
        case SplitKind.balanced_scaffold:
            return by_chance(rows, murcko_scaffolds(smiles), fractions, seed)
        case SplitKind.cluster:
            clusters = butina_clusters(smiles, config.split_similarity)
            return by_chance(rows, clusters.tolist(), fractions, seed)
        case SplitKind.random:
            return random_split(rows, fractions, seed)
        case SplitKind.time:
            return time_split(rows, _column(table, column), column, fractions)
        case SplitKind.column:
            return column_split(rows, _column(table, column), column)
        case SplitKind.file:
            return read_split(Path(config.split_file), rows, len(table.rows))


def _column(table: Table, column: str) -> list[str]:
    if column not in table.header:
        raise UserError(
            f"split_column '{column}' is not in the table.{did_you_mean(column, table.header)} "
            f"It has: {', '.join(table.header)}."
        )
    place = table.header.index(column)
    return [row[place] for row in table.rows]
