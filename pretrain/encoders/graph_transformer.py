r"""Graph Transformer, the global view: every atom reads every other atom of its molecule, knowing the bonds.

n molecules, a atoms, h width, k heads; N nodes of a molecule: its atoms and one node that stands for all of it.
    atoms (a, 39), their groups and relations, see pretrain/batch.py  ->  atoms (a, h), molecules (n, h)

    score_ij = q_i . k_j / sqrt(h / k) + b[r(i, j)]     r: bond type, none, self, or the molecule's own node
The molecule's vector is the last state of its own node, which has relations of its own, sees all atoms and is seen
by them. Layers are pre-normalised. Padding is never attended to.

After LGM-CL (arXiv 2601.22610): full self-attention with an adjacency-aware bias, 2 layers. The paper is
silent on the bias's form and the read-out; we choose a learned score per relation and head, as Graphormer's
edge bias (Ying et al. 2021, section 3.1), and its virtual node. `bond_bias=False` is the ablation.
"""

import torch
from jaxtyping import Float, Int8
from torch import Tensor, nn
from torch.nn.functional import one_hot

from pretrain.batch import RELATIONS
from pretrain.config import ModelConfig
from pretrain.encoders.attention import attention
from pretrain.groups import Groups
from sharding.feature_table import ATOM_INPUTS


class GlobalEncoder(nn.Module):
    """Attention over whole molecules."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embed = nn.Linear(ATOM_INPUTS, config.graph_hidden)
        self.molecule_node = nn.Parameter(torch.randn(config.graph_hidden) * 0.02)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.global_layers))
        self.norm = nn.LayerNorm(config.graph_hidden)

    def forward(
        self, atoms: Float[Tensor, "a 39"], nodes: Groups, relations: Int8[Tensor, " r"]
    ) -> tuple[Float[Tensor, "a h"], Float[Tensor, "n h"]]:
        """States of all atoms, and one vector a molecule."""
        sizes = [len(atoms), sum(k for k, _ in nodes.shapes)]
        states = torch.cat([self.embed(atoms), self.molecule_node.expand(sizes[1], -1)])
        masks = nodes.masks(states.dtype)
        known = one_hot(relations.long(), RELATIONS).to(states.dtype).T
        for layer in self.layers:
            states = layer(states, nodes, known, masks)
        of_atoms, of_molecules = self.norm(states).split(sizes)
        return of_atoms, of_molecules


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

    def forward(
        self,
        states: Float[Tensor, "t h"],
        nodes: Groups,
        known: Float[Tensor, "R r"],
        masks: list[Float[Tensor, "m 1 N"]],
    ) -> Float[Tensor, "t h"]:
        """`known` holds each relation as one of R columns."""
        spread = nodes.spread(self.query_key_value(self.attention_norm(states)))
        read = [
            self._attend(group, mask + bias)
            for group, mask, bias in zip(spread, masks, self._biases(nodes, known), strict=True)
        ]
        states = states + self.dropout(self.output(nodes.pack(read)))
        return states + self.dropout(self.feedforward(states))

    def _biases(self, nodes: Groups, known: Float[Tensor, "R r"]) -> list[Tensor]:
        """Each group's (heads, m, N, N), by a product with the relations: its gradient is one, and has one order."""
        if self.bias is None:
            return [known.new_zeros(())] * len(nodes.shapes)
        scores = self.bias(torch.arange(RELATIONS, device=known.device)).T @ known
        parts = scores.split([m * most**2 for m, most in nodes.shapes], dim=1)
        return [
            part.view(self.heads, m, most, most) for part, (m, most) in zip(parts, nodes.shapes, strict=True)
        ]

    def _attend(self, group: Float[Tensor, "m N 3*h"], scores: Tensor) -> Float[Tensor, "m N h"]:
        m, most, _ = group.shape
        query, key, value = group.view(m, most, 3, self.heads, -1).permute(2, 3, 0, 1, 4)
        scale = query.shape[-1] ** -0.5
        bias = scores.expand(self.heads, -1, most, -1)
        read = attention(query * scale, key, value, bias, self.dropout.p if self.training else 0.0)
        return read.permute(1, 2, 0, 3).flatten(2)
