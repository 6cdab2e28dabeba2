"""The temperature: Newton (`newton.py`) on the convex negative log-likelihood of softmax(beta z), beta = 1/T > 0.

Guo et al. 2017 for the model; the solver is the textbook one. With p = softmax(beta z) over the allowed classes the
slope of the mean negative log-likelihood is E_p[z] - z_y and its curvature Var_p[z]. Newton starts from the answer
on a tenth of the rows, so that two or three passes over all of them are enough.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.calibration import evidence
from service.calibration.newton import find_root
from service.datasets.dataset import Dataset, Floats, Ints, classes_in_use
from service.errors import FitError

TOLERANCE: Final = 1e-6  # of beta, relative
RANGE: Final = 1e6  # beta lies within this factor of 1 / the spread of the logits
WARM_ROWS: Final = 2000  # fewer rows than this need no warm start
SINGLE_PRECISION_FROM: Final = 5_000_000  # logits; their rounding averages out in sums of so many
BLOCK: Final = 1 << 16  # logits of a block, which stays in the cache


class NoTemperatureError(FitError):
    """The optimum lies at infinity: the logits have a bias that no temperature mends."""


@dataclass(frozen=True)
class Temperature:
    """A fitted temperature.

    Attributes:
        value: T > 0.
        error: the standard error of T, from the curvature: T^2 / sqrt(n Var_p[z]).
        steps: passes over all rows.
    """

    value: float
    error: float
    steps: int


class Derivatives(NamedTuple):
    """Of the mean negative log-likelihood by beta."""

    slope: float
    curvature: float


class Moments(NamedTuple):
    """Of rows, float64 `[m]` each, of z minus the row's maximum, under p = softmax(beta z).

    mean: E_p[z].
    variance: Var_p[z].
    own: the label's z.
    log_total: log of the sum of exp(beta z).
    """

    mean: Floats
    variance: Floats
    own: Floats
    log_total: Floats


def fit(data: Dataset, laplace: float = 0.0) -> Temperature:
    """The temperature that minimises the weighted mean negative log-likelihood of `data`.

    Raises:
        FitError: labels of one class, labels that know nothing of the logits, or an optimum at 0 or infinity.
    """
    scale = evidence.check(data)
    low, high = 1 / (RANGE * scale), RANGE / scale
    beta = min(max(1.0, 1 / scale / 10), 10 / scale) if scale else 1.0
    if data.n_rows >= WARM_ROWS:
        warm = data.take(slice(None, None, 10))
        beta, _, _ = find_root(partial(derivatives, warm, laplace=laplace), beta, low, high, TOLERANCE)
    beta, curvature, steps = find_root(partial(derivatives, data, laplace=laplace), beta, low, high, TOLERANCE)
    if beta > high / 1.01:
        raise FitError("the best temperature is 0: the rows are right as far as they go; expected some mistakes")
    if beta < low * 1.01:
        raise NoTemperatureError(
            "the best temperature is infinite: the logits are biased; expected --method bias, vector or auto"
        )
    n = data.effective_rows
    return Temperature(1 / beta, 1 / (beta**2 * math.sqrt(n * curvature)), steps)


def derivatives(data: Dataset, beta: float, laplace: float = 0.0) -> Derivatives:
    """Slope and curvature at `beta`, in chunks; float32 exponentials for large data, float64 sums always.

    With a Laplace mix of weight `laplace` a row counts as far as its label owes its probability to the softmax.
    """
    single = data.logits.dtype == np.float32 and data.logits.size >= SINGLE_PRECISION_FROM
    rows = max(1, BLOCK // data.n_classes)
    slope = curvature = 0.0
    for chunk in data.chunks():
        for start in range(0, len(chunk.labels), rows):
            part = slice(start, start + rows)
            logits, labels = chunk.logits[part], chunk.labels[part]
            allowed = classes_in_use(logits, None if chunk.mask is None else chunk.mask[part])
            found = moments(logits, allowed, labels, beta, np.float32 if single else np.float64)
            weights = chunk.weights[part]
            if laplace:
                n_allowed = data.n_classes if allowed is None else allowed.sum(axis=1)
                weights = weights * softmax_share(beta * found.own - found.log_total, n_allowed, laplace)
            slope += float(weights @ (found.mean - found.own))
            curvature += float(weights @ found.variance)
    return Derivatives(slope / data.total_weight, curvature / data.total_weight)


def softmax_share(own_log: Floats, n_allowed: Any, laplace: float) -> Floats:
    """How much of the labels' mixed probability is the softmax's: (1 - l) p / ((1 - l) p + l / n_allowed)."""
    own = (1 - laplace) * np.exp(own_log)
    return np.asarray(own / (own + laplace / n_allowed))


def moments(
    logits: NDArray[Any], allowed: NDArray[np.bool_] | None, labels: Ints, beta: float | Floats, dtype: Any
) -> Moments:
    """The moments of some rows `[m,K]` at `beta`, one number or `[m,1]`; `allowed` is none where every class is."""
    if allowed is not None:
        logits = np.where(allowed, logits, -np.inf)
    z = np.subtract(logits, logits.max(axis=1, keepdims=True), dtype=dtype)
    p = np.multiply(z, np.asarray(beta, dtype))
    np.exp(p, out=p)
    own = z[np.arange(len(z)), labels].astype(np.float64)
    if allowed is not None:
        z[~allowed] = 0  # a term without weight, never 0 times -inf
    total = p.sum(axis=1).astype(np.float64)
    p *= z
    first = p.sum(axis=1).astype(np.float64) / total
    second = np.einsum("ij,ij->i", p, z).astype(np.float64) / total
    return Moments(first, second - first**2, own, np.log(total))
