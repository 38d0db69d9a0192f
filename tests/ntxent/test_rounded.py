"""The closed form as the kernel is given it: unit rows rounded to bfloat16, against float64 on the same rows."""

import pytest
import torch
from torch.nn.functional import normalize

from pretrain.ntxent import tiles
from pretrain.ntxent.closed_form import ntxent_closed_form
from pretrain.ntxent.distributed import Ranks
from pretrain.ntxent.kernel import ops
from tests.ntxent.cases import FORMS, clustered, relative_error


def exact(first, second, temperature, ids, form):
    """(1)-(3) in float64 for the rounded rows, autograd's gradient of them, then (6)."""
    n, views = len(first), torch.cat([first, second])
    unit = normalize(views, dim=1).bfloat16().double().requires_grad_()
    tau = temperature.double().requires_grad_()
    row = torch.arange(2 * n)
    molecule = (row % n if ids is None else ids.repeat(2))[:, None]
    candidates = molecule != molecule.T
    if form == "clip":
        candidates &= (row[:, None] < n) != (row < n)
    candidates[row, row.roll(n)] = True
    similarity = unit @ unit.T / tau
    lse = similarity.masked_fill(~candidates, -torch.inf).logsumexp(1)
    loss = (lse - similarity[row, row.roll(n)]).mean()
    of_unit, of_tau = torch.autograd.grad(loss, [unit, tau])
    along = (unit * of_unit).sum(1, keepdim=True)
    of_views = (of_unit - unit * along) / views.double().norm(dim=1, keepdim=True)
    return loss.detach(), *of_views.detach().split(n), of_tau


@pytest.mark.parametrize("products", [tiles, ops], ids=["tiles", "operators"])
@pytest.mark.parametrize("temperature", [0.1, 0.02])
@pytest.mark.parametrize("repeated", [False, True], ids=["all differ", "repeated ids"])
@pytest.mark.parametrize("form", FORMS)
def test_late_training_on_rounded_rows(form, repeated, temperature, products):
    """Rounding happens once, to the rows: what follows adds errors of single precision only."""
    views, tau = clustered(), torch.tensor(temperature)
    ids = torch.arange(len(views[0])) // 2 if repeated else None
    leaves = [leaf.clone().requires_grad_() for leaf in (*views, tau)]
    loss = ntxent_closed_form(
        *leaves, ids, Ranks(), clip=form == "clip", products=products, rounding=torch.bfloat16
    )
    outcome = loss.detach(), *torch.autograd.grad(loss, leaves)
    truth = exact(*views, tau, ids, form)
    assert max(map(relative_error, outcome, truth)) < 2e-5


def test_the_rows_that_are_rounded_are_the_unit_rows():
    """A view in bfloat16 is normalised in float32 first: its length does not reach the loss."""
    views, tau = [view.bfloat16() for view in clustered()], torch.tensor(0.1)
    loss, longer = (
        ntxent_closed_form(*scaled, tau, None, Ranks(), clip=False, products=tiles, rounding=torch.bfloat16)
        for scaled in (views, [8 * view for view in views])
    )
    assert torch.equal(loss, longer)
