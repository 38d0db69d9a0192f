"""A pretrained encoder as a transformer of scikit-learn.

SMILES (n,)  ->  (n, w) float32, w the width of all chosen views, side by side
"""

from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from pretrain.encoder import BATCH, Encoder
from pretrain.smiles import as_strings


class SmilesVectorizer(TransformerMixin, BaseEstimator):
    """Vectors of a pretrained encoder. `fit` opens the encoder and learns nothing.

    encoder: folder made by launch/export.py. views: those of local, global, smiles and text; () takes all.
    batch: molecules encoded at a time. device: auto, cpu or cuda.
    strict: raise `InvalidSmiles` (a ValueError) for what cannot be read; False gives it a row of NaN.
    """

    def __init__(
        self,
        encoder: str,
        *,
        views: Sequence[str] = (),
        batch: int = BATCH,
        device: str = "auto",
        strict: bool = True,
    ) -> None:
        self.encoder, self.views, self.batch, self.device, self.strict = encoder, views, batch, device, strict

    def fit(self, smiles: Iterable[str], y: object = None) -> Self:  # noqa: ARG002  scikit-learn passes it
        """Open the encoder."""
        as_strings(smiles)
        self.encoder_ = Encoder.from_pretrained(self.encoder, self.device)
        self.views_ = self.encoder_.choose_views(self.views)
        return self

    def transform(self, smiles: Iterable[str]) -> NDArray[np.float32]:
        """The vectors, in the order given."""
        check_is_fitted(self)
        found = self.encoder_.embed(smiles, views=self.views_, batch=self.batch, strict=self.strict)
        return np.hstack([found.vectors[view] for view in self.views_])

    def get_feature_names_out(self, input_features: object = None) -> NDArray[Any]:  # noqa: ARG002  as above
        """`local_0`, `local_1`, ..."""
        check_is_fitted(self)
        widths = self.encoder_.model.widths
        return np.array([f"{view}_{n}" for view in self.views_ for n in range(widths[view])], object)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        of_strings(tags)
        tags.transformer_tags.preserves_dtype = []  # strings in, float32 out
        return tags


def of_strings(tags: Tags) -> None:
    """The input is one column of strings."""
    tags.input_tags.one_d_array, tags.input_tags.two_d_array, tags.input_tags.string = True, False, True
