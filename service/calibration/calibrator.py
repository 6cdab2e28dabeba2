"""A fitted calibrator as numbers, and what it does to logits: the float64 model that the ONNX head must equal.

The order is affine, entropy temperature, temperature, mask, softmax, Laplace mix; a stage that is not there does
nothing. How the numbers are found stands in `temperature`, `affine` and `entropy`.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.datasets.dataset import Bools, Chunk, Floats, Ints, usable

ENTROPY_FLOOR: Final = 1e-8
"""Smallest normalised entropy; below it float64 sums next to 1 have no digits left."""
LOG_TEMPERATURE_BOUND: Final = 4.0


@dataclass(frozen=True)
class EntropyTemperature:
    """log T(x) = intercept + slope * (log(H(softmax z) / log K) - mean) / deviation, clipped to +-4.

    Balanya et al. 2022. K is the number of classes that take part in the row.
    """

    intercept: float
    slope: float
    mean: float
    deviation: float

    def log_temperatures(self, features: Floats) -> Floats:
        """For the `features` `[m]` of `log_entropy`."""
        line = self.intercept + self.slope * (features - self.mean) / self.deviation
        return np.clip(line, -LOG_TEMPERATURE_BOUND, LOG_TEMPERATURE_BOUND)


@dataclass(frozen=True, eq=False)
class Calibrator:
    """Parameters, all float64; the default leaves the logits as they are.

    Attributes:
        method: what was fitted, as `calibrant fit --method` calls it.
        temperature: T > 0, divides what the affine stages leave.
        bias: `[K]`, added before the temperature divides.
        scale: `[K]`, y = scale * x on the centred logits x, instead of `matrix`.
        matrix: `[K,K]`, y = matrix @ x on the centred logits x.
        log_input: T > 0 where `scale` or `matrix` read x = log_softmax(z / T) instead, which does not fold into a
            linear head; none where they read the centred logits.
        entropy: a temperature for each row, from its entropy.
        laplace: weight of the uniform distribution over the allowed classes in the answer.
        group_temperatures: `[G]`, one more divisor for the rows of each group.
        masks_first: a masked class is never read, not even by the affine and entropy stages. They read every finite
            logit otherwise, so that a mask only takes classes away and leaves the others' ratios.
    """

    method: str = "none"
    temperature: float = 1.0
    bias: Floats | None = None
    scale: Floats | None = None
    matrix: Floats | None = None
    log_input: float | None = None
    entropy: EntropyTemperature | None = None
    laplace: float = 0.0
    group_temperatures: Floats | None = None
    masks_first: bool = False

    @property
    def n_parameters(self) -> int:
        """Numbers that were fitted."""
        if self.method == "none":
            return 0
        arrays = (self.bias, self.scale, self.matrix, self.group_temperatures)
        fixed = 2 * (self.entropy is not None) + (self.log_input is not None)
        in_arrays = sum(array.size for array in arrays if array is not None)
        own = self.scale is None and self.matrix is None and self.entropy is None
        return in_arrays + fixed + own

    def scores(self, logits: NDArray[Any], mask: Bools | None, groups: Ints | None = None) -> Floats:
        """What the softmax sees, float64 `[m,K]`: -inf where a class is masked or has no score."""
        read = self.read(logits, mask)
        y = self.affine(np.where(read, logits, 0).astype(np.float64, copy=False), read)
        divisor: Any = self.temperature
        if self.entropy is not None:
            divisor = divisor * np.exp(self.entropy.log_temperatures(log_entropy(y, read)))[:, None]
        if self.group_temperatures is not None and groups is not None:
            divisor = divisor * self.group_temperatures[groups][:, None]
        return np.where(read if mask is None else read & mask, y / divisor, -np.inf)

    def read(self, logits: NDArray[Any], mask: Bools | None) -> Bools:
        """The classes that the affine and entropy stages read, bool `[m,K]`."""
        return usable(logits, mask if self.masks_first else None) & (logits < np.inf)

    def affine(self, z: Floats, read: Bools) -> Floats:
        """Scale and bias on `z` `[m,K]`, which is 0 where it is not to be read."""
        if self.matrix is not None:
            z = affine_input(z, read, self.log_input) @ self.matrix.T
        elif self.scale is not None:
            z = affine_input(z, read, self.log_input) * self.scale
        return z if self.bias is None else z + self.bias

    def log_probabilities(self, logits: NDArray[Any], mask: Bools | None, groups: Ints | None = None) -> Floats:
        """Calibrated log-probabilities, float64 `[m,K]`; -inf where a class is masked or has no score."""
        scores = self.scores(logits, mask, groups)
        logs = log_softmax(scores)
        if not self.laplace:
            return logs
        taking_part = scores > -np.inf
        share = self.laplace / taking_part.sum(axis=1, keepdims=True)
        return np.where(taking_part, np.log((1 - self.laplace) * np.exp(logs) + share), -np.inf)

    def of(self, chunk: Chunk) -> Floats:
        """`log_probabilities` of a chunk."""
        return self.log_probabilities(chunk.logits, chunk.mask, chunk.groups)


def log_softmax(scores: Floats) -> Floats:
    """Log-probabilities of `scores` `[m,K]`, at least one of them finite in each row."""
    z = scores - scores.max(axis=1, keepdims=True)
    total: Floats = np.exp(z).sum(axis=1, keepdims=True)
    return np.asarray(z - np.log(total))


def centred(z: Floats, read: Bools) -> Floats:
    """`z` minus the row's mean over the classes that are read, 0 elsewhere: the part that a softmax can see."""
    if read.all():
        return np.asarray(z - z.mean(axis=1, keepdims=True))
    mean = z.sum(axis=1, keepdims=True) / np.maximum(read.sum(axis=1, keepdims=True), 1)
    return np.asarray(np.where(read, z - mean, 0))


def affine_input(z: Floats, read: Bools, log_input: float | None) -> Floats:
    """What the scale or the matrix multiplies, float64 `[m,K]`, 0 where it is not read."""
    if log_input is None:
        return centred(z, read)
    empty = ~read.any(axis=1, keepdims=True)
    return np.asarray(np.where(read, log_softmax(np.where(read | empty, z / log_input, -np.inf)), 0))


def log_entropy(z: Floats, read: Bools) -> Floats:
    """log(H(softmax z) / log K) of each row, with K the classes that are read; floored at `ENTROPY_FLOOR`."""
    highest = np.where(read, z, -np.inf).max(axis=1, keepdims=True)
    d = np.where(read, z - np.maximum(highest, np.finfo(np.float64).min), 0)
    e = np.exp(d) * read
    total = np.maximum(e.sum(axis=1), 1)
    entropy = np.log(total) - (e * d).sum(axis=1) / total
    share = entropy / np.log(np.maximum(read.sum(axis=1), 2))
    return np.asarray(np.log(np.maximum(share, ENTROPY_FLOOR)))
