r"""A head start: the projection heads' first weights, in closed form, so that training begins where views agree.

k molecules (training ones), h width of a view's encoder, d projection.
    encoded views x (k, h) and y (k, h')  ->  weights of both heads

At random weights all molecules look alike (cosine 0.98: pooling averages away what differs), and the two views
point to different places. NT-Xent's shortest way down is to collapse both views onto one direction, where the
loss is that of chance and the gradient small; leaving it costs the first hundred steps and more. Instead, with
g(x) the head's hidden layer on centred and scaled vectors and C the covariances over the k molecules,

    C_gg^(-1/2) C_gg' C_g'g'^(-1/2) = U S V^T,     W = C_gg^(-1/2) U S^(1/2),   W' = C_g'g'^(-1/2) V S^(1/2)
are the last layers: canonical correlation analysis (Hotelling 1936), each direction weighted by the root of
its correlation. Covariances are shrunk towards their mean variance (Ledoit and Wolf 2004) by a fixed part.
Not in LGM-CL, nor in SimCLR; docs/decisions/0004 has what it gains. It shows no held-out molecule.
"""

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from pretrain.batch import collate
from pretrain.diagnostics import from_all_ranks
from pretrain.encoders.projection import ProjectionHead
from pretrain.model import STREAMS, TwoStreams
from sharding.columns import concatenate
from sharding.read import Lanes, Shards

SHRINKAGE = 0.01
"""Part of the mean variance added to every variance."""


@torch.no_grad()
def give_head_start(model: TwoStreams, shards: Shards, lanes: Lanes, count: int) -> None:
    """Set the projection heads from the first `count` training molecules, encoded by all ranks together."""
    rank, world = dist.get_rank(), dist.get_world_size()
    needed = int(np.searchsorted(np.cumsum(lanes.blocks.rows), count)) + 1
    molecules = concatenate([shards.read(ref) for ref in lanes.blocks[:needed]])
    each = min(count, len(molecules)) // world
    device = next(model.parameters()).device
    model.eval()
    parts: dict[str, list[torch.Tensor]] = {}
    for begin in range(rank * each, (rank + 1) * each, 256):
        batch = collate(molecules.slice(begin, min(begin + 256, (rank + 1) * each)))
        for view, vectors in model.encode(batch.to(device)).items():
            parts.setdefault(view, []).append(vectors)
    views = {view: from_all_ranks(torch.cat(vectors)).cpu() for view, vectors in parts.items()}
    model.heads.cpu()  # one arithmetic on every machine, and float64 wherever the model runs
    for first, second in (pair for name, pair in STREAMS.items() if name in model.streams):
        start_heads(model.head(first), model.head(second), views[first], views[second])
    model.to(device).train()


@torch.no_grad()
def start_heads(
    first: ProjectionHead, second: ProjectionHead, x: Float[Tensor, "k h"], y: Float[Tensor, "k g"]
) -> Float[Tensor, " r"]:
    """Set the weights of both heads from k encoded molecules; the canonical correlations, highest first."""
    hidden = [_standardise(head, rows) for head, rows in ((first, x), (second, y))]
    means = [rows.mean(0) for rows in hidden]
    a, b = (rows - mean for rows, mean in zip(hidden, means, strict=True))
    whiten_a, whiten_b = _inverse_root(a.T @ a / len(a)), _inverse_root(b.T @ b / len(b))
    u, correlations, vt = torch.linalg.svd(whiten_a @ (a.T @ b / len(a)) @ whiten_b, full_matrices=False)
    root = correlations.clamp(0, 1).sqrt()
    for head, mean, weight in (
        (first, means[0], whiten_a @ u * root),
        (second, means[1], whiten_b @ vt.T * root),
    ):
        last = head.outer
        d = min(
            last.out_features, weight.shape[1]
        )  # a projection wider than the hidden layer starts with zeros
        last.weight.zero_()[:d] = weight[:, :d].T.to(last.weight)
        last.bias.zero_()[:d] = -(mean @ weight)[:d].to(last.bias)
    return correlations


def _standardise(head: ProjectionHead, rows: Float[Tensor, "k h"]) -> Float[Tensor, "k w"]:
    """Let the first layer see mean 0 and a mean variance of 1; the hidden layer's output in float64.

    One scale for all features: a scale each would blow up those that hardly vary, and their drift in the first
    steps of training would drown the rest.
    """
    mean = rows.mean(0)
    head.inner.weight /= rows.var(0).mean().sqrt() + torch.finfo(rows.dtype).tiny
    head.inner.bias.sub_(head.inner.weight @ mean)
    return head.hidden(rows).double()


def _inverse_root(covariance: Float[Tensor, "w w"]) -> Float[Tensor, "w w"]:
    shrunk = covariance.clone()
    shrunk.diagonal().add_(SHRINKAGE * covariance.diagonal().mean() + torch.finfo(covariance.dtype).tiny)
    values, vectors = torch.linalg.eigh(shrunk)
    return vectors @ torch.diag(values.rsqrt()) @ vectors.T
