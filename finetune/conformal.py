r"""How far a prediction can be trusted: intervals and sets that hold the truth as often as they say.

m molecules of the validation part with labels and predictions (m, t), n new ones, a level (0.9: nine of ten).
    predictions (n, t), level  ->  regression:      low, high (n, t), original units
                                   classification:  is class 0, is class 1 in the set (n, t)

Split conformal prediction (Vovk et al. 2005; Lei et al. 2018, J. Am. Stat. Assoc. 113, 1094). With the scores s_i of
the m calibration molecules, q is the ceil((m + 1) level)-th smallest of them, infinite where there are too few:
    regression:      s_i = |y_i - f_i|          interval f +- q
    classification:  s_i = 1 - p_i(y_i)         class c is in the set where 1 - p(c) <= q_c
with q_c from the molecules of class c alone (Mondrian), so that a rare class is covered as often as a common one.
It holds for molecules like those of the validation part: the random split's test part, less a scaffold split's.
The validation part has also chosen the epoch, which makes the intervals a little short.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64
from numpy.typing import NDArray

from finetune.arrays import Expected, read_arrays, write_arrays
from finetune.config import Task


@dataclass(frozen=True, eq=False)
class Calibration:
    """What the validation part said; NaN where a label is missing."""

    task: Task
    truth: Float64[NDArray, "m t"]
    predicted: Float64[NDArray, "m t"]

    def reach(self, level: float) -> Float64[NDArray, " t"]:
        """q of a regression's targets; infinite where the calibration has too few molecules."""
        return np.array([quantile(column, level) for column in np.abs(self.truth - self.predicted).T])

    def interval(
        self, predicted: Float64[NDArray, "n t"], level: float
    ) -> tuple[Float64[NDArray, "n t"], Float64[NDArray, "n t"]]:
        """Low and high of a regression's answers."""
        reach = self.reach(level)
        return predicted - reach, predicted + reach

    def classes(self, predicted: Float64[NDArray, "n t"], level: float) -> Bool[NDArray, "n t 2"]:
        """Which of the classes 0 and 1 are in each answer's set: one, both, or none for what is like neither."""
        within = []
        for label, of_class, of_calibration in (
            (0, predicted, self.predicted),
            (1, 1 - predicted, 1 - self.predicted),
        ):
            scores = np.where(self.truth == label, of_calibration, np.nan)
            within.append(of_class <= np.array([quantile(column, level) for column in scores.T]))
        return np.stack(within, axis=-1)

    def save(self, file: Path) -> None:
        """Write a safetensors file."""
        write_arrays(file, {"truth": self.truth, "predicted": self.predicted})

    @classmethod
    def load(cls, file: Path, task: Task, targets: int) -> "Calibration":
        """The inverse. Raises `UserError` for any other file."""
        expected = Expected(np.float64, ("m", targets))
        return cls(task, **read_arrays(file, {"truth": expected, "predicted": expected}))


def quantile(scores: Float64[NDArray, " m"], level: float) -> float:
    """q of the module's head, over the scores that are not NaN."""
    known = np.sort(scores[~np.isnan(scores)])
    place = _place(len(known), level)
    return float(known[place - 1]) if place <= len(known) else math.inf


def least(level: float) -> int:
    """So many scores make q finite."""
    count = max(1, int(level / (1 - level)) - 1)
    while _place(count, level) > count:
        count += 1
    return count


def _place(count: int, level: float) -> int:
    """ceil((m + 1) level), from 1, without what floating point adds to a whole number (100 * 0.55 > 55)."""
    return max(1, math.ceil(round((count + 1) * level, 9)))
