"""The fit of the top-label stage: a logistic regression of "the best class is right" on its log-odds, with two knots.

Convex, four parameters, a ridge towards leaving the odds as they are: 0.5 sum(((w - identity) * std)^2) beside the sum
of the log-losses. The rows come from calibrators that have not seen them; what the stage does stands in `heads.top`.
"""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import numpy as np

from service.datasets.dataset import Bools, Dataset, Floats, Ints
from service.errors import FitError
from service.heads.stages import Stages
from service.heads.top import BOUND, MARGIN, TopLabel, split

QUANTILES: Final = (1 / 3, 2 / 3)
IDENTITY: Final = np.array([0.0, 1.0, 0.0, 0.0])
MAX_STEPS: Final = 100
TOLERANCE: Final = 1e-10  # of the penalised sum, relative
FEWEST_ROWS: Final = 50


class TopRows(NamedTuple):
    """What the stage reads of rows, `[n]` each; the label's share is of what the other classes have, as a logarithm."""

    odds: Floats
    lowest: Floats
    right: Bools
    label_share: Floats
    weights: Floats

    @classmethod
    def of(cls, data: Dataset, calibrator: Stages) -> "TopRows":
        """The rows of `data` behind `calibrator`, which has no top-label stage."""
        return cls.joined(_look(calibrator.predict(chunk), chunk.labels, chunk.weights) for chunk in data.chunks())

    @classmethod
    def joined(cls, parts: Iterable["TopRows"]) -> "TopRows":
        columns: list[Any] = [np.concatenate(column) for column in zip(*parts, strict=True)]
        return cls(*columns)

    def take(self, rows: Bools | Ints) -> "TopRows":
        columns: list[Any] = [column[rows] for column in self]
        return TopRows(*columns)


def _look(logs: Floats, labels: Ints, weights: Floats) -> TopRows:
    best = logs.argmax(axis=1)
    shares, odds, lowest = split(logs, best)
    return TopRows(odds, lowest, best == labels, shares[np.arange(len(labels)), labels], weights)


def fit(rows: TopRows) -> TopLabel:
    """The stage for `rows`, which say nothing where one class is left.

    Raises:
        FitError: too few rows, or a slope below 0: surer rows would become less sure than others.
    """
    rows = rows.take(np.isfinite(rows.odds))
    if len(rows.odds) < FEWEST_ROWS * 2 // 3:
        raise FitError(f"{len(rows.odds)} rows are too few for a top-label stage; expected {FEWEST_ROWS} in all folds")
    odds = np.clip(rows.odds, -BOUND, BOUND)
    low, high = map(float, np.quantile(odds, QUANTILES))
    basis = np.stack([np.ones_like(odds), odds, np.maximum(odds - low, 0), np.maximum(odds - high, 0)], axis=1)
    weights = rows.weights * (rows.weights.sum() / (rows.weights @ rows.weights))  # they add up to Kish's n
    w = regress(basis, rows.right.astype(np.float64), weights)
    slopes = np.cumsum(w[1:])
    if slopes.min() < 0:
        raise FitError(f"a slope of the top-label stage is {slopes.min():.3g}; expected none below 0")
    first, second, third = map(float, slopes)
    return TopLabel(float(w[0] - second * low - third * high), (first, second, third), (low, high))


def regress(basis: Floats, right: Floats, weights: Floats) -> Floats:
    """Weights `[4]` of the penalised logistic regression, by Newton with halved steps."""
    deviation = np.where(basis.std(axis=0) > 0, basis.std(axis=0), 1.0)
    ridge = deviation**2

    def value(w: Floats) -> float:
        line = basis @ w
        return float(weights @ (np.logaddexp(0, line) - right * line) + 0.5 * ridge @ (w - IDENTITY) ** 2)

    w = IDENTITY.copy()
    best = value(w)
    for _ in range(MAX_STEPS):
        p = 1 / (1 + np.exp(-(basis @ w)))
        gradient = basis.T @ (weights * (p - right)) + ridge * (w - IDENTITY)
        curvature = (basis.T * (weights * p * (1 - p))) @ basis + np.diag(ridge)
        step = np.linalg.solve(curvature, gradient)
        size = 1.0
        while value(w - size * step) > best and size > TOLERANCE:
            size /= 2
        w = w - size * step
        before, best = best, value(w)
        if before - best <= TOLERANCE * abs(before):
            break
    return np.asarray(w)


def negative_logs(stage: TopLabel, rows: TopRows) -> Floats:
    """Minus the labels' log-probabilities behind the stage, `[n]`: as `TopLabel.apply` has them."""
    after = np.where(np.isposinf(rows.odds), np.inf, np.maximum(stage.line(rows.odds), rows.lowest + MARGIN))
    with np.errstate(invalid="ignore"):
        wrong = np.logaddexp(0, after) - rows.label_share
    return np.where(rows.right, np.logaddexp(0, -after), wrong)
