"""A map of molecules, and how far it can be trusted.

n molecules, w width of their vectors.
    FineTuned, molecules  ->  (n, w): what the system's last layers read, the members' side by side
    vectors (n, w)        ->  t-SNE or UMAP (n, 2); trustworthiness and continuity, 0 to 1

A map of many dimensions onto two shows neighbours that are none, and tears others apart. Trustworthiness (Venna and
Kaski 2001) falls with the first kind of mistake; continuity, the same with map and space exchanged, with the second.
Both stand beside the map, for k = 10 neighbours. t-SNE: van der Maaten and Hinton 2008, scikit-learn's. UMAP: McInnes
et al. 2018 (arXiv 1802.03426), umap-learn's where it is installed.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem.Scaffolds.MurckoScaffold import GetScaffoldForMol, MakeScaffoldGeneric

from finetune.model import FineTuned
from finetune.readers import BATCH, Source, encoded_each_time, pieces
from sharding.featurize import Featurized

NEIGHBOURS = 10


class Map(NamedTuple):
    """Places (n, 2), and how well neighbours are kept."""

    places: Float64[NDArray, "n 2"]
    trustworthiness: float
    continuity: float


@torch.inference_mode()
def fused(model: FineTuned, molecules: Featurized) -> Float64[NDArray, "n w"]:
    """Each molecule's vector after the fusion, which the task MLP reads."""
    sides = []
    for member in model.members:
        source = Source(molecules.molecules, molecules.fingerprints, member.needs)
        read = encoded_each_time(member.encoder, source)
        system: Any = member.system
        member.encoder.model.eval()
        member.system.eval()
        made = []
        for rows in pieces(len(molecules.molecules), BATCH):
            inputs = read(rows)
            made.append(system.fusion(system.vectors(inputs))[inputs.place].double().cpu().numpy())
        sides.append(np.concatenate(made))
    return np.concatenate(sides, axis=1)


def maps(vectors: Float[NDArray, "n w"], seed: int = 0) -> dict[str, Map]:
    """{name: map} with every method that is there; the same for the same seed. At least four molecules."""
    return {name: embedding_map(vectors, seed, name) for name in METHODS if name != "UMAP" or has_umap()}


def has_umap() -> bool:
    """Whether umap-learn is installed: it is nobody's requirement."""
    found = find_spec("umap")
    return found is not None and found.origin is not None  # a folder of that name is no library


def embedding_map(vectors: Float[NDArray, "n w"], seed: int = 0, method: str = "t-SNE") -> Map:
    """A map of standardised vectors."""
    from sklearn.manifold import trustworthiness

    deviation = vectors.std(0)
    standard = (vectors - vectors.mean(0)) / np.where(deviation > 0, deviation, 1)
    places = METHODS[method](standard, seed).astype(np.float64)
    k = min(NEIGHBOURS, (len(vectors) - 1) // 2)
    return Map(
        places,
        float(trustworthiness(standard, places, n_neighbors=k)),
        float(trustworthiness(places, standard, n_neighbors=k)),
    )


def _tsne(standard: Float64[NDArray, "n w"], seed: int) -> Float[NDArray, "n 2"]:
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(standard) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(standard)


def _umap(standard: Float64[NDArray, "n w"], seed: int) -> Float[NDArray, "n 2"]:
    umap: Any = import_module("umap")
    neighbours = min(15, len(standard) - 1)
    init = "spectral" if len(standard) > neighbours + 1 else "random"
    # a seed allows one thread: said here, umap-learn need not warn of it
    made = umap.UMAP(n_neighbors=neighbours, random_state=seed, n_jobs=1, init=init).fit_transform(standard)
    return np.asarray(made)


METHODS: dict[str, Callable[[Float64[NDArray, "n w"], int], Float[NDArray, "n 2"]]] = {
    "t-SNE": _tsne,
    "UMAP": _umap,
}


def frameworks(smiles: Sequence[str]) -> list[str]:
    """Each molecule's graph framework (Bemis and Murcko 1996): every atom carbon, every bond single; empty: no ring.

    Not the scaffold with its atoms: the test part of a scaffold split has hardly two molecules of one.
    """
    found = []
    with rdBase.BlockLogs():
        for text in smiles:
            scaffold = GetScaffoldForMol(Chem.MolFromSmiles(text))
            with suppress(
                Chem.MolSanitizeException
            ):  # a metal or P with six bonds makes no carbon: it stays itself
                scaffold = GetScaffoldForMol(MakeScaffoldGeneric(scaffold))
            found.append(Chem.MolToSmiles(scaffold))
    return found
