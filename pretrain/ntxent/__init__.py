"""NT-Xent, the contrastive loss: recognise a molecule's other view among everybody else's views.

n molecules, m = 2n views, d width.
    first (n, d), second (n, d), temperature ()  ->  mean loss ()

Chen et al. 2020, "A Simple Framework for Contrastive Learning of Visual Representations" (SimCLR),
arXiv 2002.05709, section 2.1 and algorithm 1. There a loop over pairs and a framework's gradient; here
the gradient is written out, because it is what allows tiles, ranks and kernels to share the work.

This docstring is the one home of the equations; all other files cite them by number. The rows z_1 ... z_m
are the projections, first views before second ones, u_i = z_i / |z_i|, p(i) is the row with the other
view of the same molecule, tau the temperature and t = 1/tau. The negatives of row i are the rows C(i):

    "simclr"  C(i): all rows of other molecules, 2n - 2
    "clip"    C(i): those of them that are of the other view, n - 1

where rows are of one molecule if their ids are equal, or without ids if they are i and p(i). CLIP is Radford
et al. 2021, arXiv 2103.00020, figure 3: there each view is classified among the other modality's views, and
the two cross-entropies are averaged, which is the mean over all m rows here. Both relations are mutual: j is in
C(i) where i is in C(j). A positive is never a negative, and always counts.

    (1)  s_ij = t <u_i, u_j>
    (2)  lse_i = log [ exp s_ip + sum_{j in C(i)} exp s_ij ],  p = p(i)
    (3)  L = (1/m) sum_i (lse_i - s_ip)
    (4)  dL/du_i = (t/m) [ sum_{j in C(i)} (P_ij + P_ji) u_j + (P_ip + P_pi - 2) u_p ],  P_ij = exp(s_ij - lse_i)
    (5)  dL/dt = (1/2t) sum_i <u_i, dL/du_i>
    (6)  dL/dz_i = (dL/du_i - u_i <u_i, dL/du_i>) / |z_i|

Since s is symmetric, one tile of exponentials gives P_ij and P_ji; (5) reuses the dot products of (6).
Late in training P_ip tends to 1 and (4) subtracts equal numbers, so fast forms hold the positive apart.
With c = max(0, t - 60), which bounds every exponent by 60 and needs no running maximum, let

    (2')  N_i = sum_{j in C(i)} exp(s_ij - c),  Z_i = N_i + exp(s_ip - c),  x_i = log N_i + c - s_ip
    (3')  L = (1/m) sum_i softplus(x_i)
    (4')  dL/du_i = (t/m) [ sum_{j in C(i)} exp(s_ij - c) (1/Z_i + 1/Z_j) u_j
                            - (sigmoid(x_i) + sigmoid(x_p)) u_p ]

which are (2)-(4) in exact arithmetic, without the cancellation. A row without negatives, all ids being
equal, has N_i = 0 and x_i = -inf: it costs nothing and moves nothing. In float32 and below tau = 0.0136 the same
happens to a row that is opposite to all its negatives, because their exponentials vanish.
"""

from typing import Literal, get_args

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.distributed import ProcessGroup

from pretrain.ntxent import tiles
from pretrain.ntxent.agreement import agreement
from pretrain.ntxent.arguments import (
    BARELY_LOWER,
    LOWEST_TEMPERATURE,
    refuse_bad_ids,
    refuse_bad_temperature,
    refuse_bad_views,
)
from pretrain.ntxent.choice import Implementation, choose
from pretrain.ntxent.closed_form import ntxent_closed_form
from pretrain.ntxent.distributed import Negatives, ranks_sharing
from pretrain.ntxent.reference import ntxent_reference

__all__ = ["LOWEST_TEMPERATURE", "Form", "Implementation", "Negatives", "ntxent_loss"]

Form = Literal["simclr", "clip"]


def ntxent_loss(
    first: Float[Tensor, "n d"],
    second: Float[Tensor, "n d"],
    *,
    temperature: Float[Tensor, ""] | float,
    ids: Int64[Tensor, " n"] | None = None,
    group: ProcessGroup | None = None,
    form: Form = "simclr",
    implementation: Implementation = "auto",
    negatives: Negatives = "everyone",
) -> Float[Tensor, ""]:
    """The mean of (3) over this rank's 2n views; row k of `first` and of `second` are one molecule.

    The projections need not be normalised. Half precision is computed in float32, also under autocast;
    float32 and float64 stay what they are. A tensor temperature may be learned; on a GPU its value is not
    read, because that would stall the device, and below the bound the loss is nan, on purpose.

    `form` says which views are negatives; views of molecules with equal `ids` never are.

    `negatives="everyone"` takes the views of all ranks in `group` (default: all processes, if there is a
    process group), each with the same n; averaging loss and gradients over ranks, as data parallelism
    does, gives exactly those of one process with the whole batch, if every rank weighs its loss alike.
    Wrong arguments on one rank are a ValueError on all. `"this_rank"` communicates nothing.

    `implementation`: "reference" is the definition; "chunked" works on any device in little memory; "cuda" is
    the kernel, for unit rows rounded to bfloat16; "auto" takes the kernel where it can work, else "chunked".
    """
    ranks = ranks_sharing(negatives, group)
    with agreement(ranks) as shared:
        refuse_bad_views(first, second, ranks.world)
        refuse_bad_temperature(temperature, first.device)
        refuse_bad_ids(ids, first)
        if form not in get_args(Form):
            raise ValueError(f"form is one of {get_args(Form)}, not {form!r}")
        (n, d), device = first.shape, first.device
        precision = torch.promote_types(torch.promote_types(first.dtype, second.dtype), torch.float32)
        chosen = choose(implementation, device, precision, d)
        shared.update(n=n, d=d, form=form, ids=ids is not None, precision=precision, device=device.type)
        shared.update(implementation=chosen)

    with torch.autocast(device.type, enabled=False):
        temperature = torch.as_tensor(temperature, dtype=precision, device=device)
        temperature = temperature * torch.where(temperature >= BARELY_LOWER, 1.0, torch.nan)
        rest = temperature, ids, ranks
        clip = form == "clip"
        if chosen == "reference":
            return ntxent_reference(first.to(precision), second.to(precision), *rest, clip=clip)
        if chosen == "chunked":
            return ntxent_closed_form(first, second, *rest, clip=clip, products=tiles, rounding=precision)
        from pretrain.ntxent.kernel import ops

        return ntxent_closed_form(first, second, *rest, clip=clip, products=ops, rounding=torch.bfloat16)
