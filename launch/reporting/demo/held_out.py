"""What the exported encoder makes of molecules that pretraining never saw.

g held-out molecules, d projection, w all views' widths together.
    encoder folder, shards  ->  cosines by stream (g,) and (g (g-1),), maps (g, 2), logP (g,), examples

The vectors come from the exported folder, not from the run: what is shown is what a user gets. The maps are
of what fine-tuning reads: every view before its projection head, scaled to length 1, side by side.
t-SNE: van der Maaten and Hinton 2008; trustworthiness: Venna and Kaski 2001. Both as in scikit-learn.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from omegaconf import OmegaConf
from rdkit import Chem
from rdkit.Chem import rdMolDescriptors
from torch import Tensor
from torch.nn.functional import normalize

from launch.reporting.demo.comparison import VARIANTS, Variant
from pretrain.diagnostics import gallery_metrics
from pretrain.encoder import Encoder
from pretrain.model import STREAMS
from pretrain.plan import gallery_molecules
from sharding.read import Shards

NEIGHBOURS = 10
"""Neighbours by which a map is judged."""
EXAMPLES = 3
ITERATIONS = 500
"""Of t-SNE. On 512 molecules 1,000 lower its divergence by 0.6 % only, and trustworthiness stays the same."""


class Example(NamedTuple):
    """A molecule as the shards hold it."""

    smiles: str
    text: str


class Cosines(NamedTuple):
    """Of a stream's two views: of one molecule, and of two different ones."""

    positive: Float[NDArray, " g"]
    negative: Float[NDArray, " k"]


class Map(NamedTuple):
    """A plane in which near molecules were near in the embedding."""

    points: Float[NDArray, "g 2"]
    trustworthiness: float
    """1: all neighbours in the plane are neighbours in the embedding. A random plane gives about 0.5."""
    neighbour_r2: float
    """R2 of logP predicted by the mean of a molecule's neighbours in the embedding."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The gallery, seen through the exported encoder."""

    examples: list[Example]
    log_p: Float[NDArray, " g"]
    cosines: dict[str, Cosines]
    maps: dict[Variant, Map]
    metrics: dict[str, float]
    """As a line of evaluation.jsonl, from the exported encoder."""


def look_at_held_out(shards_folder: Path, run: Path, encoder_folder: Path) -> HeldOut:
    """Embed the molecules that the run held out, with the exported weights and with random ones."""
    shards = Shards(shards_folder)
    count = int(OmegaConf.load(run / "config.yaml").evaluation.held_out)
    _, blocks = shards.split(count)
    molecules = gallery_molecules(shards, blocks, count)
    smiles = [text for ref in blocks for text in shards.smiles(ref)][: len(molecules)]
    texts = [text for ref in blocks for text in shards.texts(ref)][: len(molecules)]
    log_p = np.array(
        [rdMolDescriptors.CalcCrippenDescriptors(Chem.MolFromSmiles(text))[0] for text in smiles]
    )

    encoder = Encoder.load(encoder_folder)
    views = encoder.encode(molecules)
    projections = _project(encoder, views)
    torch.manual_seed(0)
    random = Encoder.load(encoder_folder, weights=False)
    return HeldOut(
        examples=[Example(*pair) for pair in zip(smiles[:EXAMPLES], texts[:EXAMPLES], strict=True)],
        log_p=log_p,
        cosines={
            stream: _cosines(projections[first], projections[second])
            for stream, (first, second) in STREAMS.items()
            if first in projections
        },
        maps={
            variant: _map(_side_by_side(rows), log_p)
            for variant, rows in zip(VARIANTS, (views, random.encode(molecules)), strict=True)
        },
        metrics=gallery_metrics(projections),
    )


@torch.inference_mode()
def _project(encoder: Encoder, views: dict[str, Tensor]) -> dict[str, Float[Tensor, "g d"]]:
    return {view: encoder.model.head(view)(rows) for view, rows in views.items()}


def _cosines(first: Float[Tensor, "g d"], second: Float[Tensor, "g d"]) -> Cosines:
    similarity = (normalize(first, dim=1) @ normalize(second, dim=1).T).numpy()
    own = np.eye(len(similarity), dtype=bool)
    return Cosines(similarity[own], similarity[~own])


def _side_by_side(views: dict[str, Tensor]) -> Float[NDArray, "g w"]:
    return torch.cat([normalize(rows, dim=1) for rows in views.values()], dim=1).numpy()


def _map(vectors: Float[NDArray, "g w"], log_p: Float[NDArray, " g"]) -> Map:
    from sklearn.manifold import TSNE, trustworthiness
    from sklearn.neighbors import NearestNeighbors

    g = len(vectors)
    perplexity = min(30.0, (g - 1) / 3)
    points = TSNE(perplexity=perplexity, init="pca", random_state=0, max_iter=ITERATIONS).fit_transform(
        vectors
    )
    neighbours = min(NEIGHBOURS, (g - 1) // 2)
    # asked of the fitted rows themselves, the answer leaves each row out
    near = NearestNeighbors(n_neighbors=neighbours).fit(vectors).kneighbors(return_distance=False)
    residual = log_p - log_p[near].mean(axis=1)
    return Map(
        points=points,
        trustworthiness=float(trustworthiness(vectors, points, n_neighbors=neighbours)),
        neighbour_r2=1 - float((residual**2).mean() / log_p.var()),
    )
