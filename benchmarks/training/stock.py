"""The rival: the same two streams in parts as they come, trained as a tutorial would.

n molecules of a batch, L the longest string's tokens, d projection.
    graph stream    torch-geometric's AttentiveFP, and a transformer of its TransformerConv over bonds and their kinds
    text stream     two of transformers' DebertaV2Model, tokens padded to the batch's longest, mean over tokens
    data            one pickled torch-geometric Data a molecule on the disk, its DataLoader with one worker process
    step            float32, NT-Xent over a dense (2 n, 2 n) matrix, torch's AdamW
Widths, depths, heads, vocabularies, dropout and molecules are those of our model. What differs: TransformerConv reads
bonds alone where our global view reads all atoms, which is less work; nothing is clipped; nothing is logged.
"""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from torch_geometric.data import Data, Dataset
from torch_geometric.loader import DataLoader
from torch_geometric.nn import AttentiveFP, TransformerConv, global_mean_pool
from torch_geometric.utils import to_dense_batch
from transformers import DebertaV2Model

from pretrain.batch import atom_inputs, bond_inputs, collate
from pretrain.config import ModelConfig
from pretrain.encoders.text import deberta_config
from pretrain.model import Vocabularies
from sharding.columns import Molecules
from sharding.feature_table import ATOM_INPUTS, BOND_INPUTS
from sharding.tokens import PADDING

TEMPERATURE = 0.1
STRINGS = ("smiles", "text")


class Pickles(Dataset):  # type: ignore[misc]
    """One file a molecule."""

    def __init__(self, folder: Path, molecules: Molecules) -> None:
        super().__init__()
        self.folder, self.count = folder, len(molecules)
        folder.mkdir()
        for number in range(self.count):
            (folder / str(number)).write_bytes(pickle.dumps(one_molecule(molecules, number)))

    def len(self) -> int:
        return self.count

    def get(self, number: int) -> Data:
        return pickle.loads((self.folder / str(number)).read_bytes())


def one_molecule(molecules: Molecules, number: int) -> Data:
    """The numbers that our model reads, as its library wants them."""
    batch = collate(molecules.slice(number, number + 1))
    return Data(
        x=atom_inputs(batch.atoms, torch.float32),
        edge_index=batch.edges,
        edge_attr=bond_inputs(batch.edge_bonds, torch.float32),
        smiles=batch.smiles.tokens,
        text=batch.text.tokens,
        num_nodes=len(batch.atoms),
    )


def batches(data: Pickles, size: int) -> Iterator[Any]:
    """For ever, shuffled; whole batches alone."""
    loader = DataLoader(
        data,
        batch_size=size,
        shuffle=True,
        drop_last=True,
        follow_batch=list(STRINGS),
        num_workers=1,
        persistent_workers=True,
    )
    while True:
        yield from loader


class Stock(nn.Module):
    """Four encoders and four heads."""

    def __init__(self, config: ModelConfig, vocabularies: Vocabularies) -> None:
        super().__init__()
        h = config.graph_hidden
        self.local = AttentiveFP(
            ATOM_INPUTS,
            h,
            h,
            edge_dim=BOND_INPUTS,
            num_layers=config.local_layers,
            num_timesteps=config.local_readout_steps,
            dropout=config.dropout,
        )
        self.embed = nn.Linear(ATOM_INPUTS, h)
        self.layers = nn.ModuleList(_GraphLayer(config) for _ in range(config.global_layers))
        self.strings = nn.ModuleDict(
            {view: DebertaV2Model(deberta_config(config, getattr(vocabularies, view))) for view in STRINGS}
        )
        widths = [h, h, config.text_hidden, config.text_hidden]
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(w, w), nn.GELU(), nn.Linear(w, config.projection)) for w in widths
        )

    def forward(self, data: Any) -> list[Tensor]:
        """Projections (n, d) of the four views: local, global, SMILES, text."""
        states = self.embed(data.x)
        for layer in self.layers:
            states = layer(states, data.edge_index, data.edge_attr)
        found = [
            self.local(data.x, data.edge_index, data.edge_attr, data.batch),
            global_mean_pool(states, data.batch),
            *(self._string(view, data[view], data[f"{view}_batch"]) for view in STRINGS),
        ]
        return [head(vectors) for head, vectors in zip(self.heads, found, strict=True)]

    def _string(self, view: str, tokens: Tensor, owner: Tensor) -> Tensor:
        ids, present = to_dense_batch(tokens, owner, fill_value=PADDING)
        states = self.strings[view](input_ids=ids, attention_mask=present.long()).last_hidden_state
        return (states * present[..., None]).sum(1) / present.sum(1, keepdim=True)


class _GraphLayer(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        h, heads = config.graph_hidden, config.global_heads
        self.norm, self.norm_after = nn.LayerNorm(h), nn.LayerNorm(h)
        self.attention = TransformerConv(
            h, h // heads, heads=heads, edge_dim=BOND_INPUTS, dropout=config.dropout
        )
        self.feedforward = nn.Sequential(
            nn.Linear(h, 4 * h), nn.GELU(), nn.Dropout(config.dropout), nn.Linear(4 * h, h)
        )

    def forward(self, states: Tensor, edges: Tensor, bonds: Tensor) -> Tensor:
        states = states + self.attention(self.norm(states), edges, bonds)
        return states + self.feedforward(self.norm_after(states))


def dense_loss(first: Tensor, second: Tensor) -> Tensor:
    """NT-Xent as it is usually written."""
    rows = normalize(torch.cat([first, second]), dim=1)
    scores = rows @ rows.T / TEMPERATURE
    scores.fill_diagonal_(-torch.inf)
    n = len(first)
    return cross_entropy(scores, (torch.arange(2 * n, device=rows.device) + n) % (2 * n))


class Rival:
    """The model, its optimizer, and steps on whatever the loader gives next."""

    def __init__(
        self,
        config: ModelConfig,
        vocabularies: Vocabularies,
        molecules: Molecules,
        size: int,
        folder: Path,
        device: torch.device,
    ) -> None:
        self.model = Stock(config, vocabularies).to(device).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4)
        self.batches, self.size, self.device = batches(Pickles(folder, molecules), size), size, device

    def steps(self, count: int) -> int:
        """Molecules of so many steps."""
        for _ in range(count):
            local, whole, smiles, text = self.model(next(self.batches).to(self.device))
            loss = (dense_loss(local, whole) + dense_loss(smiles, text)) / 2
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return count * self.size

    def close(self) -> None:
        """End the worker process."""
        self.batches.close()
