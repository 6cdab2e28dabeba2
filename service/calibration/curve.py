"""The fit of a reference curve: penalised maximum likelihood of "the best class is right", by BFGS.

The logarithm of the share that is wrong however sure the head is has the prior N(-5.8, 2), two being its standard
deviation; without that ceiling a few wrong labels among the surest rows bend the whole curve.
"""

from typing import Final

import numpy as np

from service.datasets.dataset import Bools, Floats
from service.measures.curve import ReferenceCurve, jacobian, log_odds, rate

START: Final = np.array([1.0, 0.0, -5.8])
PRECISION: Final = np.array([1e-6, 1e-6, 0.25])
"""Of the prior around `START`, as one over the variance; next to nothing for a and b."""
SMALLEST_RATE: Final = 1e-12


def fit(confidence: Floats, right: Bools, weights: Floats) -> ReferenceCurve:
    """The curve of rows that the head has not been fitted on, `[n]` each: a confidence, whether it was right, a weight.

    The covariance is the inverse of the expected information and the prior's.
    """
    from scipy.optimize import minimize  # so that the methods can be named where scipy is not installed

    odds = log_odds(confidence)
    n = float(weights.sum() ** 2 / (weights @ weights))
    weights = weights * (n / weights.sum())

    def parts(abc: Floats) -> tuple[Floats, Floats]:
        r = np.clip(rate(abc, odds), SMALLEST_RATE, 1 - SMALLEST_RATE)
        return r, jacobian(abc, odds)

    def value(abc: Floats) -> tuple[float, Floats]:
        r, slopes = parts(abc)
        away = abc - START
        loss = -weights @ np.log(np.where(right, r, 1 - r)) + 0.5 * PRECISION @ away**2
        return float(loss), slopes.T @ (weights * (r - right) / (r * (1 - r))) + PRECISION * away

    abc = minimize(value, START, jac=True, method="BFGS", options={"gtol": 1e-8}).x
    r, slopes = parts(abc)
    information = (slopes.T * (weights / (r * (1 - r)))) @ slopes + np.diag(PRECISION)
    covariance = np.linalg.inv(information)
    a, b, c = map(float, abc)
    return ReferenceCurve(a, b, c, tuple(tuple(map(float, row)) for row in covariance), n)
