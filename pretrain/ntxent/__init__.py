"""NT-Xent, the contrastive loss: recognise a molecule's other view among everybody else's views.

n molecules, m = 2n views, d width.
    first (n, d), second (n, d), temperature ()  ->  mean loss ()

Chen et al. 2020, "A Simple Framework for Contrastive Learning of Visual Representations" (SimCLR),
arXiv 2002.05709, section 2.1 and algorithm 1. There a loop over pairs and a framework's gradient; here
the gradient is written out, because it is what allows tiles, ranks and kernels to share the work.

This docstring is the one home of the equations; all other files cite them by number. The rows z_1 ... z_m
are the projections, first views before second ones, u_i = z_i / |z_i|, p(i) is the row with the other
view of the same molecule, tau the temperature and t = 1/tau.

    (1)  s_ij = t <u_i, u_j>,  s_ii = -inf
    (2)  lse_i = log sum_{j != i} exp s_ij
    (3)  L = (1/m) sum_i (lse_i - s_ip),  p = p(i)
    (4)  dL/du_i = (t/m) sum_{j != i} (P_ij + P_ji) u_j - (2t/m) u_p,  P_ij = exp(s_ij - lse_i)
    (5)  dL/dt = (1/2t) sum_i <u_i, dL/du_i>
    (6)  dL/dz_i = (dL/du_i - u_i <u_i, dL/du_i>) / |z_i|

Since s is symmetric, one tile of exponentials gives P_ij and P_ji; (5) reuses the dot products of (6).
Late in training P_ip tends to 1 and (4) subtracts equal numbers, so fast forms hold the positive apart.
With c = max(0, t - 60), which bounds every exponent by 60 and needs no running maximum, let

    (2')  N_i = sum_{j != i, p} exp(s_ij - c),  Z_i = N_i + exp(s_ip - c),  x_i = log N_i + c - s_ip
    (3')  L = (1/m) sum_i softplus(x_i)
    (4')  dL/du_i = (t/m) [ sum_{j != i, p} exp(s_ij - c) (1/Z_i + 1/Z_j) u_j
                            - (sigmoid(x_i) + sigmoid(x_p)) u_p ]

which are (2)-(4) in exact arithmetic, without the cancellation.
"""

from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.distributed import ProcessGroup

from pretrain.ntxent import tiles
from pretrain.ntxent.closed_form import ntxent_closed_form
from pretrain.ntxent.distributed import Negatives, ranks_sharing
from pretrain.ntxent.reference import ntxent_reference

__all__ = ["LOWEST_TEMPERATURE", "Implementation", "Negatives", "ntxent_loss"]

Form = Literal["simclr", "clip"]
Implementation = Literal["auto", "reference", "chunked", "cuda"]

LOWEST_TEMPERATURE = 0.01
"""Below it float32 exponentials of ordinary negatives vanish under the shift of (2')."""


def ntxent_loss(
    first: Float[Tensor, "n d"],
    second: Float[Tensor, "n d"],
    temperature: Float[Tensor, ""] | float,
    *,
    ids: Int64[Tensor, " n"] | None = None,
    group: ProcessGroup | None = None,
    form: Form = "simclr",
    implementation: Implementation = "auto",
    negatives: Negatives = "everyone",
) -> Float[Tensor, ""]:
    """The mean of (3) over this rank's 2n views; row k of `first` and of `second` are one molecule.

    The projections need not be normalised. Half precision is computed in float32, also under autocast;
    float32 and float64 stay what they are. A tensor temperature may be learned; on a GPU its value is
    not checked, because reading it would stall the device.

    `negatives="everyone"` takes the views of all ranks in `group` (default: all processes, if there is a
    process group), each with the same n; averaging loss and gradients over ranks, as data parallelism
    does, gives exactly those of one process with the whole batch. `"this_rank"` communicates nothing.

    `chunk` is the edge of a tile of the chunked form: memory grows with its square, never with n squared.
    """
    _refuse_bad_views(first, second)
    _refuse_low_temperature(temperature)
    ranks = ranks_sharing(negatives, group)
    if len(first) * ranks.world == 1:
        raise ValueError("one molecule has no negatives: NT-Xent needs at least two in a batch")
    precision = torch.promote_types(torch.promote_types(first.dtype, second.dtype), torch.float32)
    with torch.autocast(first.device.type, enabled=False):
        first, second = first.to(precision), second.to(precision)
        if isinstance(temperature, Tensor):
            temperature = temperature.to(first)
        else:
            temperature = first.new_full((), temperature)
        if implementation == "reference":
            return ntxent_reference(first, second, temperature)
        return ntxent_closed_form(
            first, second, temperature, ids, ranks, clip=form == "clip", products=tiles, rounding=precision
        )


def _refuse_bad_views(first: Tensor, second: Tensor) -> None:
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(
            f"the two views are (n, d) and (n, d), row by row the same molecules; "
            f"they are {tuple(first.shape)} and {tuple(second.shape)}"
        )
    if 0 in first.shape:
        raise ValueError(f"nothing to compare: the views are {tuple(first.shape)}, with n = 0 or d = 0")
    if not (first.is_floating_point() and second.is_floating_point()):
        raise ValueError(f"the views are floating point; they are {first.dtype} and {second.dtype}")


def _refuse_low_temperature(temperature: Tensor | float) -> None:
    if isinstance(temperature, Tensor):
        if temperature.ndim:
            raise ValueError(f"one temperature for all views; it has the shape {tuple(temperature.shape)}")
        if temperature.device.type != "cpu":
            return
        temperature = temperature.item()
    # 0.01 in float32 or as 1/exp(log 100) lies a rounding below the bound; `not >=` also catches nan.
    if not temperature >= LOWEST_TEMPERATURE * (1 - 1e-3):
        raise ValueError(f"temperature is at least {LOWEST_TEMPERATURE}; it is {temperature:g}")
