r"""Graph Transformer, the global view: every atom reads every other atom of its molecule, knowing the bonds.

n molecules, a atoms, e directed edges, N the largest molecule's atoms + 1, h width, k heads.
    atoms (a, 39), edges (2, e), bonds (e, 4) as stored, atom_molecule (a,)  ->  atoms (a, h), molecules (n, h)

    score_ij = q_i . k_j / sqrt(h / k) + b[r(i, j)]     r: bond type, none, self, or the molecule's own node
The molecule's vector is the last state of one extra node that stands for the whole molecule and has relations
of its own; it sees all atoms and is seen by them. Layers are pre-normalised. Padding is never attended to.

After LGM-CL (arXiv 2601.22610): full self-attention with an adjacency-aware bias, 2 layers. The paper is
silent on the bias's form and the read-out; we choose a learned score per relation and head, as Graphormer's
edge bias (Ying et al. 2021, section 3.1), and its virtual node. `bond_bias=False` is the ablation.
"""

import torch
from jaxtyping import Float, Int, Int8
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from pretrain.config import ModelConfig
from sharding.feature_table import ATOM_INPUTS, BOND_COLUMNS

NONE, SELF, MOLECULE = 0, 1, 2
FIRST_BOND = 3
RELATIONS = FIRST_BOND + BOND_COLUMNS[0].width + 1  # the last: a bond type outside the table


class GlobalEncoder(nn.Module):
    """Attention over whole molecules."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embed = nn.Linear(ATOM_INPUTS, config.graph_hidden)
        self.molecule_node = nn.Parameter(torch.randn(config.graph_hidden) * 0.02)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.global_layers))
        self.norm = nn.LayerNorm(config.graph_hidden)

    def forward(
        self,
        atoms: Float[Tensor, "a 39"],
        edges: Int[Tensor, "2 e"],
        bonds: Int8[Tensor, "e 4"],
        atom_molecule: Int[Tensor, " a"],
        size: int,
    ) -> tuple[Float[Tensor, "a h"], Float[Tensor, "n h"]]:
        """States of all atoms, and one vector a molecule."""
        place, relations = self.relations(edges, bonds, atom_molecule, size)
        states = atoms.new_zeros(
            size, relations.shape[1], self.molecule_node.shape[0], dtype=self.embed.weight.dtype
        )
        states[:, 0] = self.molecule_node
        states[atom_molecule, place] = self.embed(atoms)
        padding = relations < 0
        for layer in self.layers:
            states = layer(states, relations, padding)
        states = self.norm(states)
        return states[atom_molecule, place], states[:, 0]

    def relations(
        self, edges: Tensor, bonds: Tensor, atom_molecule: Tensor, size: int
    ) -> tuple[Int[Tensor, " a"], Int[Tensor, "n N N"]]:
        """Each atom's place in its molecule (0 is the molecule's node), and r(i, j); -1 where j is padding."""
        count = torch.bincount(atom_molecule, minlength=size)
        begin = count.cumsum(0) - count
        place = torch.arange(len(atom_molecule), device=edges.device) - begin[atom_molecule] + 1
        most = int(count.max()) + 1
        present = torch.arange(most, device=edges.device) <= count[:, None]
        relations = torch.where(present[:, None, :], NONE, -1).repeat(1, most, 1)
        diagonal = torch.arange(most, device=edges.device)
        relations[:, diagonal, diagonal] = SELF  # of padding too: its own row must not be empty
        relations[:, 0, 1:][present[:, 1:]] = MOLECULE
        relations[:, 1:, 0] = MOLECULE
        source, target = edges
        relations[atom_molecule[source], place[source], place[target]] = bonds[:, 0].long() + FIRST_BOND
        return place, relations


class _Layer(nn.Module):
    """Attention with a score per relation, then a feed-forward; both pre-normalised and residual."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, self.heads = config.graph_hidden, config.global_heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.bias = nn.Embedding(RELATIONS, self.heads) if config.bond_bias else None
        self.feedforward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(4 * width, width),
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, states: Tensor, relations: Tensor, padding: Tensor) -> Tensor:
        n, most, width = states.shape
        parts = self.query_key_value(self.attention_norm(states)).view(n, most, 3, self.heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        scores = states.new_zeros(n, 1, most, most)
        if self.bias is not None:
            scores = self.bias(relations.clamp(min=0)).permute(0, 3, 1, 2)
        scores = scores.masked_fill(padding[:, None], -torch.inf)
        read = scaled_dot_product_attention(
            query, key, value, attn_mask=scores, dropout_p=self.dropout.p if self.training else 0.0
        )
        states = states + self.dropout(self.output(read.transpose(1, 2).reshape(n, most, width)))
        return states + self.dropout(self.feedforward(states))
