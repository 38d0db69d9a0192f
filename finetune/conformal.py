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

import numpy as np
from jaxtyping import Bool, Float64
from numpy.typing import NDArray

from finetune.config import Task


@dataclass(frozen=True, eq=False)
class Calibration:
    """What the validation part said; NaN where a label is missing."""

    task: Task
    truth: Float64[NDArray, "m t"]
    predicted: Float64[NDArray, "m t"]

    def interval(
        self, predicted: Float64[NDArray, "n t"], level: float
    ) -> tuple[Float64[NDArray, "n t"], Float64[NDArray, "n t"]]:
        """Low and high of a regression's answers; infinite where the calibration has too few molecules."""
        scores = np.abs(self.truth - self.predicted)
        reach = np.array([quantile(column, level) for column in scores.T])
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


def quantile(scores: Float64[NDArray, " m"], level: float) -> float:
    """q of the module's head, over the scores that are not NaN."""
    known = np.sort(scores[~np.isnan(scores)])
    place = math.ceil((len(known) + 1) * level)
    return float(known[place - 1]) if place <= len(known) else math.inf
