"""What a contrastive encoder knows about molecules that it never trained on.

g held-out molecules: the gallery. Unit rows a_i, b_i of the two views of molecule i.
    recall@k          share of molecules whose other view is among the k nearest of the gallery; both ways
    chance            1 / g: recall@1 of a blind encoder
    positive cosine   mean a_i . b_i          negative cosine   mean a_i . b_j, j != i
    alignment         mean |a_i - b_i|^2      uniformity        log mean exp(-2 |x - y|^2), x != y in a view
    effective rank    directions that the rows use (Roy and Vetterli 2007)
Alignment and uniformity as in Wang and Isola 2020 (arXiv 2005.10242, section 4).
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from pretrain.batch import Batch
from pretrain.model import STREAMS

RECALL_AT = (1, 5, 10)


def stream_metrics(first: Float[Tensor, "g d"], second: Float[Tensor, "g d"]) -> dict[str, float]:
    """The numbers of one stream; `recall_at_k` is the mean of both directions."""
    a, b = normalize(first.float(), dim=1), normalize(second.float(), dim=1)
    similarity = a @ b.T
    own = similarity.diagonal()
    found: dict[str, float] = {}
    for k in RECALL_AT:
        # rank of the partner: how many of the gallery are strictly nearer. Ties count against us
        forth = ((similarity >= own[:, None]).sum(1) <= k).float().mean().item()
        back = ((similarity >= own[None, :]).sum(0) <= k).float().mean().item()
        found |= {
            f"recall_at_{k}": (forth + back) / 2,
            f"recall_at_{k}_forth": forth,
            f"recall_at_{k}_back": back,
        }
    g = len(a)
    return found | {
        "positive_cosine": own.mean().item(),
        "negative_cosine": ((similarity.sum() - own.sum()) / (g * (g - 1))).item(),
        "alignment": (a - b).square().sum(1).mean().item(),
        "uniformity": (_uniformity(a) + _uniformity(b)) / 2,
        "effective_rank": (effective_rank(a) + effective_rank(b)) / 2,
    }


def effective_rank(rows: Float[Tensor, "g d"]) -> float:
    """Exponential of the entropy of the rows' variance over its principal directions: 1 when collapsed, at most d."""
    spread = torch.linalg.svdvals(rows.double() - rows.double().mean(0)).square()
    share = spread / spread.sum().clamp_min(torch.finfo(spread.dtype).tiny)
    return torch.special.entr(share).sum().exp().item()


def _uniformity(rows: Float[Tensor, "g d"]) -> float:
    distances = torch.pdist(rows).square()
    return (torch.logsumexp(-2 * distances, 0) - torch.log(torch.tensor(float(len(distances))))).item()


@torch.no_grad()
def evaluate(engine: Any, gallery: list[Batch]) -> dict[str, float]:
    """Metrics of every stream, by `<stream>_<metric>`, on all ranks' galleries together.

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
    return gallery_metrics(views)


def gallery_metrics(views: Mapping[str, Float[Tensor, "g d"]]) -> dict[str, float]:
    """`evaluate`, from the projections of a whole gallery by view."""
    size = len(next(iter(views.values())))
    found: dict[str, float] = {"chance": 1 / size, "gallery": size}
    for stream, (first, second) in STREAMS.items():
        if first in views:
            metrics = stream_metrics(views[first], views[second])
            found |= {f"{stream}_{name}": value for name, value in metrics.items()}
    return found


def from_all_ranks(rows: Float[Tensor, "k d"]) -> Float[Tensor, "g d"]:
    """Every rank's rows, in rank order; each rank brings the same number."""
    gathered = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, rows.contiguous())
    return torch.cat(gathered)
