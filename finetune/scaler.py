"""Labels in original units, and what a system is trained on.

labels (n, t), NaN where missing  <->  the same with mean 0 and deviation 1 a target, as the training part has them
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray


@dataclass(frozen=True)
class Scaler:
    """Labels in original units <-> what the head is trained on, per target."""

    mean: Float64[NDArray, " t"]
    scale: Float64[NDArray, " t"]

    @classmethod
    def fit(cls, labels: Float64[NDArray, "n t"]) -> "Scaler":
        """Mean and standard deviation of the observed labels, at least one a target."""
        deviation = np.nanstd(labels, axis=0)
        return cls(
            np.nanmean(labels, axis=0), np.where(deviation > 0, deviation, 1.0)
        )  # all equal: shift only

    @classmethod
    def identity(cls, targets: int) -> "Scaler":
        """Nothing changes: what classification uses."""
        return cls(np.zeros(targets), np.ones(targets))

    def scaled(self, labels: Float64[NDArray, "n t"]) -> Float64[NDArray, "n t"]:
        """What the head is trained on; NaN stays NaN."""
        return (labels - self.mean) / self.scale

    def original(self, outputs: Float64[NDArray, "n t"]) -> Float64[NDArray, "n t"]:
        """The inverse."""
        return outputs * self.scale + self.mean
