"""The truth to judge a form by: loss and gradients in float64, of the rows that the form itself has.

first (n, d), second (n, d), temperature ()  ->  loss, and its derivatives in all three

Equations (2') and (3') of `pretrain.ntxent` by autograd, then (6): in (3) even float64 loses what a small loss is
made of. Where a form rounds its unit rows, the rows are rounded here too, and then counted as exact: rounding the
input is a choice, the arithmetic that follows is what is judged.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


class Errors(NamedTuple):
    """How far a form is off."""

    loss: float
    """Relative."""
    gradients: float
    """|form - truth| / |truth| over both views' gradients."""


def exact(
    first: Tensor, second: Tensor, temperature: Tensor, rounding: torch.dtype
) -> tuple[Tensor, list[Tensor]]:
    """The loss, and its derivatives in first, second and temperature, all float64."""
    views = torch.cat([first, second]).detach().double()
    length = views.norm(dim=1, keepdim=True)
    unit = views / length
    if rounding is not torch.float32:  # rows in float32 are compared with exact ones
        unit = unit.to(rounding).double()
    loss, of_unit, of_tau = exact_of_rows(unit, temperature.detach().double())
    of_views = (of_unit - unit * (unit * of_unit).sum(1, keepdim=True)) / length
    return loss, [*of_views.split(len(first)), of_tau]


def exact_of_rows(unit: Tensor, tau: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of float64 rows (2n, d) as they are, unit or nearly, and its derivatives in them and in tau."""
    unit, tau = unit.clone().requires_grad_(), tau.clone().requires_grad_()
    similarity = unit @ unit.T / tau
    everyone = torch.arange(len(unit), device=unit.device)
    partner = everyone.roll(len(unit) // 2)
    negatives = similarity.index_put((everyone, everyone), similarity.new_tensor(-torch.inf))
    negatives = negatives.index_put((everyone, partner), similarity.new_tensor(-torch.inf))
    margin = negatives.logsumexp(1) - similarity[everyone, partner]
    loss = -logsigmoid(-margin).mean()
    return loss.detach(), *torch.autograd.grad(loss, (unit, tau))


def errors(loss: Tensor, gradients: list[Tensor], truth: tuple[Tensor, list[Tensor]]) -> Errors:
    """Of a form's loss and gradients in the two views."""
    true_loss, true_gradients = truth
    found, true = torch.cat(gradients[:2]).double(), torch.cat(true_gradients[:2])
    return Errors(
        loss=(abs(loss.double() - true_loss) / true_loss).item(),
        gradients=((found - true).norm() / true.norm()).item(),
    )
