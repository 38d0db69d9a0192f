"""Two streams, one forward: four encoders, four projection heads and the temperature in one module.

n molecules, h and w widths, d projection.
    Batch  ->  encode:  Views of (n, h), (n, h), (n, w), (n, w): local, global, smiles, text
    Batch  ->  forward: Projections (n, d) of each, and the temperature
One module and one forward a chunk, because ZeRO-3 gathers parameters call by call and hangs when ranks call
differently. The loss lives outside: it needs the other chunks and the other ranks.

After LGM-CL (arXiv 2601.22610): graph stream local vs global, text stream SMILES vs description, each with its
own heads. The paper is silent on whether heads are shared between views; here each view has its own.
"""

import math
from collections.abc import Callable, Collection
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pretrain.batch import Batch, atom_inputs, bond_inputs
from pretrain.config import LossConfig, ModelConfig, Streams
from pretrain.encoders.attentive_fp import LocalEncoder
from pretrain.encoders.graph_transformer import GlobalEncoder
from pretrain.encoders.projection import ProjectionHead
from pretrain.encoders.text import TextEncoder

STREAMS = {"graph": ("local", "global"), "text": ("smiles", "text")}
"""The two views that each stream compares."""
VIEWS = tuple(view for views in STREAMS.values() for view in views)
COLDEST, WARMEST = 0.01, 1.0
"""Limits of a learned temperature."""


class Vocabularies(NamedTuple):
    """Tokens in each tokenizer."""

    smiles: int
    text: int


class TwoStreams(nn.Module):
    """The pretraining system. Views of streams that are not trained are not built."""

    def __init__(self, model: ModelConfig, loss: LossConfig, vocabularies: Vocabularies) -> None:
        super().__init__()
        self.streams = [name for name in STREAMS if loss.streams in (Streams.both, Streams(name))]
        makers: dict[str, Callable[[], nn.Module]] = {
            "local": lambda: LocalEncoder(model),
            "global": lambda: GlobalEncoder(model),
            "smiles": lambda: TextEncoder(model, vocabularies.smiles),
            "text": lambda: TextEncoder(model, vocabularies.text),
        }
        self.widths = {
            view: model.graph_hidden if stream == "graph" else model.text_hidden
            for stream in self.streams
            for view in STREAMS[stream]
        }
        self.encoders = nn.ModuleDict({view: makers[view]() for view in self.widths})
        self.heads = nn.ModuleDict(
            {view: ProjectionHead(width, model.projection) for view, width in self.widths.items()}
        )
        self.fixed_temperature = loss.temperature
        # a fixed one is no tensor: bfloat16 would round it. One number in a vector: DeepSpeed cannot broadcast a scalar
        self.log_scale = (
            nn.Parameter(torch.tensor([-math.log(loss.temperature)])) if loss.learn_temperature else None
        )

    def encode(self, batch: Batch, views: Collection[str] = VIEWS) -> dict[str, Float[Tensor, "n _"]]:
        """One vector a molecule and view, before the projection: what fine-tuning reads."""
        return {view: molecules for view, (_, molecules) in self.states(batch, views).items()}

    def states(
        self, batch: Batch, views: Collection[str] = VIEWS
    ) -> dict[str, tuple[Tensor, Float[Tensor, "n _"]]]:
        """Per view the states of its parts (atoms or tokens) and of its molecules; of all views, or of these."""
        wanted = [view for view in self.widths if view in views]
        states = {}
        if "local" in wanted or "global" in wanted:
            atoms = atom_inputs(batch.atoms, self.dtype)
        if "local" in wanted:
            where = (batch.atom_molecule, batch.size)
            bonds = bond_inputs(batch.edge_bonds, self.dtype)
            states["local"] = self.encoders["local"](atoms, batch.edges, bonds, *where)
        if "global" in wanted:
            states["global"] = self.encoders["global"](atoms, batch.nodes, batch.relations)
        for view in STREAMS["text"]:
            if view in wanted:
                states[view] = self.encoders[view](getattr(batch, view))
        return states

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, so of the inputs."""
        return next(self.parameters()).dtype

    def head(self, view: str) -> ProjectionHead:
        """The projection head of a view."""
        head = self.heads[view]
        assert isinstance(head, ProjectionHead)
        return head

    def forward(self, batch: Batch) -> tuple[dict[str, Float[Tensor, "n d"]], float | Float[Tensor, ""]]:
        """Projections by view, and the temperature."""
        projections = {view: self.heads[view](vectors) for view, vectors in self.encode(batch).items()}
        if self.log_scale is None:
            return projections, self.fixed_temperature
        limits = (-math.log(WARMEST), -math.log(COLDEST))
        precise = self.log_scale.to(torch.promote_types(self.log_scale.dtype, torch.float32))
        return projections, torch.exp(-precise.clamp(*limits)).squeeze()
