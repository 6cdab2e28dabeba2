"""Two heads on the same rows: the differences row by row, which say more than the difference of two numbers."""

from typing import Final, NamedTuple

import numpy as np

from service.datasets.dataset import Bools, Floats, Ints
from service.measures.metrics import Ordered, ece, ece_mass
from service.measures.scores import Scores

N_RESAMPLES: Final = 200
LEVEL: Final = 0.95


class Measured(NamedTuple):
    """What one head made of the rows: its scores, and whether its prediction sets hold the label, `[n]` or none."""

    scores: Scores
    covered: Bools | None = None


class Difference(NamedTuple):
    """How much more a head has of a metric than the other, and the 95 % interval of that."""

    value: float
    low: float
    high: float


def row_values(measured: Measured) -> dict[str, Floats]:
    """What is averaged over the rows, by metric, `[n]` each; no `nll` where a label has the probability 0."""
    scores, covered = measured
    found = {"nll": scores.nll, "brier": scores.brier, "accuracy": scores.correct.astype(np.float64)}
    if np.isinf(scores.nll).any():
        del found["nll"]
    return found if covered is None else found | {"coverage": covered.astype(np.float64)}


def compare(one: Measured, other: Measured) -> dict[str, Difference]:
    """The differences `one` - `other` of the metrics that both have, with paired bootstrap intervals, seeded.

    Each draw takes the same rows of both, so that what is hard for both cancels out. The quantiles are shifted by the
    mean of the draws minus the estimate, as in `metrics.intervals`.
    """
    mine, others = row_values(one), row_values(other)
    n, weights = len(one.scores.nll), one.scores.weights
    gaps = {name: values - others[name] for name, values in mine.items() if name in others}

    def differences(rows: Ints) -> dict[str, float]:
        found = {name: float(np.average(gap[rows], weights=weights[rows])) for name, gap in gaps.items()}
        both = [
            Ordered(scores.confidence[rows], scores.correct[rows], weights[rows])
            for scores in (one.scores, other.scores)
        ]
        return found | {metric.__name__: metric(both[0]) - metric(both[1]) for metric in (ece, ece_mass)}

    estimate = differences(np.arange(n))
    random = np.random.default_rng(0)
    drawn = [differences(random.integers(0, n, n)) for _ in range(N_RESAMPLES)]
    return {name: interval(value, np.array([draw[name] for draw in drawn])) for name, value in estimate.items()}


def interval(estimate: float, drawn: Floats) -> Difference:
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail]) - drawn.mean() + estimate
    return Difference(estimate, float(low), float(high))


def count_changes(before: Scores, after: Scores) -> dict[str, int]:
    """How many rows get another prediction, and how many of these become right and wrong."""
    changed = before.predictions != after.predictions
    was, now = before.correct[changed], after.correct[changed]
    rows = {"measured": len(changed), "changed": changed.sum(), "became_right": (now & ~was).sum()}
    return {name: int(n) for name, n in (rows | {"became_wrong": (was & ~now).sum()}).items()}
