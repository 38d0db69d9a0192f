"""Batches beyond memory: the loss meets all molecules of a step, the encoders a chunk of them at a time.

n molecules of this rank in c chunks, d width.
    c Batches  ->  gradients in the engine, reduced over ranks once; the streams' losses ()

    1. every chunk forward, without a graph               ->  z (n, d) of each view, and the temperature
    2. the losses of all z, against all ranks' negatives  ->  dz (n, d), and the temperature's derivative
    3. every chunk forward again, as in 1, with a graph, and backward from the sum of <z, dz>
The derivative of that sum in the weights is the loss's, by the chain rule. One chunk's graph lives at a time;
what grows with n is z and dz. The price is one forward more.

Gao et al. 2021 (GradCache), arXiv 2101.06983, section 3. There random states are kept for the second forward;
here a chunk's randomness is a function of its number, called again. There the temperature is fixed; here it
learns: to the loss it is an input as z is, and its derivative joins the sum of one chunk, so it counts once.
With dropout the gradient is that of one graph over the same chunks with the same seeds, to rounding; without,
that of the batch that was never cut.

Every rank makes 2 c calls of the module, which ZeRO-3 counts on: all ranks have the same n and cut it alike.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pretrain.batch import Batch

Losses = Callable[[dict[str, Float[Tensor, "n d"]], Float[Tensor, ""] | float], dict[str, Float[Tensor, ""]]]
"""Projections by view and the temperature -> the streams' losses."""
STRAY = 0.02
"""Relative distance of a chunk's two forwards that no rounding explains, bfloat16's included. On a CPU replayed ones
are equal bit for bit; those with another seed and a dropout of 0.1 differ by 0.03 to 0.46, by the view."""


def objective(losses: Mapping[str, Float[Tensor, ""]]) -> Float[Tensor, ""]:
    """The mean of the streams' losses, so that it compares with chance, log(2N - 1)."""
    return torch.stack(list(losses.values())).mean()


def cached_backward(
    engine: Any, chunks: Sequence[Batch], seed: Callable[[int], None], losses: Losses
) -> dict[str, Float[Tensor, ""]]:
    """The backward of `objective`, for `engine.step` to follow. `seed(k)` starts the randomness of chunk k."""
    views, temperature = _embed(engine, chunks, seed)
    leaves = views | ({"temperature": temperature} if isinstance(temperature, Tensor) else {})
    found = losses(views, temperature)
    derivatives = torch.autograd.grad(objective(found), list(leaves.values()))
    derivative = dict(zip(leaves, derivatives, strict=True))

    begins = itertools.accumulate((chunk.size for chunk in chunks[:-1]), initial=0)
    strays = []
    with one_reduction(engine):
        for number, (chunk, begin) in enumerate(zip(chunks, begins, strict=True)):
            seed(number)
            again, learned = engine(chunk.to(engine.device))
            mine = slice(begin, begin + chunk.size)
            terms = [(rows * derivative[view][mine]).sum() for view, rows in again.items()]
            if number == 0 and "temperature" in derivative:
                terms.append(learned * derivative["temperature"])
            engine.backward(sum(terms))
            strays += [_distance(rows.detach(), views[view][mine]) for view, rows in again.items()]
    _refuse_strays(torch.stack(strays).max().item())
    return found


@torch.no_grad()
def _embed(
    engine: Any, chunks: Sequence[Batch], seed: Callable[[int], None]
) -> tuple[dict[str, Float[Tensor, "n d"]], Any]:
    """All chunks' projections by view and the temperature, as leaves that gather derivatives."""
    parts = []
    for number, chunk in enumerate(chunks):
        seed(number)
        projections, temperature = engine(chunk.to(engine.device))
        parts.append(projections)
    views = {view: torch.cat([part[view] for part in parts]).requires_grad_() for view in parts[0]}
    return views, temperature.requires_grad_() if isinstance(temperature, Tensor) else temperature


def _distance(again: Float[Tensor, "k d"], before: Float[Tensor, "k d"]) -> Float[Tensor, ""]:
    """Of the second forward to the first, as a part of its length."""
    return (torch.dist(again, before) / torch.linalg.vector_norm(before)).detach()


def _refuse_strays(most: float) -> None:
    """A second forward that is another function than the first would give wrong gradients in silence."""
    if most > STRAY:
        raise RuntimeError(
            f"the second forward of a chunk differs from the first by {most:.0%}: its randomness was not replayed, "
            "so the gradients are wrong. Set train.chunk=0 or model.dropout=0, and report this."
        )


@contextmanager
def one_reduction(engine: Any) -> Iterator[None]:
    """Several `engine.backward` whose gradients add up on this rank, and are averaged over ranks at the end.

    DeepSpeed 0.19: without this, ZeRO-1 and 2 keep the last one's gradient and lose the others in silence. The
    price is a whole gradient on every rank until then, also where ZeRO-2 and 3 would share it.
    """
    if engine.zero_optimization_stage():
        with engine.coalesce_grad_reduction():
            yield
    else:
        with engine.no_sync():
            yield
        engine.allreduce_gradients()
