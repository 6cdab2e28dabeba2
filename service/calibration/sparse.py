"""The temperature of a head that gives exact zeros: by its Brier score, or by the family's own loss.

A likelihood is infinite wherever the truth got 0, so that nothing can be fitted by it. The own loss is convex in
beta = 1/T: its slope is the mean of <p, z> - z_y, its curvature that of sum s (z - zbar)^2 with zbar = <s, z> / sum s
(Blondel, Martins and Niculae 2020), which is Newton's method of the softmax with s in the place of p. The Brier score
starts at the own loss's temperature, and is the better guide where there are many classes.
"""

import math
from functools import partial
from typing import Final, Literal

import numpy as np
from scipy.optimize import minimize_scalar

from service.calibration import evidence
from service.calibration.newton import find_root
from service.calibration.threads import one_thread
from service.datasets.dataset import Dataset, Floats
from service.errors import FitError
from service.families import Family

Criterion = Literal["brier", "loss"]
TOLERANCE: Final = 1e-9  # of beta, relative
RANGE: Final = 1e6
NEAR: Final = 10.0
"""The Brier score is searched within this factor of the own loss's temperature; it has one minimum there."""


@one_thread
def fit(data: Dataset, family: Family, criterion: Criterion = "brier") -> float:
    """The temperature T > 0 that `criterion` finds for `data`.

    Raises:
        FitError: labels that say nothing, or an optimum at 0 or infinity.
    """
    beta = newton(data, family)
    if criterion == "loss":
        return 1 / beta
    log_beta = math.log(beta)
    bounds = (log_beta - math.log(NEAR), log_beta + math.log(NEAR))
    found = minimize_scalar(
        lambda x: brier(data, family, math.exp(x)), bounds=bounds, method="bounded", options={"xatol": 1e-7}
    )
    return math.exp(-float(found.x))


def newton(data: Dataset, family: Family) -> float:
    """The beta at which the mean own loss is least: Newton's steps, halved into what is left of the interval."""
    scale = evidence.check(data)
    low, high = 1 / (RANGE * scale), RANGE / scale
    beta = min(max(0.2, 1 / scale / 10), 10 / scale)
    beta, _, _ = find_root(partial(derivatives, data, family), beta, low, high, TOLERANCE)
    if not 1.01 * low < beta < high / 1.01:
        raise FitError(f"the best temperature of {family.name} is 0 or infinite; expected rows that are not all alike")
    return beta


def derivatives(data: Dataset, family: Family, beta: float) -> tuple[float, float]:
    """Slope and curvature of the mean own loss by beta."""
    slope = curvature = 0.0
    for chunk in data.chunks():
        z = scores_of(chunk.logits, chunk.mask)
        p, _ = family.distribution(beta * z)
        s = family.sensitivities(p)
        finite = np.where(z > -np.inf, z, 0)
        mean = (s * finite).sum(axis=1) / s.sum(axis=1)
        own = finite[np.arange(len(finite)), chunk.labels]
        slope += float(chunk.weights @ ((p * finite).sum(axis=1) - own))
        curvature += float(chunk.weights @ (s * (finite - mean[:, None]) ** 2).sum(axis=1))
    return slope / data.total_weight, curvature / data.total_weight


def brier(data: Dataset, family: Family, beta: float) -> float:
    """The mean Brier score at `beta`."""
    total = 0.0
    for chunk in data.chunks():
        p, _ = family.distribution(beta * scores_of(chunk.logits, chunk.mask))
        own = p[np.arange(len(p)), chunk.labels]
        total += float(chunk.weights @ ((p * p).sum(axis=1) - 2 * own + 1))
    return total / data.total_weight


def scores_of(logits: Floats, mask: np.ndarray | None) -> Floats:
    """The logits in float64 less the row's maximum, -inf where a class takes no part."""
    z = np.asarray(logits, np.float64)
    if mask is not None:
        z = np.where(mask, z, -np.inf)
    return np.asarray(z - z.max(axis=1, keepdims=True))
