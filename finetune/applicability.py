"""Whether a molecule is like those that the model was trained on: an answer far from them is a guess.

k training molecules, n new ones, w width of the encoder's vectors.
    fingerprints (k, 256) packed, vectors (k, w)  ->  Domain
    canonical SMILES (n), vectors (n, w)  ->  similarity (n,): Tanimoto of the nearest training molecule
                                    distance (n,): to the `NEIGHBOURS` nearest training vectors, their mean, in units
                                                   of what 95 % of the training molecules stay below among themselves
                                    inside (n,) bool

A molecule is inside where its similarity is not below, and its distance not above, what 95 % of the training
molecules reach among themselves (each without itself). Morgan fingerprints, radius 2, 2,048 bits; vectors are scaled
by their standard deviation in training. Distance-based domains as in Sheridan et al. 2004 (J. Chem. Inf. Comput.
Sci. 44, 1912), with two views of what near means, because an encoder's space and a chemist's differ.

A larger training part is represented by `MOST` of its molecules, drawn with a fixed seed: the time of an answer is
then bounded, and the limits are those among the drawn ones, so that similarity and limit are of the same density.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int, UInt8
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray
from rdkit import Chem, DataStructs, rdBase
from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator

from finetune.arrays import Expected, read_arrays, write_arrays

NEIGHBOURS = 5
SHARE = 0.95
RADIUS, BITS = 2, 2048
MOST = 4096
"""Training molecules that are kept."""
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
        """From training molecules as canonical SMILES. One alone is near to nothing but itself."""
        prints = morgan(smiles)
        if len(prints) < 2:
            return cls(prints, vectors, 1.0, 1.0)
        similarity = _nearest(prints, prints, without_self=True)
        usual = 1.0
        if vectors is not None:
            near = vectors / _deviation(vectors)
            usual = float(np.quantile(_distances(near, near, without_self=True), SHARE)) or 1.0
        return cls(prints, vectors, float(np.quantile(similarity, 1 - SHARE)), usual)

    def nearness(self, smiles: Sequence[str], vectors: Float32[NDArray, "n w"] | None) -> Nearness:
        """Of new molecules, as canonical SMILES."""
        similarity = _nearest(morgan(smiles), self.fingerprints)
        inside = similarity >= self.least_similarity
        if vectors is None or self._near is None:
            return Nearness(similarity, None, inside)
        near, deviation = self._near
        distance = _distances(vectors / deviation, near) / self.usual_distance
        return Nearness(similarity, distance, inside & (distance <= 1))

    @cached_property
    def _near(self) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """The scaled vectors and their scale."""
        if self.vectors is None:
            return None
        deviation = _deviation(self.vectors)
        return self.vectors / deviation, deviation

    def save(self, file: Path) -> None:
        """Write a safetensors file."""
        limits = np.array([self.least_similarity, self.usual_distance])
        vectors = {} if self.vectors is None else {"vectors": self.vectors}
        write_arrays(file, {"fingerprints": self.fingerprints, "limits": limits, **vectors})

    @classmethod
    def load(cls, file: Path, width: int) -> "Domain":
        """The inverse, of vectors of this width; 0: none. Raises `UserError` for any other file."""
        vectors = {"vectors": Expected(np.float32, ("k", width))} if width else {}
        prints, limits = Expected(np.uint8, ("k", BITS // 8)), Expected(np.float64, (2,))
        found = read_arrays(file, {"fingerprints": prints, "limits": limits, **vectors})
        return cls(found["fingerprints"], found.get("vectors"), *found["limits"].tolist())


def drawn(smiles: Sequence[str], most: int = MOST) -> Int[NDArray, " k"]:
    """Places of those that stand for these molecules, in order: each once, at most `most`, always the same ones."""
    first: dict[str, int] = {}
    for place, text in enumerate(smiles):
        first.setdefault(text, place)
    places = np.array(list(first.values()))
    if len(places) > most:
        places = places[np.sort(np.random.default_rng(0).permutation(len(places))[:most])]
    return places


def morgan(smiles: Sequence[str]) -> UInt8[NDArray, "n 256"]:
    """The packed fingerprints of these molecules, as canonical SMILES.

    Such a string says itself what is aromatic, so the molecule is not sanitised again: that would take longer than
    everything else here together.
    """
    generator = GetMorganGenerator(radius=RADIUS, fpSize=BITS)
    packed = []
    with rdBase.BlockLogs():
        for text in smiles:
            molecule = Chem.MolFromSmiles(text, sanitize=False)
            molecule.UpdatePropertyCache(strict=False)
            Chem.FastFindRings(molecule)
            packed.append(DataStructs.BitVectToBinaryText(generator.GetFingerprint(molecule)))
    return np.frombuffer(b"".join(packed), np.uint8).reshape(-1, BITS // 8)


def _nearest(
    new: UInt8[NDArray, "n 256"], known: UInt8[NDArray, "k 256"], *, without_self: bool = False
) -> Float64[NDArray, " n"]:
    """Tanimoto of each one's nearest."""
    words = [np.ascontiguousarray(prints).view(np.uint64) for prints in (new, known)]
    counts = [np.bitwise_count(each).sum(1, dtype=np.int64) for each in words]
    return _tanimoto(*words, *counts, without_self)


@intrinsic
def _bits(_: Any, __: Any) -> Any:
    """Bits that are set in a word: one instruction of the processor, for which numba has no name."""

    def code(_: Any, builder: Any, __: Any, words: Any) -> Any:
        return builder.ctpop(words[0])

    return types.uint64(types.uint64), code


@njit(cache=True, nogil=True)
def _tanimoto(new, known, of_new, of_known, without_self):  # type: ignore[no-untyped-def]
    nearest = np.zeros(len(new))
    for row in range(len(new)):
        for other in range(len(known)):
            if without_self and row == other:
                continue
            bits = np.uint64(0)
            for word in range(new.shape[1]):
                bits += _bits(new[row, word] & known[other, word])
            shared = np.int64(bits)
            nearest[row] = max(nearest[row], shared / (of_new[row] + of_known[other] - shared))
    return nearest


def _distances(
    new: Float32[NDArray, "n w"], known: Float32[NDArray, "k w"], *, without_self: bool = False
) -> Float64[NDArray, " n"]:
    """Mean distance to the nearest known vectors, all of them scaled."""
    near, count = torch.from_numpy(known), min(NEIGHBOURS, len(known) - without_self)
    parts = []
    for begin in range(0, len(new), AT_A_TIME):
        distances = torch.cdist(torch.from_numpy(new[begin : begin + AT_A_TIME]), near)
        if without_self:
            rows = torch.arange(len(distances))
            distances[rows, rows + begin] = torch.inf
        parts.append(distances.topk(count, largest=False).values.mean(1).double())
    return torch.cat(parts).numpy() if parts else np.empty(0)


def _deviation(vectors: Float32[NDArray, "k w"]) -> Float32[NDArray, " w"]:
    deviation = vectors.std(0)
    return np.where(deviation > 0, deviation, 1).astype(np.float32)
