"""Rows of numbers as molecules: scikit-learn's checks know only matrices, and so run on estimators of SMILES.

X (n, k)  ->  n SMILES: a chain with as many atoms of an element as its feature is large
What these classes check of X (its shape, NaN) is scikit-learn's own `validate_data`; all else is ours.
"""

import numpy as np
from sklearn.utils.validation import check_is_fitted, validate_data

from finetune.estimators import FineTunedClassifier, FineTunedRegressor, SmilesVectorizer

LEVELS = 2
ATOMS = ("F", "Cl", "O")
"""For the first features; later ones are not told, which keeps molecules small and the checks quick."""


def as_molecules(rows: np.ndarray) -> list[str]:
    """One SMILES a row; numbers beyond a deviation of a normal distribution count as one."""
    levels = np.round((np.clip(rows, -1, 1) + 1) / 2 * LEVELS).astype(int).tolist()
    return ["C" + "".join(f"C({atom})" * n for atom, n in zip(ATOMS, row, strict=False)) for row in levels]


class _OfNumbers:
    def fit(self, X, y=None):  # noqa: N803  scikit-learn's name
        return super().fit(as_molecules(validate_data(self, X, dtype=float)), y)

    def _read(self, X) -> list[str]:  # noqa: N803
        check_is_fitted(self)
        return as_molecules(validate_data(self, X, dtype=float, reset=False))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array, tags.input_tags.two_d_array, tags.input_tags.string = False, True, False
        for learning in filter(None, (tags.classifier_tags, tags.regressor_tags)):
            learning.poor_score = True  # one epoch on an encoder of random weights
        return tags


class VectorizerOfNumbers(_OfNumbers, SmilesVectorizer):
    def transform(self, X):  # noqa: N803
        return super().transform(self._read(X))


class RegressorOfNumbers(_OfNumbers, FineTunedRegressor):
    def predict(self, X):  # noqa: N803
        return super().predict(self._read(X))


class ClassifierOfNumbers(_OfNumbers, FineTunedClassifier):
    def predict(self, X):  # noqa: N803
        return super().predict(self._read(X))

    def predict_proba(self, X):  # noqa: N803
        return super().predict_proba(self._read(X))
