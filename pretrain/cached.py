"""Batches beyond memory: the loss meets all molecules of a step, the encoders a chunk of them at a time.

n molecules of this rank in c chunks, d width.
    c Batches  ->  gradients in the engine, reduced over ranks once

    1. every chunk forward, without a graph               ->  z (n, d) of each view, and the temperature
    2. the losses of all z, against all ranks' negatives  ->  dz (n, d), and the temperature's derivative
    3. every chunk forward again, as in 1, with a graph, and backward from the sum of <z, dz>
The derivative of that sum in the weights is the loss's, by the chain rule. One chunk's graph lives at a time;
what grows with n is z and dz. The price is one forward more; a single chunk keeps its graph, and pays nothing.

Gao et al. 2021 (GradCache), arXiv 2101.06983, section 3. There random states are kept for the second forward;
here a chunk's randomness is a function of its number, called again. There the temperature is fixed; here it
learns: to the loss it is an input as z is, and its derivative joins the sum of one chunk, so it counts once.
With dropout the gradient is that of one graph over the same chunks with the same seeds, to rounding; without,
that of the batch that was never cut.

Every rank makes 2 c calls of the module, which ZeRO-3 counts on: all ranks have the same n and cut it alike.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from pretrain.batch import Batch

Seed = Callable[[int], None]
"""Starts the randomness of a chunk, by its number."""
STRAY = 0.02
"""Relative distance of a chunk's two forwards that no rounding explains, bfloat16's included. On a CPU replayed ones
are equal bit for bit; those with another seed and a dropout of 0.1 differ by 0.03 to 0.46, by the view."""


class Embedded(NamedTuple):
    """All molecules of a rank, as the loss sees them."""

    views: dict[str, Float[Tensor, "n d"]]
    """Leaves that gather the loss's derivative."""
    temperature: Float[Tensor, ""] | float
    graph: tuple[dict[str, Float[Tensor, "n d"]], Any] | None
    """The same with the graph that leads to the weights, where there is one chunk; else none."""

    def derivative(self, loss: Float[Tensor, ""]) -> dict[str, Tensor]:
        """Of the loss in each view, and in the temperature where that learns."""
        leaves = dict(self.views)
        if isinstance(self.temperature, Tensor):
            leaves["temperature"] = self.temperature
        return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


def objective(losses: Mapping[str, Float[Tensor, ""]]) -> Float[Tensor, ""]:
    """The mean of the streams' losses, so that it compares with chance, log(2N - 1)."""
    return torch.stack(list(losses.values())).mean()


def embed(engine: Any, chunks: Sequence[Batch], seed: Seed) -> Embedded:
    """1. `seed(k)` starts the randomness of chunk k."""
    whole = len(chunks) == 1
    parts = []
    with nullcontext() if whole else torch.no_grad():
        for number, chunk in enumerate(chunks):
            seed(number)
            parts.append(engine(chunk.to(engine.device)))
    views = {view: torch.cat([rows[view] for rows, _ in parts]).detach() for view in parts[0][0]}
    temperature = parts[0][1]
    if isinstance(temperature, Tensor):
        temperature = temperature.detach().requires_grad_()
    leaves = {view: rows.requires_grad_() for view, rows in views.items()}
    return Embedded(leaves, temperature, parts[0] if whole else None)


def push_back(
    engine: Any,
    chunks: Sequence[Batch],
    seed: Seed,
    embedded: Embedded,
    derivative: Mapping[str, Tensor],
) -> Float[Tensor, ""]:
    """3. From the derivatives to the weights' gradients; how far a chunk's second forward was from its first."""
    if embedded.graph is not None:
        engine.backward(_inner(*embedded.graph, derivative, slice(None)))
        return torch.zeros((), device=engine.device)
    begins = itertools.accumulate((chunk.size for chunk in chunks[:-1]), initial=0)
    strays = []
    for number, (chunk, begin) in enumerate(zip(chunks, begins, strict=True)):
        seed(number)
        again, learned = engine(chunk.to(engine.device))
        mine = slice(begin, begin + chunk.size)
        # the temperature's derivative is that of all chunks: it counts once
        engine.backward(_inner(again, learned if number == 0 else None, derivative, mine))
        strays += [_distance(rows.detach(), embedded.views[view][mine]) for view, rows in again.items()]
    return torch.stack(strays).max()


def _inner(
    views: Mapping[str, Tensor], temperature: Any, derivative: Mapping[str, Tensor], mine: slice
) -> Float[Tensor, ""]:
    """The sum of <z, dz> over views, and of the temperature with its derivative where it learns."""
    terms = [(rows * derivative[view][mine]).sum() for view, rows in views.items()]
    if isinstance(temperature, Tensor):
        terms.append(temperature * derivative["temperature"])
    return torch.stack([term.to(torch.promote_types(term.dtype, torch.float32)) for term in terms]).sum()


def _distance(again: Float[Tensor, "k d"], before: Float[Tensor, "k d"]) -> Float[Tensor, ""]:
    """Of the second forward to the first, as a part of its length."""
    return (torch.dist(again, before) / torch.linalg.vector_norm(before)).detach()


def refuse_stray(most: float) -> None:
    """A second forward that is another function than the first would give wrong gradients in silence."""
    if most > STRAY:
        raise RuntimeError(
            f"the second forward of a chunk differs from the first by {most:.0%}: its randomness was not replayed, "
            "so the gradients are wrong. Set train.chunk=0 or model.dropout=0, and report this."
        )


@contextmanager
def one_reduction(engine: Any, *, later: bool = True) -> Iterator[None]:
    """One or several `engine.backward` whose gradients add up on this rank, and are averaged over ranks at the end.

    DeepSpeed 0.19: without this, ZeRO-1 and 2 keep the last one's gradient and lose the others in silence. The
    price is a whole gradient on every rank until then, also where ZeRO-2 and 3 would share it. With `later` False
    gradients are reduced as they come, in DeepSpeed's own way: for a single backward.
    """
    if not later:
        yield
    elif engine.zero_optimization_stage():
        with engine.coalesce_grad_reduction():
            yield
    else:
        with engine.no_sync():
            yield
        engine.allreduce_gradients()
