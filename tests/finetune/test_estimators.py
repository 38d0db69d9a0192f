"""scikit-learn's own checks, and its tools on real SMILES."""

import pickle
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import SkipTestWarning
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from finetune.config import FinetuneConfig
from finetune.estimators import FineTunedClassifier, FineTunedRegressor, SmilesVectorizer
from finetune.model import FineTuned
from pretrain.encoder import Encoder
from pretrain.smiles import InvalidSmiles
from sharding.errors import UserError
from tests.finetune.conftest import DATA, rows_of
from tests.finetune.numbers import ClassifierOfNumbers, RegressorOfNumbers, VectorizerOfNumbers

QUICK = {"modalities": ("graph",), "views": ("local",), "fusion": "concatenation", "hidden": 16, "epochs": 1}


@pytest.fixture(scope="module")
def solubility() -> tuple[list[str], np.ndarray]:
    """60 molecules of ESOL."""
    rows = rows_of(DATA / "esol.csv")[::18][:60]
    return [row["smiles"] for row in rows], np.array([float(row["log_solubility"]) for row in rows])


@pytest.mark.parametrize("kind", [SmilesVectorizer, FineTunedRegressor, FineTunedClassifier])
def test_checks_of_strings(kind, graph_encoder):
    """scikit-learn has no strings to check with, says so, and checks what needs none."""
    with pytest.warns(SkipTestWarning, match=r"requires input .*one_d_array=True.*string=True"):
        found = check_estimator(kind(str(graph_encoder)))
    assert {result["status"] for result in found} == {"passed"}


@pytest.mark.parametrize(
    ("kind", "options", "least"),
    [
        (VectorizerOfNumbers, {"views": ("local",)}, 45),
        (RegressorOfNumbers, QUICK, 50),
        (ClassifierOfNumbers, QUICK, 55),
    ],
)
def test_checks_of_matrices(kind, options, least, graph_encoder):
    """All of scikit-learn's checks, none expected to fail."""
    found = check_estimator(kind(str(graph_encoder), **options), on_skip=None)
    skipped = {result["check_name"] for result in found if result["status"] == "skipped"}
    assert skipped <= {
        "check_array_api_input",  # runs only where SCIPY_ARRAY_API is set
        "check_classifiers_multilabel_output_format_decision_function",  # there are probabilities instead
    }
    assert {result["status"] for result in found if result["check_name"] not in skipped} == {"passed"}
    assert len(found) - len(skipped) >= least


def test_a_pipeline_of_vectors(graph_encoder, solubility):
    smiles, y = solubility
    pipeline = make_pipeline(SmilesVectorizer(str(graph_encoder)), StandardScaler(), Ridge())
    scores = cross_val_score(pipeline, smiles, y, cv=2)
    assert np.isfinite(scores).all()
    search = GridSearchCV(pipeline, {"smilesvectorizer__views": [("local",), ("local", "global")]}, cv=2)
    assert search.fit(np.array(smiles), y).predict(smiles[:3]).shape == (3,)
    vectorizer = search.best_estimator_[0]
    assert vectorizer.get_feature_names_out()[:2].tolist() == ["local_0", "local_1"]


def test_vectors_are_the_encoders(graph_encoder, solubility):
    smiles = solubility[0][:9]
    expected = Encoder.load(graph_encoder).embed(smiles).vectors
    found = SmilesVectorizer(str(graph_encoder)).fit_transform(smiles)
    np.testing.assert_array_equal(found, np.hstack([expected["local"], expected["global"]]))
    holes = [*smiles, "C1"]
    with pytest.raises(ValueError, match=r"1 of 10 .*position 9 'C1'"):
        SmilesVectorizer(str(graph_encoder)).fit_transform(holes)
    kept = SmilesVectorizer(str(graph_encoder), views=("local",), strict=False).fit_transform(holes)
    assert np.isnan(kept[9]).all()
    np.testing.assert_allclose(kept[:9], expected["local"], atol=1e-6)


def test_a_regressor_learns_and_repeats_itself(graph_encoder, solubility, tmp_path):
    """Better than the mean on what it was given; a clone, a pickle and a saved model say the same."""
    smiles, y = solubility
    options = QUICK | {"modalities": ("graph", "fingerprint"), "epochs": 12, "batch": 8}
    before = torch.get_rng_state()
    model = FineTunedRegressor(str(graph_encoder), **options).fit(smiles, y)
    assert torch.equal(torch.get_rng_state(), before)
    assert len(model.history_) == model.n_iter_ <= 12
    answer = model.predict(smiles)
    error = mean_squared_error(y, answer)
    assert error < 0.5 * mean_squared_error(y, DummyRegressor().fit(smiles, y).predict(smiles))
    np.testing.assert_array_equal(clone(model).fit(smiles, y).predict(smiles), answer)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(smiles), answer)
    np.testing.assert_allclose(model.predict(smiles[::-1]), answer[::-1], rtol=1e-4, atol=1e-5)
    model.model_.save(tmp_path / "model")
    loaded = FineTuned.load(tmp_path / "model")
    np.testing.assert_allclose(loaded.predict(loaded.molecules(smiles)[0])[:, 0], answer, atol=1e-6)


def test_a_search_over_options(graph_encoder, solubility):
    smiles, y = solubility
    model = FineTunedRegressor(str(graph_encoder), **QUICK)
    search = GridSearchCV(model, {"freeze": [True, False]}, cv=2, error_score="raise").fit(smiles, y)
    assert search.predict(smiles[:2]).shape == (2,)


def test_classes_have_their_names(graph_encoder):
    rows = rows_of(DATA / "bbbp.csv")[::40]
    smiles, y = [row["smiles"] for row in rows], np.where([row["p_np"] == "1" for row in rows], "yes", "no")
    model = FineTunedClassifier(str(graph_encoder), **QUICK, balanced=True).fit(smiles, y)
    assert model.classes_.tolist() == ["no", "yes"]
    chance = model.predict_proba(smiles)
    np.testing.assert_allclose(chance.sum(1), 1)
    np.testing.assert_array_equal(model.predict(smiles) == "yes", chance[:, 1] >= 0.5)
    assert 0 <= model.score(smiles, y) <= 1
    assert np.isfinite(cross_val_score(model, smiles, y, cv=2, scoring="roc_auc")).all()


def test_several_targets_with_holes(graph_encoder, solubility):
    smiles, y = solubility
    numbers = np.stack([y, 10 * y], axis=1)
    numbers[::3, 1] = np.nan
    model = FineTunedRegressor(str(graph_encoder), **QUICK, validation_fraction=0.2).fit(smiles, numbers)
    assert model.predict(smiles).shape == (60, 2)
    assert abs(model.predict(smiles)[:, 1].mean() - 10 * y.mean()) < 10 * y.std()
    labels = np.where(np.isnan(numbers), np.nan, numbers > np.nanmedian(numbers, axis=0))
    classifier = FineTunedClassifier(str(graph_encoder), **QUICK, validation_fraction=0.2).fit(smiles, labels)
    assert classifier.predict_proba(smiles).shape == classifier.predict(smiles).shape == (60, 2)
    assert set(np.unique(classifier.predict(smiles))) <= {0, 1}


def test_what_cannot_be_learned_is_said(graph_encoder, solubility):
    smiles, y = solubility
    regressor, classifier = (
        FineTunedRegressor(str(graph_encoder), **QUICK),
        FineTunedClassifier(str(graph_encoder)),
    )
    with pytest.raises(InvalidSmiles, match=r"1 of 60 .*position 2 'C\(C'"):
        regressor.fit([*smiles[:2], "C(C", *smiles[3:]], y)
    for model, wanted, given in (
        (regressor, "contains NaN", np.full(60, np.nan)),
        (regressor, "target 1 of y has no label", np.stack([y, np.full(60, np.nan)], axis=1)),
        (regressor, "inconsistent numbers of samples", y[:-1]),
        (classifier, "expected 0, 1, or NaN", np.stack([y, y], axis=1)),
        (classifier, "is multiclass", np.arange(60) % 3),
        (classifier, "1 class only", np.zeros(60)),
        (classifier, "roc_auc, which chooses the epoch, is not defined", np.eye(60)[:, :2]),
    ):
        with pytest.raises(ValueError, match=wanted):
            model.fit(smiles, given)
    with pytest.raises(UserError, match="metric=roc_auc does not fit"):
        clone(regressor).set_params(metric="roc_auc").fit(smiles, y)
    with pytest.raises(ValueError, match="'max' is not a valid Fusion"):
        clone(regressor).set_params(fusion="max").fit(smiles, y)
    with pytest.raises(UserError, match="is no encoder folder"):
        clone(regressor).set_params(encoder=str(Path(graph_encoder).parent)).fit(smiles, y)


def test_defaults_are_those_of_a_run():
    """Said twice, because scikit-learn reads signatures; equal, because this compares them."""
    options = FinetuneConfig(encoder="", table="", run="", targets=["y"], task="regression")
    for kind in (FineTunedRegressor, FineTunedClassifier):
        said = {name: each.default for name, each in signature(kind).parameters.items()}
        for name in set(said) & set(FinetuneConfig.__dataclass_fields__) - {"encoder"}:
            default = getattr(options, name)
            assert said[name] == (tuple(default) if isinstance(default, list) else default), name
