"""scikit-learn's interface: a vectorizer of SMILES, and fine-tuning as a classifier and as a regressor.

    SmilesVectorizer, FineTunedClassifier, FineTunedRegressor: SMILES (n,) [and y]  ->  vectors, classes, numbers
The input is one column of strings, so the tags say `string` and `one_d_array`. Parameters are plain values: `clone`,
`Pipeline`, `GridSearchCV` and `cross_val_score` work, and what is fitted can be pickled. docs/python.md shows how.
"""

from finetune.estimators.finetuned import FineTunedClassifier, FineTunedRegressor
from finetune.estimators.vectorizer import SmilesVectorizer

__all__ = ["FineTunedClassifier", "FineTunedRegressor", "SmilesVectorizer"]
