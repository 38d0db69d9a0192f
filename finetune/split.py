"""Which rows train, which choose the epoch, which test: by scaffold, at random, or as the user says.

n molecules that can be used (rejected SMILES are in no part).
    canonical SMILES (n), their rows in the table (n)  ->  Split: three sorted lists of rows

"Scaffold split" names several things. This one is DeepChem's (the one of the GEM and Uni-Mol tables):
Murcko scaffolds without chirality, groups sorted by size and then by their first row, both descending; a
group goes to train while it fits in 80 %, else to valid while it fits in 90 %, else to test. All molecules
without a ring are one group. Deterministic: seeds have no say. Shares are of the n molecules; DeepChem counts
rows that do not parse as well, which moves a few molecules where a table has such rows.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmiles

from finetune.config import FinetuneConfig, SplitKind
from sharding.errors import UserError
from sharding.files import read_json

PARTS = ("train", "valid", "test")


@dataclass(frozen=True)
class Split:
    """Rows of the table, from 0, sorted; no row is in two parts."""

    train: list[int]
    valid: list[int]
    test: list[int]

    def __post_init__(self) -> None:
        assert len({*self.train, *self.valid, *self.test}) == sum(self.sizes.values()), (
            "a row is in two parts"
        )

    @property
    def parts(self) -> dict[str, list[int]]:
        """{part: rows}."""
        return {part: getattr(self, part) for part in PARTS}

    @property
    def sizes(self) -> dict[str, int]:
        """{part: number of rows}."""
        return {part: len(rows) for part, rows in self.parts.items()}

    @property
    def sha256(self) -> str:
        """Identity: the digest of the canonical JSON (sorted keys, no spaces)."""
        text = json.dumps(self.parts, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def make_split(config: FinetuneConfig, smiles: Sequence[str], rows: Sequence[int], n_rows: int) -> Split:
    """The split that the configuration asks for; every part holds at least one molecule."""
    if config.split == SplitKind.file:
        split = read_split(Path(config.split_file), rows, n_rows)
    elif config.split == SplitKind.random:
        split = random_split(rows, config.fractions, config.split_seed)
    else:
        split = scaffold_split(smiles, rows, config.fractions)
    empty = [part for part, members in split.parts.items() if not members]
    if empty:
        raise UserError(
            f"split={config.split} of {len(rows)} molecules leaves none for {' and '.join(empty)}. "
            "Use split=random, other fractions, or a larger table."
        )
    return split


def scaffold_split(smiles: Sequence[str], rows: Sequence[int], fractions: Sequence[float]) -> Split:
    """DeepChem's scaffold split, as the module's head defines it. The order of the molecules is by row."""
    scaffolds = murcko_scaffolds(smiles)
    groups: dict[str, list[int]] = defaultdict(list)
    for row, scaffold in sorted(zip(rows, scaffolds, strict=True)):
        groups[scaffold].append(row)
    train_most, valid_most = fractions[0] * len(rows), (fractions[0] + fractions[1]) * len(rows)
    train: list[int] = []
    valid: list[int] = []
    test: list[int] = []
    for group in sorted(groups.values(), key=lambda group: (len(group), group[0]), reverse=True):
        if len(train) + len(group) <= train_most:
            train += group
        elif len(train) + len(valid) + len(group) <= valid_most:
            valid += group
        else:
            test += group
    split = Split(sorted(train), sorted(valid), sorted(test))
    assert_no_scaffold_straddles(split, dict(zip(rows, scaffolds, strict=True)))
    return split


def random_split(rows: Sequence[int], fractions: Sequence[float], seed: int) -> Split:
    """Any molecule anywhere; the same for the same rows and seed."""
    mixed = np.random.default_rng(seed).permutation(np.sort(np.asarray(rows, np.int64))).tolist()
    first, second = round(fractions[0] * len(mixed)), round((fractions[0] + fractions[1]) * len(mixed))
    return Split(sorted(mixed[:first]), sorted(mixed[first:second]), sorted(mixed[second:]))


def read_split(path: Path, rows: Sequence[int], n_rows: int) -> Split:
    """The user's split, less the rows whose SMILES were rejected. Rows that it leaves out are not used."""
    expected = 'Expected JSON {"train": [rows], "valid": [rows], "test": [rows]}, rows from 0.'
    if not path.is_file():
        raise UserError(f"split_file {path} does not exist. {expected}")
    try:
        parts = read_json(path)
    except ValueError as error:
        raise UserError(f"split_file {path} is not JSON ({error}). {expected}") from error
    if not isinstance(parts, dict) or set(parts) != set(PARTS):
        raise UserError(f"split_file {path} has other parts than train, valid and test. {expected}")
    seen: set[int] = set()
    for part in PARTS:
        members = parts[part] if isinstance(parts[part], list) else [parts[part]]
        for row in members:
            if not isinstance(row, int) or isinstance(row, bool) or not 0 <= row < n_rows:
                raise UserError(
                    f"split_file {path}: {part} holds {row!r}; the table has rows 0 to {n_rows - 1}. "
                    f"{expected}"
                )
            if row in seen:
                raise UserError(f"split_file {path}: row {row} stands twice. Give each row one part.")
            seen.add(row)
    usable = set(rows)
    return Split(**{part: sorted(usable.intersection(parts[part])) for part in PARTS})


def murcko_scaffolds(smiles: Sequence[str]) -> list[str]:
    """Bemis and Murcko's scaffold of each molecule, without chirality; empty for those without a ring."""
    with rdBase.BlockLogs():
        return [MurckoScaffoldSmiles(mol=Chem.MolFromSmiles(text), includeChirality=False) for text in smiles]


def assert_no_scaffold_straddles(split: Split, scaffold_of: dict[int, str]) -> None:
    """A scaffold in two parts is a mistake in this file, not the user's."""
    home: dict[str, str] = {}
    for part, rows in split.parts.items():
        for row in rows:
            owner = home.setdefault(scaffold_of[row], part)
            assert owner == part, f"scaffold {scaffold_of[row]!r} is in {owner} and in {part}"
