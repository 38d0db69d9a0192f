"""Scores against the textbook, missing labels out of the way, and None where nothing is defined."""

import numpy as np
import pytest

from finetune.config import Task
from finetune.metrics import evaluate

NAN = np.nan


def test_regression_by_hand():
    truth, predicted = np.array([[1.0], [2.0], [NAN], [6.0]]), np.array([[2.0], [2.0], [99.0], [4.0]])
    scores = evaluate(Task.regression, truth, predicted, ["a"])
    assert scores["rmse"] == pytest.approx(np.sqrt(5 / 3))
    assert scores["mae"] == pytest.approx(1.0)
    assert scores["r2"] == pytest.approx(1 - 5 / 14)  # around the mean 3: 4 + 1 + 9
    assert scores["labels"] == 3
    assert "targets" not in scores


def test_classification_by_hand():
    """Pairs (positive, negative) in the right order: 3 of 4. Precision at each positive: 1 and 2/3."""
    truth, predicted = np.array([[1.0], [0.0], [1.0], [0.0]]), np.array([[0.9], [0.6], [0.5], [0.1]])
    scores = evaluate(Task.classification, truth, predicted, ["a"])
    assert scores["roc_auc"] == pytest.approx(0.75)
    assert scores["pr_auc"] == pytest.approx((1 + 2 / 3) / 2)


def test_several_targets_have_their_own_and_a_mean():
    truth, predicted = (
        np.array([[0.0, 5.0], [2.0, NAN], [4.0, 9.0]]),
        np.array([[1.0, 5], [3.0, 0], [5.0, 6]]),
    )
    scores = evaluate(Task.regression, truth, predicted, ["a", "b"])
    assert scores["targets"]["a"] == pytest.approx({"rmse": 1, "mae": 1, "r2": 1 - 3 / 8, "labels": 3})
    assert scores["targets"]["b"]["mae"] == pytest.approx(1.5)
    assert scores["mae"] == pytest.approx(1.25)


def test_one_class_is_no_score_and_is_said():
    truth, predicted = np.array([[1.0, 1.0], [0.0, 1.0], [1.0, NAN]]), np.full((3, 2), 0.5)
    scores = evaluate(Task.classification, truth, predicted, ["a", "b"])
    assert scores["targets"]["b"]["roc_auc"] is None
    assert scores["undefined"] == {"b": "one class only"}
    assert scores["roc_auc"] == 0.5  # the mean is a's
    assert evaluate(Task.classification, truth[:, 1:], predicted[:, 1:], ["b"])["roc_auc"] is None


def test_a_constant_scores_one_half_and_the_prevalence():
    truth = np.array([[1.0], [1.0], [1.0], [0.0]])
    scores = evaluate(Task.classification, truth, np.full((4, 1), 0.3), ["a"])
    assert (scores["roc_auc"], scores["pr_auc"]) == (0.5, 0.75)
