"""What a contrastive encoder knows about molecules that it never trained on.

g held-out molecules: the gallery. Unit rows a_i, b_i (d) of the two views of molecule i.
    recall@k          share of molecules whose other view is among the k nearest of the gallery; both ways
    chance            1 / g: recall@1 of a blind encoder
    positive cosine   mean a_i . b_i          negative cosine   mean a_i . b_j, j != i
    alignment         mean |a_i - b_i|^2      uniformity        log mean exp(-2 |x - y|^2), x != y in a view
    effective rank    directions that the rows use (Roy and Vetterli 2007)
    histograms        how many positive and negative pairs have a cosine in each of 64 bins from -1 to 1
Alignment and uniformity as in Wang and Isola 2020 (arXiv 2005.10242, section 4). All g^2 pairs count, in tiles of
some rows against the whole gallery, so memory grows with g and not with its square.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from pretrain.batch import Batch
from pretrain.model import STREAMS

RECALL_AT = (1, 5, 10)
BINS = 64
TILE = 2**22
"""Cosines in memory at a time: 16 MB of them."""


def stream_metrics(
    first: Float[Tensor, "g d"], second: Float[Tensor, "g d"], tile: int = TILE
) -> dict[str, float]:
    """The numbers of one stream; `recall_at_k` is the mean of both directions."""
    a, b = (normalize(rows.float(), dim=1) for rows in (first, second))
    forth, negatives = _places(a, b, tile)
    back, _ = _places(b, a, tile)
    found: dict[str, float] = {}
    for k in RECALL_AT:
        each = [(places <= k).double().mean().item() for places in (forth, back)]
        found |= {
            f"recall_at_{k}": sum(each) / 2,
            f"recall_at_{k}_forth": each[0],
            f"recall_at_{k}_back": each[1],
        }
    return found | {
        "positive_cosine": (a * b).sum(1).mean().item(),
        "negative_cosine": negatives,
        "alignment": (a - b).square().sum(1).mean().item(),
        "uniformity": (_uniformity(a, tile) + _uniformity(b, tile)) / 2,
        "effective_rank": (effective_rank(a) + effective_rank(b)) / 2,
    }


def stream_histograms(
    first: Float[Tensor, "g d"], second: Float[Tensor, "g d"], tile: int = TILE
) -> dict[str, list[int]]:
    """Counts (64) of the cosines of the g positive and the g (g - 1) negative pairs."""
    a, b = (normalize(rows.float(), dim=1) for rows in (first, second))
    every, own = (torch.zeros(BINS, dtype=torch.int64, device=a.device) for _ in range(2))
    for rows, cosines in _tiles(a, b, tile):
        every += _counts(cosines)
        own += _counts(cosines.diagonal(rows.start))
    return {"positive": own.tolist(), "negative": (every - own).tolist()}


def edges() -> list[float]:
    """Of the bins: 65 from -1 to 1, exact in binary."""
    return [2 * place / BINS - 1 for place in range(BINS + 1)]


def effective_rank(rows: Float[Tensor, "g d"]) -> float:
    """Exponential of the entropy of the rows' variance over its principal directions: 1 when collapsed, at most d."""
    if not rows.isfinite().all():  # the decomposition would raise, and a number is all that is asked for
        return math.nan
    spread = torch.linalg.svdvals(rows.double() - rows.double().mean(0)).square()
    share = spread / spread.sum().clamp_min(torch.finfo(spread.dtype).tiny)
    return torch.special.entr(share).sum().exp().item()


def _tiles(
    a: Float[Tensor, "g d"], b: Float[Tensor, "g d"], tile: int
) -> Iterator[tuple[slice, Float[Tensor, "k g"]]]:
    """Rows of `a`, some at a time, and their cosines with all of `b`."""
    for start in range(0, len(a), max(1, tile // len(b))):
        rows = slice(start, min(start + max(1, tile // len(b)), len(a)))
        yield rows, a[rows] @ b.T


def _places(a: Float[Tensor, "g d"], b: Float[Tensor, "g d"], tile: int) -> tuple[Tensor, float]:
    """The place (g,) of each row's partner among all of `b`, from 1, and the mean cosine of the negative pairs.

    Ties count against us. The partner's cosine comes from the same product as the others: rounded otherwise, a
    collapsed encoder would win its ties.
    """
    places, total = [], 0.0
    for rows, cosines in _tiles(a, b, tile):
        own = cosines.diagonal(rows.start)
        places.append((~(cosines < own[:, None])).sum(1))  # so that NaN finds nobody
        total += (cosines.sum(dtype=torch.float64) - own.sum(dtype=torch.float64)).item()
    return torch.cat(places), total / (len(a) * (len(a) - 1))


def _uniformity(rows: Float[Tensor, "g d"], tile: int) -> float:
    """|x - y|^2 = 2 - 2 x . y for unit rows; each row's pair with itself is left out."""
    total = torch.zeros((), dtype=torch.float64, device=rows.device)
    for place, cosines in _tiles(rows, rows, tile):
        cosines.diagonal(place.start).fill_(-math.inf)
        total += torch.exp(4 * cosines - 4).sum(dtype=torch.float64)
    return torch.log(total / (len(rows) * (len(rows) - 1))).item()


def _counts(cosines: Tensor) -> Tensor:
    """(64,) of each bin; a cosine that rounding carries past 1 is one of 1. Exact: a tile has fewer than 2^24."""
    return torch.histc(cosines.float().clamp(-1, 1), BINS, -1, 1).long()


@torch.no_grad()
def evaluate(engine: Any, gallery: list[Batch]) -> tuple[dict[str, float], dict[str, list[Any]]]:
    """Numbers and histograms of every stream, by `<stream>_<metric>`, on all ranks' galleries together.

    Every rank holds the same number of batches of the same sizes, and calls this at the same step.
    """
    engine.eval()
    parts: dict[str, list[Tensor]] = {}
    for batch in gallery:
        projections, _ = engine(batch.to(engine.device))
        for view, rows in projections.items():
            parts.setdefault(view, []).append(rows.float())
    engine.train()
    views = {view: from_all_ranks(torch.cat(rows)) for view, rows in parts.items()}
    return gallery_metrics(views), gallery_histograms(views)


def gallery_metrics(views: Mapping[str, Float[Tensor, "g d"]]) -> dict[str, float]:
    """The numbers of `evaluate`, from the projections of a whole gallery by view."""
    size = len(next(iter(views.values())))
    found: dict[str, float] = {"chance": 1 / size, "gallery": size}
    for stream, (first, second) in STREAMS.items():
        if first in views:
            metrics = stream_metrics(views[first], views[second])
            found |= {f"{stream}_{name}": value for name, value in metrics.items()}
    return found


def gallery_histograms(views: Mapping[str, Float[Tensor, "g d"]]) -> dict[str, list[Any]]:
    """The histograms of `evaluate`: `edges` (65), and by `<stream>_positive` and `_negative` the counts (64)."""
    found: dict[str, list[Any]] = {"edges": edges()}
    for stream, (first, second) in STREAMS.items():
        if first in views:
            counts = stream_histograms(views[first], views[second])
            found |= {f"{stream}_{name}": each for name, each in counts.items()}
    return found


def from_all_ranks(rows: Float[Tensor, "k d"]) -> Float[Tensor, "g d"]:
    """Every rank's rows, in rank order; each rank brings the same number."""
    gathered = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, rows.contiguous())
    return torch.cat(gathered)
