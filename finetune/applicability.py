"""Whether a molecule is like those that the model was trained on: an answer far from them is a guess.

k training molecules, n new ones, w width of the encoder's vectors.
    fingerprints (k, 256) packed, vectors (k, w)  ->  Domain
    SMILES (n), vectors (n, w)  ->  similarity (n,): Tanimoto of the nearest training molecule
                                    distance (n,): to the `NEIGHBOURS` nearest training vectors, their mean, in units
                                                   of what 95 % of the training molecules stay below among themselves
                                    inside (n,) bool

A molecule is inside where its similarity is not below, and its distance not above, what 95 % of the training
molecules reach among themselves (each without itself). Morgan fingerprints, radius 2, 2,048 bits; vectors are scaled
by their standard deviation in training. Distance-based domains as in Sheridan et al. 2004 (J. Chem. Inf. Comput.
Sci. 44, 1912), with two views of what near means, because an encoder's space and a chemist's differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, UInt8
from numpy.typing import NDArray
from rdkit import Chem, DataStructs, rdBase
from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator

NEIGHBOURS = 5
SHARE = 0.95
RADIUS, BITS = 2, 2048
AT_A_TIME = 1024
"""Molecules whose distances are in memory together."""


class Nearness(NamedTuple):
    """Of n molecules; shapes in the module's head. No vectors: no distance."""

    similarity: Float64[NDArray, " n"]
    distance: Float64[NDArray, " n"] | None
    inside: Bool[NDArray, " n"]


@dataclass(frozen=True, eq=False)
class Domain:
    """The training molecules, and how near they are to each other."""

    fingerprints: UInt8[NDArray, "k 256"]
    vectors: Float32[NDArray, "k w"] | None
    least_similarity: float
    usual_distance: float

    @classmethod
    def fit(cls, smiles: Sequence[str], vectors: Float32[NDArray, "k w"] | None) -> "Domain":
        """From the training part; two molecules at least."""
        prints = morgan(smiles)
        similarity = _nearest(prints, prints, without_self=True)
        distance = None if vectors is None else _distances(vectors, vectors, without_self=True)
        return cls(
            np.stack([np.packbits(_bits(one)) for one in prints]),
            vectors,
            float(np.quantile(similarity, 1 - SHARE)),
            1.0 if distance is None else float(np.quantile(distance, SHARE)) or 1.0,
        )

    def nearness(self, smiles: Sequence[str], vectors: Float32[NDArray, "n w"] | None) -> Nearness:
        """Of new molecules, which can be parsed."""
        known = [_packed(row) for row in self.fingerprints]
        similarity = _nearest(morgan(smiles), known)
        inside = similarity >= self.least_similarity
        if vectors is None or self.vectors is None:
            return Nearness(similarity, None, inside)
        distance = _distances(vectors, self.vectors) / self.usual_distance
        return Nearness(similarity, distance, inside & (distance <= 1))


def morgan(smiles: Sequence[str]) -> list[DataStructs.ExplicitBitVect]:
    """The fingerprints of these molecules."""
    generator = GetMorganGenerator(radius=RADIUS, fpSize=BITS)
    with rdBase.BlockLogs():
        return [generator.GetFingerprint(Chem.MolFromSmiles(text)) for text in smiles]


def _nearest(
    new: Sequence[DataStructs.ExplicitBitVect],
    known: Sequence[DataStructs.ExplicitBitVect],
    *,
    without_self: bool = False,
) -> Float64[NDArray, " n"]:
    found = np.empty(len(new))
    for place, one in enumerate(new):
        similarities = np.array(DataStructs.BulkTanimotoSimilarity(one, known))
        if without_self:
            similarities[place] = -1
        found[place] = similarities.max()
    return found


def _distances(
    new: Float32[NDArray, "n w"], known: Float32[NDArray, "k w"], *, without_self: bool = False
) -> Float64[NDArray, " n"]:
    """Mean distance to the nearest known vectors, each feature in units of its deviation there."""
    deviation = known.std(0)
    scale = np.where(deviation > 0, deviation, 1).astype(np.float32)
    near, far = torch.from_numpy(known / scale), torch.from_numpy(new / scale)
    count = min(NEIGHBOURS, len(known) - without_self)
    parts = []
    for begin in range(0, len(new), AT_A_TIME):
        distances = torch.cdist(far[begin : begin + AT_A_TIME], near)
        if without_self:
            rows = torch.arange(len(distances))
            distances[rows, rows + begin] = torch.inf
        parts.append(distances.topk(count, largest=False).values.mean(1).double())
    return torch.cat(parts).numpy() if parts else np.empty(0)


def _bits(fingerprint: DataStructs.ExplicitBitVect) -> UInt8[NDArray, " 2048"]:
    bits = np.zeros(BITS, np.uint8)
    bits[list(fingerprint.GetOnBits())] = 1
    return bits


def _packed(row: UInt8[NDArray, " 256"]) -> DataStructs.ExplicitBitVect:
    fingerprint = DataStructs.ExplicitBitVect(BITS)
    fingerprint.SetBitsFromList(np.flatnonzero(np.unpackbits(row)).tolist())
    return fingerprint
