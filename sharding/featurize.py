"""Canonical SMILES become columns: graph, description and the tokens of both.

    k canonical SMILES  ->  Molecules of those that could be made, their texts, and the rest by reason

This is the one place that turns a molecule into a record; the shards and the tables of the fine-tuning stage
both come through here, so an encoder meets the same integers in both.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit import rdBase

from sharding.binary import read
from sharding.columns import Molecules
from sharding.config import RecordConfig
from sharding.fingerprint import fingerprints
from sharding.graph import atom_columns, bond_columns, bond_ends
from sharding.identity import hash_names, skeletons
from sharding.molecule import Rejected, canonicalise, parse
from sharding.structure import Structures
from sharding.text.describe import describe_all
from sharding.tokens import END, Tokenizers, Tokens

AT_A_TIME = 512
"""Molecules that go through a step together: many share the price of a call, few share the cache."""
STRINGS = ("smiles", "text")
"""The two views of a record that are strings of tokens."""


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
    fingerprints: dict[str, NDArray[np.unsignedinteger]] = field(default_factory=dict)
    """(k, width) of each that `RecordConfig.fingerprints` asks for"""
    skeletons: NDArray[np.int64] | None = None
    """(k,) when `RecordConfig.skeleton` asks for it"""


def featurize(
    canonical: Sequence[str],
    lines: NDArray[np.integer],
    tokenizers: Tokenizers,
    config: RecordConfig,
    views: Collection[str] = STRINGS,
) -> Featurized:
    """The records of these canonical SMILES; `lines` (k,) says where each stood in the input.

    A string view that is not among `views` costs nothing: no description is written, and its only token is the
    end marker.
    """
    parts, texts, kept, rejected, searched, named = [], [], [], [], [], []
    unknown: Counter[str] = Counter()
    with rdBase.BlockLogs():
        for start in range(0, max(len(canonical), 1), AT_A_TIME):  # once at least: columns of no molecule
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
            structures = read(molecules)
            parts.append(_graph_columns(structures, unknown))
            smiles_here = [canonical[position] for position in positions_here]
            if "text" in views:
                texts += [made.text for made in describe_all(structures, smiles_here)]
            kept += positions_here
            if config.fingerprints:
                searched.append(fingerprints(molecules, config.fingerprints, structures))
            if config.skeleton:
                named.append(skeletons(molecules, smiles_here))
    strings = [canonical[position] for position in kept]
    smiles_tokens = text_tokens = _end_markers(len(kept))
    if "smiles" in views:
        smiles_tokens = tokenizers.smiles.encode(strings, config.max_smiles_tokens)
    if "text" in views:
        text_tokens = tokenizers.text.encode(texts, config.max_text_tokens)
    positions = np.array(kept, np.int64)
    n_atoms, n_bonds, atoms, bonds, ends = map(np.concatenate, zip(*parts, strict=True))
    return Featurized(
        molecules=Molecules(
            n_atoms=n_atoms,
            n_bonds=n_bonds,
            atoms=atoms,
            bonds=bonds,
            ends=ends,
            n_smiles_tokens=smiles_tokens.lengths,
            smiles_tokens=smiles_tokens.ids,
            n_text_tokens=text_tokens.lengths,
            text_tokens=text_tokens.ids,
            line=np.asarray(lines, np.int64)[positions],
            ids=hash_names(strings),
        ),
        smiles=strings,
        texts=texts,
        kept=positions,
        rejected=rejected,
        unknown=unknown,
        cut=Counter(smiles=smiles_tokens.cut, text=text_tokens.cut),
        unknown_tokens=Counter(smiles=smiles_tokens.unknown, text=text_tokens.unknown),
        fingerprints={
            name.value: np.concatenate([part[name] for part in searched]) for name in config.fingerprints
        },
        skeletons=np.concatenate(named) if config.skeleton else None,
    )


def featurize_strings(
    strings: Sequence[str], tokenizers: Tokenizers, config: RecordConfig, views: Collection[str] = STRINGS
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
                        standard=config.standardise,
                    )
                )
                rows.append(row)
            except Rejected as rejection:
                reasons[row] = rejection.reason
    made = featurize(canonical, np.array(rows, np.int64), tokenizers, config, views)
    reasons |= {rows[position]: reason for position, reason in made.rejected}
    return made, reasons


def _end_markers(count: int) -> Tokens:
    """Strings of no content: each has a token, because a batch has no place for a string without one."""
    return Tokens(np.full(count, END, np.uint16), np.ones(count, np.uint16), cut=0, unknown=0)


def _graph_columns(structures: Structures, unknown: Counter[str]) -> tuple[NDArray[Any], ...]:
    """n_atoms, n_bonds, atoms, bonds, ends; what is outside the feature table is added to `unknown`."""
    atoms, unknown_atoms = atom_columns(structures)
    bonds, unknown_bonds = bond_columns(structures)
    for room, counts in (("atom", unknown_atoms), ("bond", unknown_bonds)):
        unknown.update({f"{room}.{column}": count for column, count in counts.items()})
    sizes = (structures.graphs.atom_start, structures.graphs.bond_start)
    n_atoms, n_bonds = (np.diff(start).astype(np.uint16) for start in sizes)
    return n_atoms, n_bonds, atoms, bonds, bond_ends(structures).astype(np.uint16)
