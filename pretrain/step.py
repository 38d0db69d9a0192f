"""One step: chunks of molecules in, one change of the weights or none, the streams' losses out.

n molecules of this rank, in chunks.  Its dropout is a function of (seed, step, rank, chunk): see `seed_dropout`.

    embed           chunks -> z of each view and the temperature                    this rank's own work
    losses, judge   z -> the streams' losses, the guard's verdict, dz               ranks meet
    backward        dz -> gradients on this rank                                    its own work
    reduce, step    gradients averaged over ranks, clipped, AdamW; or refused       ranks meet
Ranks agree after each piece of own work whether memory sufficed (pretrain/memory.py). Nothing in here waits for the
device, so a GPU's queue never runs dry: what the host wants to know, it asks for when a window of steps is closed. With
ZeRO 1 to 3, DeepSpeed itself asks once, in the step.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pretrain.batch import Batch
from pretrain.cached import Seed, embed, objective, one_reduction, push_back
from pretrain.config import LossConfig, SameMolecule
from pretrain.gradients import refused, tower_norms
from pretrain.guard import Guard, Verdict
from pretrain.memory import Memory
from pretrain.model import STREAMS
from pretrain.ntxent import ntxent_loss


class Outcome(NamedTuple):
    """What a step leaves, on the device."""

    losses: dict[str, Float[Tensor, ""]]
    """This rank's, by stream."""
    verdict: Verdict
    refused: Bool[Tensor, ""] | bool
    """Whether weights and moments stayed as they were."""
    stray: Float[Tensor, ""]
    """How far a chunk's second forward was from its first, see pretrain/cached.py; 0 when uncut."""
    temperature: Float[Tensor, ""] | float
    """Before the step."""
    norms: dict[str, Float[Tensor, ""]]
    """The gradient's norm in each tower, when asked for."""


def train_step(
    engine: Any,
    cut: Callable[[int], list[Batch]],
    seed: Seed,
    loss: LossConfig,
    guard: Guard,
    memory: Memory,
    *,
    norms: bool = False,
) -> Outcome:
    """Forward, NT-Xent of each stream, backward, optimizer step; again in smaller chunks when memory runs out.

    `cut(k)` gives the molecules in chunks of k, and `seed(i)` starts the dropout of chunk i.
    """
    while (outcome := _attempt(engine, cut(memory.chunk), seed, loss, guard, memory, norms)) is None:
        memory.halve()
    return outcome


def _attempt(
    engine: Any, chunks: list[Batch], seed: Seed, loss: LossConfig, guard: Guard, memory: Memory, norms: bool
) -> Outcome | None:
    """The step, or None when memory ran out on some rank and nothing has changed."""
    ids = torch.cat([chunk.ids.to(engine.device, non_blocking=True) for chunk in chunks])
    with memory.watching(own=memory.forward_is_own):
        embedded = embed(engine, chunks, seed)
    if memory.ran_out(own=memory.forward_is_own):
        return None
    with memory.watching(own=memory.alone):
        losses = stream_losses(embedded.views, embedded.temperature, ids=ids, loss=loss)
        verdict = guard.judge(objective(losses))
        derivative = embedded.derivative(objective(losses) * verdict.factor)
    if memory.ran_out(own=memory.alone):
        return None
    with one_reduction(engine, later=memory.backward_is_own or memory.cut):
        with memory.watching(own=memory.backward_is_own):
            stray = push_back(engine, chunks, seed, embedded, derivative)
        if memory.ran_out(own=memory.backward_is_own):
            return None
    towers = tower_norms(engine) if norms else {}
    engine.step()
    local = {stream: value.detach() for stream, value in losses.items()}
    temperature = embedded.temperature
    if isinstance(temperature, Tensor):
        temperature = temperature.detach()
    return Outcome(local, verdict, refused(engine), stray, temperature, towers)


def stream_losses(
    projections: dict[str, Tensor], temperature: Tensor | float, *, ids: Tensor, loss: LossConfig
) -> dict[str, Tensor]:
    """NT-Xent of each stream that is trained, over the molecules of all ranks. ids (n,) are of this rank's rows."""
    nobody = loss.same_molecule is SameMolecule.none
    return {
        stream: ntxent_loss(
            projections[first],
            projections[second],
            temperature=temperature,
            ids=None if nobody else ids,
            negatives=loss.negatives.value,
        )
        for stream, (first, second) in STREAMS.items()
        if first in projections
    }


def seed_dropout(seed: int, step: int, rank: int, chunk: int) -> None:
    """Start the dropout of a chunk: a function of its place, not a state that a checkpoint would have to carry."""
    place = np.random.SeedSequence((seed, step, rank, chunk))
    torch.manual_seed(int(place.generate_state(1, np.uint64)[0] >> 1))
