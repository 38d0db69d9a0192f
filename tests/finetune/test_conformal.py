"""Conformal intervals and sets: the textbook's numbers, and the coverage that they promise."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.arrays import write_arrays
from finetune.config import Task
from finetune.conformal import Calibration, least, quantile
from sharding.errors import UserError


def test_the_quantile_is_the_textbooks():
    scores = np.array([5.0, np.nan, 1.0, 4.0, 2.0, 3.0, 9.0, 8.0, 7.0, 6.0])  # 9 of them
    assert quantile(scores, 0.9) == 9.0  # ceil(10 * 0.9) = 9th smallest
    assert quantile(scores, 0.5) == 5.0
    assert quantile(scores, 0.95) == math.inf  # a 10th is not there
    assert quantile(np.arange(1.0, 100), 0.55) == 55  # 100 * 0.55 is more than 55 in floating point


@pytest.mark.parametrize(
    ("level", "count"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99), (0.9999, 9999)]
)
def test_so_many_scores_bound_the_interval(level, count):
    assert least(level) == count
    assert quantile(np.arange(count, dtype=float), level) == count - 1
    assert quantile(np.arange(count - 1, dtype=float), level) == math.inf


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 100), min_size=1, max_size=60), st.floats(0.05, 0.99))
def test_a_share_of_the_calibration_itself_is_within(scores, level):
    found = quantile(np.array(scores), level)
    assert np.mean(np.array(scores) <= found) >= min(level, 1)


@pytest.mark.parametrize("level", [0.8, 0.9])
def test_regression_covers_as_often_as_it_says(level):
    """400 draws of 100 calibration and 100 new molecules; the noise differs by target."""
    random = np.random.default_rng(1)
    covered = []
    for _ in range(400):
        truth = random.normal(size=(200, 2)) * [1, 10]
        calibration = Calibration(Task.regression, truth[:100], np.zeros((100, 2)))
        low, high = calibration.interval(np.zeros((100, 2)), level)
        covered.append(((low <= truth[100:]) & (truth[100:] <= high)).mean(0))
    assert np.mean(covered, 0) == pytest.approx([level, level], abs=0.01)


def test_each_class_is_covered_as_often_as_it_says():
    """One in ten is positive, the model is biased: both classes are covered all the same."""
    random = np.random.default_rng(2)
    covered = {0: [], 1: []}
    for _ in range(300):
        truth = (random.random((800, 1)) < 0.1).astype(float)
        predicted = np.clip(0.1 + 0.3 * truth + random.normal(scale=0.15, size=truth.shape), 0, 1)
        calibration = Calibration(Task.classification, truth[:400], predicted[:400])
        within = calibration.classes(predicted[400:], 0.9)
        for label in (0, 1):
            rows = truth[400:, 0] == label
            covered[label].append(within[rows, 0, label].mean())
    assert np.mean(covered[0]) == pytest.approx(0.9, abs=0.015)
    assert np.mean(covered[1]) == pytest.approx(0.9, abs=0.015)


def test_a_class_that_calibration_lacks_is_never_ruled_out():
    calibration = Calibration(Task.classification, np.zeros((50, 1)), np.full((50, 1), 0.1))
    assert calibration.classes(np.array([[0.1], [0.9]]), 0.9)[:, 0].tolist() == [[True, True], [False, True]]


@pytest.mark.parametrize("task", [Task.regression, Task.classification])
def test_it_is_stored_whole(task, tmp_path):
    file = tmp_path / "calibration.safetensors"
    made = Calibration(task, np.array([[1.0, np.nan], [0.0, 1.0]]), np.array([[0.5, 0.1], [0.25, 1 / 3]]))
    made.save(file)
    found = Calibration.load(file, task, 2)
    np.testing.assert_array_equal(found.truth, made.truth)
    np.testing.assert_array_equal(found.predicted, made.predicted)
    with pytest.raises(
        UserError, match=r"truth is float64 \[2, 2\], not float64 \['m', 3\].*Fine-tune again"
    ):
        Calibration.load(file, task, 3)
    write_arrays(file, {"truth": made.truth, "predicted": made.predicted[:1]})
    with pytest.raises(UserError, match=r"predicted is float64 \[1, 2\]"):
        Calibration.load(file, task, 2)
