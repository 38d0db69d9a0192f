"""The bridge to PyTorch Geometric: stored columns of molecules as a data set of graphs.

a atoms and b bonds of a molecule, t labels.
    Molecules  ->  Data: x (a, 39), edge_index (2, 2 b), edge_attr (2 b, 10), smiles, row, and y (1, t) if there is one
A bond is an edge each way, side by side. The numbers are those that our own encoders read (the feature table,
`sharding/feature_table.py`), so `local` of an encoder takes a PyG batch as it is. They are expanded one molecule at a
time, when it is asked for: what stays in memory are small integers.

The atoms stand in the order of `smiles`, which is the canonical one; `row` says where the molecule stood in what was
given, since rejected ones are left out.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch_geometric.data import Data, Dataset

from pretrain.batch import atom_inputs, bond_inputs
from pretrain.smiles import as_strings, refuse
from sharding.columns import Molecules, concatenate, offsets
from sharding.config import RecordConfig
from sharding.errors import UserError
from sharding.featurize import featurize_strings
from sharding.read import Shards
from sharding.tokens import Tokenizers


class MoleculeGraphs(Dataset):
    """PyG's data set of n molecules: loaders, index lists, `shuffle` and transforms are the library's."""

    def __init__(self, molecules: Molecules, smiles: Sequence[str], labels: np.ndarray | None = None) -> None:
        super().__init__()
        self.molecules, self.smiles, self.labels = molecules, list(smiles), labels
        self.rejected: dict[int, str] = {}
        self._first_atom, self._first_bond = offsets(molecules.n_atoms), offsets(molecules.n_bonds)

    @classmethod
    def from_smiles(
        cls,
        smiles: Sequence[str],
        y: ArrayLike | None = None,
        *,
        record: RecordConfig | None = None,
        strict: bool = True,
    ) -> "MoleculeGraphs":
        """Graphs of these SMILES, with labels y (n,) or (n, t); as an encoder reads them with `record=encoder.record`.

        Raises `InvalidSmiles` if one cannot be read; `strict=False` leaves it out, `rejected` has {position: reason}.
        """
        strings = as_strings(smiles)
        made, rejected = featurize_strings(strings, Tokenizers.load(), record or RecordConfig(), views=())
        if strict:
            refuse(strings, rejected)
        labels = None if y is None else np.asarray(y, np.float32)
        if labels is not None:
            if len(labels) != len(strings):
                raise ValueError(
                    f"y has {len(labels):,} rows for {len(strings):,} SMILES: give one a molecule."
                )
            labels = labels.reshape(len(strings), -1)[made.molecules.line]
        graphs = cls(made.molecules, made.smiles, labels)
        graphs.rejected = rejected
        return graphs

    @classmethod
    def from_shards(cls, folder: str | Path) -> "MoleculeGraphs":
        """Every molecule of finished shards, in the order in which they are stored; `row` is its line in the input."""
        shards = Shards(Path(folder))
        refs = list(shards.blocks)
        if not refs:
            raise UserError(f"{folder} holds no molecule. Shard a file that has some.")
        smiles = [each for ref in refs for each in shards.smiles(ref)]
        return cls(concatenate([shards.read(ref) for ref in refs]), smiles)

    def len(self) -> int:
        """n."""
        return len(self.molecules)

    def get(self, index: int) -> Data:
        """One molecule's graph."""
        atoms = slice(*self._first_atom[index : index + 2])
        bonds = slice(*self._first_bond[index : index + 2])
        ends = torch.from_numpy(self.molecules.ends[bonds].astype(np.int64))
        data = Data(
            x=atom_inputs(_integers(self.molecules.atoms[atoms]), torch.float32),
            edge_index=torch.stack([ends, ends.flip(1)], 1).view(-1, 2).T.contiguous(),
            edge_attr=bond_inputs(_integers(self.molecules.bonds[bonds]), torch.float32).repeat_interleave(
                2, 0
            ),
            smiles=self.smiles[index],
            row=int(self.molecules.line[index]),
        )
        if self.labels is not None:
            data.y = torch.from_numpy(self.labels[index : index + 1])
        return data


def _integers(columns: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(columns, np.int8))
