r"""What each atom contributes to an answer through the graph views: integrated gradients.

n molecules, a atoms in all, t targets; x (a, 39) the atoms' numbers, f the answer (logits for classification).
    FineTuned, molecules, target  ->  values (a,), atoms of molecule after molecule

    value_i = sum_c x_ic  integral_0^1  d f(s x) / d x_ic  ds                                               (1)
by the midpoint rule with `STEPS` points (Sundararajan et al. 2017, arXiv 1703.01365). The values of a molecule add up
to its answer less the answer with all atoms' numbers zero, bonds, text and fingerprint as they are. Both graph
encoders read x, so both count; a model without graph views has no atom values. The text encoders read no x: they
run once a molecule and not at every step.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from numpy.typing import NDArray
from torch import Tensor, nn

from finetune.model import FineTuned, Member
from finetune.readers import Source, encoded_each_time, pieces
from pretrain.model import STREAMS
from sharding.errors import UserError
from sharding.featurize import Featurized
from sharding.progress import ProgressLine

STEPS = 24
AT_A_TIME = 32
DOORS = {"local": "lin1", "global": "embed"}
"""The layer of each graph encoder that x enters."""


def atom_values(model: FineTuned, molecules: Featurized, target: int = 0) -> Float64[NDArray, " a"]:
    """(1), the members' mean. Raises `UserError` for a model that reads no graph."""
    if not model.design.of("graph"):
        raise UserError("this model reads no graph, so its atoms have no values.")
    with ProgressLine("atoms", len(molecules.molecules) * len(model.members)) as line:
        return np.mean([_of_member(member, molecules, target, line) for member in model.members], axis=0)


def _of_member(
    member: Member, molecules: Featurized, target: int, line: ProgressLine
) -> Float64[NDArray, " a"]:
    read = encoded_each_time(
        member.encoder, Source(molecules.molecules, molecules.fingerprints, member.needs)
    )
    member.encoder.model.eval()
    member.system.eval()
    sizes = molecules.molecules.n_atoms.astype(np.int64)
    found = np.zeros(int(sizes.sum()))
    begins = np.concatenate([[0], np.cumsum(sizes)])
    for rows in pieces(len(sizes), AT_A_TIME):
        total: Tensor | None = None
        with _texts_once(member):
            for step in range(STEPS):
                with _scaled((step + 0.5) / STEPS, member) as seen:
                    inputs = read(rows)
                    answer = member.system(inputs)[:, target].sum() * float(member.scaler.scale[target])
                    value = seen.values_of(answer)
                total = value if total is None else total + value
        assert total is not None
        order = rows[np.argsort(inputs.place.cpu().numpy())]  # as the batch stood
        places = np.concatenate([np.arange(begins[row], begins[row + 1]) for row in order])
        found[places] = (total / STEPS).double().cpu().numpy()
        line.advance(len(rows))
    return found


class _Seen(dict[str, Tensor]):
    """The scaled inputs that entered, by view; `wholes` are the unscaled ones in the same order."""

    def __init__(self) -> None:
        super().__init__()
        self.wholes: list[Tensor] = []

    def values_of(self, answer: Tensor) -> Tensor:
        """One step's part of (1) for each atom, of all views together."""
        gradients = torch.autograd.grad(answer, list(self.values()), allow_unused=True)
        parts = [
            gradient * whole
            for gradient, whole in zip(gradients, self.wholes, strict=True)
            if gradient is not None
        ]
        return torch.stack([part.sum(1) for part in parts]).sum(0).detach()


@contextmanager
def _scaled(share: float, member: Member) -> Iterator[_Seen]:
    """Let every graph encoder that is read see share * x, and keep what it saw."""
    seen = _Seen()

    def enter(view: str) -> Any:
        def hook(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            seen.wholes.append(given[0].detach())
            seen[view] = (given[0].detach() * share).requires_grad_()
            return (seen[view],)

        return hook

    handles = [
        getattr(member.encoder.model.encoders[view], door).register_forward_pre_hook(enter(view))
        for view, door in DOORS.items()
        if view in member.needs.views
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


class _Remembered(nn.Module):
    """Answers as the encoder did at first: for inputs that stay the same."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.answer = encoder, None

    def forward(self, *given: Any) -> Any:
        """The encoder's first answer, without its gradients."""
        if self.answer is None:
            with torch.no_grad():
                self.answer = self.encoder(*given)
        return self.answer


@contextmanager
def _texts_once(member: Member) -> Iterator[None]:
    encoders = member.encoder.model.encoders
    texts = {view: encoders[view] for view in STREAMS["text"] if view in encoders}
    encoders.update({view: _Remembered(encoder) for view, encoder in texts.items()})
    try:
        yield
    finally:
        encoders.update(texts)
