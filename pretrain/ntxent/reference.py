"""NT-Xent as its definition reads: all similarities, one log-sum-exp per view.

n molecules, m = 2n views, d width.
    first (n, d), second (n, d), temperature ()  ->  mean loss ()

Equations (1)-(3) of `pretrain.ntxent`, after Chen et al. 2020 (SimCLR), arXiv 2002.05709, section 2.1.

Nothing departs from the text: the m x m similarities are in memory, and the gradient is autograd's. The
other forms are judged against this one, so it is kept readable and is never made faster.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize


def ntxent_reference(
    first: Float[Tensor, "n d"], second: Float[Tensor, "n d"], temperature: Float[Tensor, ""]
) -> Float[Tensor, ""]:
    """The mean of `lse_i - s_ip` over all 2n views; n and d at least 1."""
    unit = normalize(torch.cat([first, second]), dim=1)
    similarity = unit @ unit.T / temperature
    similarity.fill_diagonal_(-torch.inf)  # (1): a view is not its own negative
    positive = similarity.diagonal(len(first))  # the second view of each molecule, seen from its first
    return similarity.logsumexp(dim=1).mean() - positive.mean()  # (2), (3); s_ip = s_pi
