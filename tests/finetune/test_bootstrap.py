"""The bootstrap's metrics are scikit-learn's under weights, and its intervals cover what they should."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, mean_absolute_error, roc_auc_score

from finetune.config import Metric
from finetune.evaluation.bootstrap import Answers, draws, interval, resampled, weighted


def cases(seed: int):
    random = np.random.default_rng(seed)
    truth = random.integers(0, 2, 40).astype(float)
    predicted = np.round(truth * 0.4 + random.random(40), 1)  # ties on purpose
    return truth, predicted, draws(40, seed, 25)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("metric", "oracle"), [(Metric.roc_auc, roc_auc_score), (Metric.pr_auc, average_precision_score)]
)
def test_classification_is_scikit_learns_with_weights(metric, oracle, seed):
    truth, predicted, weights = cases(seed)
    expected = [oracle(truth, predicted, sample_weight=row) for row in weights]
    np.testing.assert_allclose(weighted(metric, truth, predicted, weights), expected, atol=1e-12)


def test_regression_is_scikit_learns_with_weights():
    truth, predicted, weights = cases(9)
    mae = [mean_absolute_error(truth, predicted, sample_weight=row) for row in weights]
    np.testing.assert_allclose(weighted(Metric.mae, truth, predicted, weights), mae, atol=1e-12)
    rmse = [np.sqrt(np.average((truth - predicted) ** 2, weights=row)) for row in weights]
    np.testing.assert_allclose(weighted(Metric.rmse, truth, predicted, weights), rmse, atol=1e-12)


def test_one_class_only_is_not_defined():
    weights = np.array([[1, 1, 0], [1, 0, 1]])
    truth, predicted = np.array([1.0, 1.0, 0.0]), np.array([0.2, 0.4, 0.1])
    np.testing.assert_array_equal(weighted(Metric.roc_auc, truth, predicted, weights), [np.nan, 1.0])
    assert interval(np.array([np.nan, np.nan])) is None


def test_missing_labels_and_targets_without_labels_have_no_say():
    random = np.random.default_rng(3)
    truth = random.random((30, 3))
    truth[random.random((30, 3)) < 0.3] = np.nan
    truth[:, 2] = np.nan
    predicted, weights = random.random((30, 3)), draws(30, 1, 8)
    seen = ~np.isnan(truth)
    by_hand = [
        np.mean(
            [
                np.average(np.abs(truth[seen[:, t], t] - predicted[seen[:, t], t]), weights=row[seen[:, t]])
                for t in range(2)
            ]
        )
        for row in weights
    ]
    np.testing.assert_allclose(resampled(Metric.mae, [Answers(truth, predicted)], weights), by_hand)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    """200 samples of 60 from one population: 95 % intervals of RMSE miss its value rarely, and not never."""
    random, missed = np.random.default_rng(0), 0
    for sample in range(200):
        error = random.normal(size=(60, 1))
        low, high = interval(
            resampled(Metric.rmse, [Answers(error, np.zeros((60, 1)))], draws(60, sample, 200))
        )
        missed += not low <= 1.0 <= high
    assert 4 <= missed <= 30


def test_pairs_share_their_resamples():
    """A model that is better by a constant on every molecule is better in every resample."""
    random = np.random.default_rng(5)
    error, weights = random.random((50, 1)), draws(50)
    worse = resampled(Metric.mae, [Answers(np.zeros((50, 1)), error + 0.01)], weights)
    better = resampled(Metric.mae, [Answers(np.zeros((50, 1)), error)], weights)
    low, high = interval(worse - better)
    assert low == pytest.approx(0.01) and high == pytest.approx(0.01)
