"""A map of molecules, and how far it can be trusted.

n molecules, w width of their vectors.
    vectors (n, w)  ->  t-SNE (n, 2); trustworthiness and continuity, 0 to 1

A map of many dimensions onto two shows neighbours that are none, and tears others apart. Trustworthiness (Venna and
Kaski 2001) falls with the first kind of mistake; continuity, the same with map and space exchanged, with the second.
Both stand beside the map, for k = 10 neighbours. t-SNE: van der Maaten and Hinton 2008, scikit-learn's.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64
from numpy.typing import NDArray

NEIGHBOURS = 10


class Map(NamedTuple):
    """Places (n, 2), and how well neighbours are kept."""

    places: Float64[NDArray, "n 2"]
    trustworthiness: float
    continuity: float


def embedding_map(vectors: Float[NDArray, "n w"], seed: int = 0) -> Map:
    """t-SNE of standardised vectors; the same for the same seed. At least four molecules."""
    from sklearn.manifold import TSNE, trustworthiness

    deviation = vectors.std(0)
    standard = (vectors - vectors.mean(0)) / np.where(deviation > 0, deviation, 1)
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    places = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(standard)
    k = min(NEIGHBOURS, (len(vectors) - 1) // 2)
    return Map(
        places.astype(np.float64),
        float(trustworthiness(standard, places, n_neighbors=k)),
        float(trustworthiness(places, standard, n_neighbors=k)),
    )
