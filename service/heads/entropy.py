"""The entropy stage: a temperature for each row, from how undecided the row is; Balanya et al. 2022. No ONNX here."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from service.datasets.dataset import Bools, Floats
from service.heads.constants import Constants, number

ENTROPY_FLOOR: Final = 1e-8
"""Smallest normalised entropy; below it float64 sums next to 1 have no digits left."""
LOG_TEMPERATURE_BOUND: Final = 4.0


@dataclass(frozen=True)
class EntropyTemperature:
    """log T(x) = intercept + slope * (f - mean) / deviation, clipped to +-bound; Balanya et al. 2022.

    f is the log of the normalised entropy of the row, H(softmax z) / log K, which is at least `floor`; K is the number
    of classes that take part in the row.
    """

    intercept: float
    slope: float
    mean: float
    deviation: float
    floor: float = ENTROPY_FLOOR
    bound: float = LOG_TEMPERATURE_BOUND

    @classmethod
    def from_constants(cls, constants: Constants) -> "EntropyTemperature | None":
        """The stage whose nodes hold `constants`, if there is one; its line has nothing left to standardise."""
        if "entropy_slope" not in constants:
            return None
        slope, offset, floor, bound = (
            number(constants, f"entropy_{name}") for name in ("slope", "offset", "floor", "bound")
        )
        return cls(offset, slope, mean=0.0, deviation=1.0, floor=floor, bound=bound)

    def log_temperatures(self, features: Floats) -> Floats:
        """For the `features` f `[m]` of `log_entropy`."""
        line = self.intercept + self.slope * (features - self.mean) / self.deviation
        return np.clip(line, -self.bound, self.bound)


def log_entropy(z: Floats, read: Bools, floor: float = ENTROPY_FLOOR) -> Floats:
    """log(H(softmax z) / log K) of each row, with K the classes that are read; the share is at least `floor`."""
    highest = np.where(read, z, -np.inf).max(axis=1, keepdims=True)
    d = np.where(read, z - np.maximum(highest, np.finfo(np.float64).min), 0)
    e = np.exp(d) * read
    total = np.maximum(e.sum(axis=1), 1)
    entropy = np.log(total) - (e * d).sum(axis=1) / total
    share = entropy / np.log(np.maximum(read.sum(axis=1), 2))
    return np.asarray(np.log(np.maximum(share, floor)))
