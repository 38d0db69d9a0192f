"""NT-Xent as its definition reads: all similarities, one log-sum-exp per view.

n molecules, m = 2n views of this rank, d width, r ranks.
    first (n, d), second (n, d), temperature ()  ->  mean loss () over this rank's views

Equations (1)-(3) of `pretrain.ntxent`, after Chen et al. 2020 (SimCLR), arXiv 2002.05709, section 2.1.

Nothing departs from the text: the m x r m similarities are in memory, and the gradient is autograd's, also
through the gather of the other ranks' views, whose backward communicates. The other forms are judged
against this one, so it is kept readable and is never made faster.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

from pretrain.ntxent.distributed import Ranks, gather, gather_with_gradient


def ntxent_reference(
    first: Float[Tensor, "n d"],
    second: Float[Tensor, "n d"],
    temperature: Float[Tensor, ""],
    ids: Int64[Tensor, " n"] | None,
    ranks: Ranks,
    *,
    clip: bool,
) -> Float[Tensor, ""]:
    """The mean of `lse_i - s_ip` over this rank's 2n views; n and d at least 1."""
    n, device = len(first), first.device
    unit = normalize(torch.cat([first, second]), dim=1)
    everyone = gather_with_gradient(unit, ranks)  # (r, 2n, d)
    similarity = unit @ everyone.flatten(0, 1).T / temperature

    if ids is None:
        molecule = torch.arange(ranks.world * n, device=device).view(ranks.world, n)
    else:
        molecule = gather(ids, ranks)
    molecule = molecule.repeat(1, 2).flatten()  # of every column, by its id or number
    view = torch.arange(2, device=device).repeat_interleave(n).repeat(ranks.world)  # first or second
    row = torch.arange(2 * n, device=device)
    itself = ranks.rank * 2 * n + row  # row i is this column
    positive = itself.roll(n)

    candidates = molecule[itself, None] != molecule
    if clip:
        candidates &= view[itself, None] != view
    candidates[row, positive] = True
    lse = similarity.masked_fill(~candidates, -torch.inf).logsumexp(dim=1)  # (2)
    return (lse - similarity[row, positive]).mean()  # (3)
