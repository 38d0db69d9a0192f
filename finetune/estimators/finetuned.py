"""Fine-tuning as estimators of scikit-learn: the training of launch/finetune.py, without a run folder.

n molecules, t targets.
    SMILES (n,), y (n,) or (n, t)  ->  predictions of the same shape, in the same order
Part of what `fit` is given validates: it chooses the epoch and stops the training, as `valid` does in a run. There is
no test part here; that is the business of whoever splits (`cross_val_score`, launch/evaluate.py).
"""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Float64
from numpy.random import RandomState
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import Tags, check_consistent_length, check_random_state
from sklearn.utils.validation import check_is_fitted

from finetune.config import FinetuneConfig, Fusion, Metric, Modality, Pretrained, Task
from finetune.estimators import labels as labelled
from finetune.estimators.training import train
from finetune.estimators.vectorizer import of_strings
from pretrain.config import Device
from pretrain.smiles import as_strings, refuse

CHOICES = {"fusion": Fusion, "pretrained": Pretrained, "metric": Metric, "device": Device}


class _FineTuned(BaseEstimator):
    """What both share. Parameters are the options of launch/finetune.py, with its defaults (finetune/config.py), and:

    validation_fraction: share of the molecules that chooses the epoch, drawn at random (a classifier's by class).
    random_state: seeds that draw, new weights, dropout and the order of molecules.

    Fitted: `model_` (a `FineTuned`; `model_.save(folder)` writes what launch/predict.py reads), `history_` (a record an
    epoch), `n_iter_` (epochs run), `best_epoch_`.
    """

    _task: ClassVar[Task]

    def __init__(
        self,
        encoder: str,
        *,
        modalities: Sequence[str] = (),
        views: Sequence[str] = (),
        fusion: str = "cross_attention",
        freeze: bool = True,
        train_layers: int = 0,
        pretrained: str = "both",
        width: int = 32,
        heads: int = 2,
        hidden: int = 256,
        dropout: float = 0.1,
        epochs: int = 50,
        batch: int = 32,
        learning_rate: float = 1e-3,
        encoder_learning_rate: float = 1e-4,
        weight_decay: float = 0.01,
        patience: int = 10,
        balanced: bool = False,
        metric: str = "auto",
        cache_gb: float = 4.0,
        device: str = "auto",
        validation_fraction: float = 0.1,
        random_state: int | RandomState | None = 0,
    ) -> None:
        self.encoder, self.modalities, self.views, self.fusion = encoder, modalities, views, fusion
        self.freeze, self.train_layers, self.pretrained = freeze, train_layers, pretrained
        self.width, self.heads, self.hidden, self.dropout = width, heads, hidden, dropout
        self.epochs, self.batch, self.patience = epochs, batch, patience
        self.learning_rate, self.encoder_learning_rate = learning_rate, encoder_learning_rate
        self.weight_decay, self.balanced, self.metric = weight_decay, balanced, metric
        self.cache_gb, self.device = cache_gb, device
        self.validation_fraction, self.random_state = validation_fraction, random_state

    def _fit(self, smiles: Iterable[str], labels: Float64[NDArray, "n t"]) -> Self:
        strings = as_strings(smiles)
        check_consistent_length(strings, labels)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        config = self._config(labels.shape[1], seed)
        self.model_, done = train(config, strings, labels, self.validation_fraction)
        self.history_, self.n_iter_, self.best_epoch_ = done.records, done.epoch, done.best_epoch
        return self

    def _config(self, targets: int, seed: int) -> FinetuneConfig:
        """The options of a run of this kind. Raises what a run would."""
        options = {k: v for k, v in self.get_params().items() if k in FinetuneConfig.__dataclass_fields__}
        options |= {name: kind(options[name]) for name, kind in CHOICES.items()}
        options["modalities"] = [Modality(each) for each in self.modalities]
        options |= {"encoder": str(self.encoder), "views": list(self.views), "task": self._task, "seed": seed}
        names = ["y"] if targets == 1 else [f"y_{place}" for place in range(targets)]
        return FinetuneConfig(**options, targets=names, table="", run="")

    def _predict(self, smiles: Iterable[str]) -> Float64[NDArray, "n t"]:
        check_is_fitted(self)
        strings = as_strings(smiles)
        made, rejected = self.model_.molecules(strings)
        refuse(strings, rejected)
        return self.model_.predict(made)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        of_strings(tags)
        return tags


class FineTunedRegressor(RegressorMixin, _FineTuned):
    """Numbers. Of several targets, y (n, t) may have NaN where a label is missing."""

    _task = Task.regression

    def fit(self, smiles: Iterable[str], y: ArrayLike) -> Self:
        """Train; raises `InvalidSmiles`, a ValueError, with the positions of SMILES that cannot be read."""
        labels, self._flat = labelled.numbers(y)
        return self._fit(smiles, labels)

    def predict(self, smiles: Iterable[str]) -> Float64[NDArray, "n *t"]:
        """In the units of y."""
        found = self._predict(smiles)
        return found[:, 0] if self._flat else found

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class FineTunedClassifier(ClassifierMixin, _FineTuned):
    """Two classes (`classes_`, sorted); or several targets at once, y (n, t) of 0, 1 and NaN where a label is missing.

    More than two classes: scikit-learn's `OneVsRestClassifier` around it.
    """

    _task = Task.classification

    def fit(self, smiles: Iterable[str], y: ArrayLike) -> Self:
        """Train; raises `InvalidSmiles`, a ValueError, with the positions of SMILES that cannot be read."""
        labels, self.classes_ = labelled.classes(y)
        return self._fit(smiles, labels)

    def predict_proba(self, smiles: Iterable[str]) -> Float64[NDArray, "n _"]:
        """(n, 2): of each class. Of several targets (n, t): of 1."""
        second = self._predict(smiles)
        return np.hstack([1 - second, second]) if second.shape[1] == 1 else second

    def predict(self, smiles: Iterable[str]) -> NDArray[Any]:
        """The class of which the probability is one half or more."""
        found = self._predict(smiles)
        chosen = self.classes_[(found >= 0.5).astype(int)]
        return chosen[:, 0] if found.shape[1] == 1 else chosen

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class, tags.classifier_tags.multi_label = False, True
        return tags
