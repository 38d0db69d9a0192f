"""One step: chunks of molecules in, one change of the weights, the streams' losses out.

n molecules of this rank, in chunks.  Its dropout is a function of (seed, step, rank, chunk): see `seed_dropout`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pretrain.batch import Batch
from pretrain.cached import cached_backward, objective
from pretrain.config import LossConfig, SameMolecule
from pretrain.model import STREAMS
from pretrain.ntxent import ntxent_loss


def train_step(
    engine: Any, chunks: list[Batch], seed: Callable[[int], None], loss: LossConfig
) -> dict[str, Tensor]:
    """Forward, NT-Xent of each stream, backward, optimizer step. The local losses, detached.

    More than one chunk go through the encoders one after the other, see `pretrain.cached`. `seed(k)` starts the
    dropout of chunk k.
    """
    ids = torch.cat([chunk.ids for chunk in chunks]).to(engine.device)
    losses = partial(stream_losses, ids=ids, loss=loss)
    if len(chunks) > 1:
        found = cached_backward(engine, chunks, seed, losses)
    else:
        seed(0)
        found = losses(*engine(chunks[0].to(engine.device)))
        engine.backward(objective(found))
    engine.step()
    return {stream: value.detach() for stream, value in found.items()}


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
