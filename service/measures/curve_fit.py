"""The fit of a reference curve: penalised maximum likelihood of "the best class is right", by Fisher scoring.

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
MOST_STEPS: Final = 200
SMALLEST_STEP: Final = 1e-6
ENOUGH: Final = 1e-16
"""Nats that a step may still gain, for each nat of the loss, when the search ends."""


class Likelihood:
    """The rows of the fit, `[n]` each: log-odds of the confidence, whether it was right, weights that sum to n."""

    def __init__(self, odds: Floats, right: Bools, weights: Floats) -> None:
        self._odds, self._right, self._weights = odds, right, weights

    def loss(self, abc: Floats) -> float:
        """Minus the penalised log-likelihood."""
        r = np.clip(rate(abc, self._odds), SMALLEST_RATE, 1 - SMALLEST_RATE)
        away = abc - START
        return float(-self._weights @ np.log(np.where(self._right, r, 1 - r)) + 0.5 * PRECISION @ away**2)

    def slope(self, abc: Floats) -> tuple[Floats, Floats]:
        """The gradient of the loss `[3]`, and the expected information with the prior's, `[3,3]`."""
        r = np.clip(rate(abc, self._odds), SMALLEST_RATE, 1 - SMALLEST_RATE)
        slopes, weights = jacobian(abc, self._odds), self._weights / (r * (1 - r))
        gradient = slopes.T @ (weights * (r - self._right)) + PRECISION * (abc - START)
        return gradient, (slopes.T * weights) @ slopes + np.diag(PRECISION)


def fit(confidence: Floats, right: Bools, weights: Floats) -> ReferenceCurve:
    """The curve of rows that the head has not been fitted on, `[n]` each: a confidence, whether it was right, a weight.

    The covariance is the inverse of the expected information and the prior's.
    """
    n = float(weights.sum() ** 2 / (weights @ weights))
    likelihood = Likelihood(log_odds(confidence), right, weights * (n / weights.sum()))
    abc, loss = START, likelihood.loss(START)
    for _ in range(MOST_STEPS):
        gradient, information = likelihood.slope(abc)
        step = np.linalg.solve(information, -gradient)
        if -gradient @ step < ENOUGH * max(1.0, loss):
            break
        size = 1.0
        while (next_loss := likelihood.loss(abc + size * step)) > loss and size > SMALLEST_STEP:
            size /= 2
        if next_loss > loss:  # what is left to gain is below the last digit of the loss
            break
        abc, loss = abc + size * step, next_loss
    covariance = np.linalg.inv(likelihood.slope(abc)[1])
    a, b, c = map(float, abc)
    return ReferenceCurve(a, b, c, tuple(tuple(map(float, row)) for row in covariance), n)
