r"""What each modality contributes to an answer: exact Shapley values of graph, text and fingerprint.

n molecules, t targets, M modalities that the model reads, b background molecules for each.
    FineTuned, molecules, background  ->  values (n, t, M) in the answer's units (logits for classification)

    phi_m = sum over S without m of  |S|! (M - |S| - 1)! / M!  ( v(S + m) - v(S) )                          (1)
    v(S)  = mean over background molecules of the answer where the modalities in S are the molecule's own and
            the others are the background molecule's
The values of a molecule add up to its answer less the mean answer of its background (efficiency). The share of a
modality in a target is the mean of |phi_m| over molecules, as a part of the sum over modalities: LGM-CL's figure of
modality shares (arXiv 2601.22610), which it computes with SHAP (Lundberg and Lee 2017). Targets of different units
have shares that can be compared, so a model's share is their mean. With three modalities there are eight sets, so
nothing is sampled but the background. A molecule and its background stand at the same place when
each batch is sorted by size, so they are of like size: a difference is chemistry before it is size.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from math import factorial

import numpy as np
import torch
from jaxtyping import Float64
from numpy.typing import NDArray

from finetune.inputs import Inputs
from finetune.model import FineTuned, Member
from finetune.readers import Source, encoded_each_time, pieces
from pretrain.model import STREAMS
from sharding.featurize import Featurized
from sharding.progress import ProgressLine

FINGERPRINT = "fingerprint"
AT_A_TIME = 64


def modalities(model: FineTuned) -> list[str]:
    """Those that the model reads: of graph, text and fingerprint."""
    read = [stream for stream in STREAMS if model.design.of(stream)]
    return [*read, FINGERPRINT] if model.design.fingerprint else read


def shapley(
    model: FineTuned, molecules: Featurized, background: Featurized, each: int = 4, seed: int = 0
) -> Float64[NDArray, "n t M"]:
    """(1) for each molecule, against `each` background molecules drawn by the seed; the members' mean."""
    with ProgressLine("shares", len(molecules.molecules) * len(model.members)) as line:
        found = [
            _of_member(member, model, molecules, background, each, seed, line) for member in model.members
        ]
    return np.mean(found, axis=0)


def shares(values: Float64[NDArray, "n t M"]) -> Float64[NDArray, "t M"]:
    """Mean of |phi_m| as a part of the sum over modalities; equal parts where nothing contributes."""
    mean = np.abs(values).mean(0)
    total = mean.sum(1, keepdims=True)
    return np.where(total > 0, mean / np.where(total > 0, total, 1), 1 / mean.shape[1])


@torch.inference_mode()
def _of_member(
    member: Member,
    model: FineTuned,
    molecules: Featurized,
    background: Featurized,
    each: int,
    seed: int,
    line: ProgressLine,
) -> Float64[NDArray, "n t M"]:
    member.encoder.model.eval()
    member.system.eval()
    own, other = (
        encoded_each_time(member.encoder, Source(made.molecules, made.fingerprints, member.needs))
        for made in (molecules, background)
    )
    names = modalities(model)
    random = np.random.default_rng(seed)
    found = []
    for rows in pieces(len(molecules.molecules), AT_A_TIME):
        mine = own(rows)
        values = np.zeros((len(rows), len(member.design.targets), len(names)))
        for _ in range(each):
            drawn = random.integers(0, len(background.molecules), len(rows))
            worth = _worth(member, mine, other(drawn), names)
            values += _phi(worth, len(names)) / each
        found.append(values)
        line.advance(len(rows))
    return np.concatenate(found)


def _worth(
    member: Member, mine: Inputs, theirs: Inputs, names: Sequence[str]
) -> dict[frozenset[int], Float64[NDArray, "k t"]]:
    """v(S) of every set S of modalities, for one background molecule each."""
    worth = {}
    for size in range(len(names) + 1):
        for chosen in combinations(range(len(names)), size):
            mixed = _mixed(mine, theirs, {names[place] for place in chosen})
            outputs = member.system(mixed)[mine.place].double().cpu().numpy()
            worth[frozenset(chosen)] = member.scaler.original(outputs)
    return worth


def _mixed(mine: Inputs, theirs: Inputs, own: set[str]) -> Inputs:
    """The modalities in `own` from the one, the others from the other."""
    stream_of = {view: stream for stream, views in STREAMS.items() for view in views}
    return replace(
        mine,
        vectors={view: (mine if stream_of[view] in own else theirs).vectors[view] for view in mine.vectors},
        states={view: (mine if stream_of[view] in own else theirs).states[view] for view in mine.states},
        fingerprints=(mine if FINGERPRINT in own else theirs).fingerprints,
    )


def _phi(worth: dict[frozenset[int], Float64[NDArray, "k t"]], count: int) -> Float64[NDArray, "k t M"]:
    values = []
    for player in range(count):
        total = np.zeros_like(worth[frozenset()])
        for chosen, value in worth.items():
            if player not in chosen:
                weight = factorial(len(chosen)) * factorial(count - len(chosen) - 1) / factorial(count)
                total += weight * (worth[chosen | {player}] - value)
        values.append(total)
    return np.stack(values, axis=-1)
