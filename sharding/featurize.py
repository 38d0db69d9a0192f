"""Canonical SMILES become columns: graph, description and the tokens of both.

    k canonical SMILES  ->  Molecules of those that could be made, their texts, and the rest by reason

This is the one place that turns a molecule into a record; the shards and the tables of the fine-tuning stage
both come through here, so an encoder meets the same integers in both.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from rdkit import rdBase

from sharding.binary import read
from sharding.columns import Molecules
from sharding.config import RecordConfig
from sharding.describe import describe_all
from sharding.graph import atom_codes, atom_key, bond_codes, bond_key, unknown_columns
from sharding.molecule import Rejected, canonicalise, parse
from sharding.structure import Structure
from sharding.tokens import Tokenizers

AT_A_TIME = 128
"""Molecules that go through a step together, before the next step: see `describe_all`."""


@dataclass
class Featurized:
    """What came of a list of SMILES. `kept` are positions in that list, in order."""

    molecules: Molecules
    smiles: list[str]
    texts: list[str]
    kept: NDArray[np.int64]
    rejected: list[tuple[int, str]] = field(default_factory=list)
    """(position in the list, reason)"""
    unknown: Counter[str] = field(default_factory=Counter)
    """Atoms and bonds outside the feature table, by column."""
    cut: Counter[str] = field(default_factory=Counter)
    """Records with more tokens than are kept, by stream."""
    unknown_tokens: Counter[str] = field(default_factory=Counter)
    """Tokens outside the vocabulary, by stream."""


def featurize(
    canonical: Sequence[str], lines: NDArray[np.integer], tokenizers: Tokenizers, config: RecordConfig
) -> Featurized:
    """The records of these canonical SMILES; `lines` (k,) says where each stood in the input."""
    graphs, texts, kept, rejected = _Graphs(), [], [], []
    with rdBase.BlockLogs():
        for start in range(0, len(canonical), AT_A_TIME):
            positions_here, molecules = [], []
            for position, smiles in enumerate(canonical[start : start + AT_A_TIME], start):
                try:
                    molecules.append(
                        parse(
                            smiles,
                            max_atoms=config.max_atoms,
                            max_characters=8 * config.max_smiles_characters,
                        )
                    )
                    positions_here.append(position)
                except Rejected:
                    rejected.append((position, "not_round_trip"))
            structures = [read(molecule) for molecule in molecules]
            graphs.add(structures)
            texts += [made.text for made in describe_all(structures, [canonical[p] for p in positions_here])]
            kept += positions_here
    strings = [canonical[position] for position in kept]
    smiles_tokens = tokenizers.smiles.encode(strings, config.max_smiles_tokens)
    text_tokens = tokenizers.text.encode(texts, config.max_text_tokens)
    positions = np.array(kept, np.int64)
    unknown: Counter[str] = Counter()
    atoms, bonds = graphs.columns(unknown)
    return Featurized(
        molecules=Molecules(
            n_atoms=np.array(graphs.n_atoms, np.uint16),
            n_bonds=np.array(graphs.n_bonds, np.uint16),
            atoms=atoms,
            bonds=bonds,
            ends=np.array(graphs.ends, np.uint16).reshape(-1, 2),
            n_smiles_tokens=smiles_tokens.lengths,
            smiles_tokens=smiles_tokens.ids,
            n_text_tokens=text_tokens.lengths,
            text_tokens=text_tokens.ids,
            line=np.asarray(lines, np.int64)[positions],
        ),
        smiles=strings,
        texts=texts,
        kept=positions,
        rejected=rejected,
        unknown=unknown,
        cut=Counter(smiles=smiles_tokens.cut, text=text_tokens.cut),
        unknown_tokens=Counter(smiles=smiles_tokens.unknown, text=text_tokens.unknown),
    )


def featurize_strings(
    strings: Sequence[str], tokenizers: Tokenizers, config: RecordConfig
) -> tuple[Featurized, dict[int, str]]:
    """Any SMILES, canonicalised first. Also {position in `strings`: reason} of the rejected ones.

    `Featurized.molecules.line` counts `strings` from 0 here, so it is each record's row in a table.
    """
    canonical, rows, reasons = [], [], {}
    with rdBase.BlockLogs():
        for row, smiles in enumerate(strings):
            try:
                canonical.append(
                    canonicalise(
                        smiles.strip(),
                        max_atoms=config.max_atoms,
                        max_characters=config.max_smiles_characters,
                    )
                )
                rows.append(row)
            except Rejected as rejection:
                reasons[row] = rejection.reason
    made = featurize(canonical, np.array(rows, np.int64), tokenizers, config)
    reasons |= {rows[position]: reason for position, reason in made.rejected}
    return made, reasons


class _Graphs:
    """Atoms and bonds of one molecule after the other, flat, by code: each distinct one is spelt out once."""

    def __init__(self) -> None:
        self.n_atoms: list[int] = []
        self.n_bonds: list[int] = []
        self.ends: list[tuple[int, int]] = []
        self._codes: dict[str, list[int]] = {"atom": [], "bond": []}

    def add(self, structures: Sequence[Structure]) -> None:
        for structure in structures:
            self.n_atoms.append(len(structure.atoms))
            self.n_bonds.append(len(structure.bonds))
            self._codes["atom"] += atom_codes(structure)
            self._codes["bond"] += bond_codes(structure)
            self.ends += [bond[:2] for bond in structure.bonds]

    def columns(self, unknown: Counter[str]) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
        """Atoms (a, 8) and bonds (b, 4); what is outside the feature table is added to `unknown`."""
        columns = []
        for room, key, width in (("atom", atom_key, 8), ("bond", bond_key, 4)):
            codes, index, times = np.unique(
                np.array(self._codes[room], np.int64), return_inverse=True, return_counts=True
            )
            keys = [key(code) for code in codes.tolist()]
            for one, count in zip(keys, times.tolist(), strict=True):
                for column in unknown_columns(one):
                    unknown[f"{room}.{column}"] += count
            columns.append(np.array(keys, np.int8).reshape(-1, width)[index])
        return columns[0], columns[1]
