"""What a saved model says of its own answers: how often the truth is within, and only from its own files."""

import pickle
import shutil
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import betabinom

from finetune.config import Task
from finetune.conformal import Calibration
from finetune.model import FineTuned
from sharding.errors import UserError
from tests.finetune.conftest import rows_of

LEVEL = 0.8
CHANCE = 1e-4
"""Of a right interval to fail here, on either side."""


def assert_covered(covered: np.ndarray, calibrated: int, level: float = LEVEL) -> None:
    """As often as the level, as far as `calibrated` and new molecules drawn from the same ones can tell.

    The share of new scores below the k-th smallest of m is Beta(k, m + 1 - k), so how many of n are is beta-binomial.
    """
    k = int(np.ceil((calibrated + 1) * level))
    expected = betabinom(len(covered), k, calibrated + 1 - k)
    low, high = expected.ppf([CHANCE, 1 - CHANCE])
    assert low <= covered.sum() <= high, f"{covered.mean():.3f} of {len(covered)}"


def held_out(run: Path) -> tuple[FineTuned, list[dict[str, str]]]:
    """The model, and the test part with its predictions."""
    rows = rows_of(run / "predictions.csv")
    return FineTuned.load(run), [row for row in rows if row["split"] == "test" and not row["error"]]


def test_intervals_cover_held_out_molecules(esol_run):
    model, rows = held_out(esol_run)
    truth, predicted = (
        np.array([[float(row[name])] for row in rows])
        for name in ("log_solubility", "log_solubility_predicted")
    )
    low, high = model.calibration.interval(predicted, LEVEL)
    assert len(model.calibration.truth) > 300
    assert_covered((low <= truth) & (truth <= high), len(model.calibration.truth))


def test_sets_cover_held_out_molecules_of_each_class(bbbp_run):
    model, rows = held_out(bbbp_run)
    truth = np.array([int(row["p_np"]) for row in rows])
    predicted = np.array([[float(row["p_np_predicted"])] for row in rows])
    within = model.calibration.classes(predicted, LEVEL)[:, 0]
    for label in (0, 1):
        of_class = truth == label
        assert_covered(within[of_class, label], int((model.calibration.truth == label).sum()))


@pytest.mark.parametrize(("spread", "right"), [(1, True), (2, False)])
def test_the_bound_lets_no_interval_pass_that_is_half_as_long(spread, right):
    random = np.random.default_rng(0)
    calibration = Calibration(Task.regression, random.normal(size=(400, 1)), np.zeros((400, 1)))
    low, high = calibration.interval(np.zeros((400, 1)), LEVEL)
    truth = random.normal(scale=spread, size=(400, 1))
    with nullcontext() if right else pytest.raises(AssertionError, match="of 400"):
        assert_covered((low <= truth) & (truth <= high), 400)


class Planted:
    """Would leave a mark if it were unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("name", ["calibration.safetensors", "domain.safetensors"])
@pytest.mark.parametrize("what", ["missing", "a pickle", "the other one"])
def test_a_foreign_file_is_one_line(esol_run, tmp_path, name, what):
    folder, mark = tmp_path / "model", tmp_path / "mark"
    save(FineTuned.load(esol_run), folder)
    file = folder / name
    if what == "missing":
        file.unlink()
    elif what == "a pickle":
        file.write_bytes(pickle.dumps(Planted(mark)))
    else:
        (other,) = {folder / "calibration.safetensors", folder / "domain.safetensors"} - {file}
        shutil.copyfile(other, file)
    with pytest.raises(UserError, match=rf"{name} is not what .* Fine-tune again") as caught:
        FineTuned.load(folder)
    assert "\n" not in str(caught.value)
    assert not mark.exists()


def save(model: FineTuned, folder: Path) -> None:
    """A copy, and the same again: what a loaded model saves is what it was loaded from."""
    model.save(folder)
    again = FineTuned.load(folder)
    np.testing.assert_array_equal(again.calibration.predicted, model.calibration.predicted)
    np.testing.assert_array_equal(again.domain.vectors, model.domain.vectors)
