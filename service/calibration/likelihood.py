"""The negative log-likelihood as a function of the temperature, for the report."""

from typing import Final, NamedTuple

import numpy as np

from service.datasets.dataset import Dataset, Floats
from service.heads.stages import Stages, log_softmax

MOST_LOGITS: Final = 2_000_000


class Likelihood(NamedTuple):
    """Means over the fitted rows, or a part of them.

    Attributes:
        n: the rows.
        temperatures: `[49]`, ascending, around the best.
        curve: of the logits over each temperature, `[49]`.
        best: the temperature with the lowest.
        plain: of the logits as they are.
        reached: of the calibrator.
    """

    n: int
    temperatures: Floats
    curve: Floats
    best: float
    plain: float
    reached: float


def measure(data: Dataset, calibrator: Stages) -> Likelihood:
    """The likelihood of `data`, of every so many rows where there are many."""
    rows = data.take(slice(None, None, max(1, data.logits.size // MOST_LOGITS)))
    scores = np.concatenate([Stages().scores(chunk.logits, chunk.mask) for chunk in rows.chunks()])
    best = calibrator.temperature if calibrator.method in ("temperature", "bias") else best_temperature(scores, rows)
    at = np.geomspace(best / 4, best * 4, 49)
    curve = np.array([mean_nll(scores / t, rows) for t in at])
    own = np.concatenate([calibrator.predict(c)[np.arange(len(c.labels)), c.labels] for c in rows.chunks()])
    reached = -float(np.average(own, weights=rows.weights))
    return Likelihood(rows.n_rows, at, curve, float(at[curve.argmin()]), mean_nll(scores, rows), reached)


def best_temperature(scores: Floats, rows: Dataset) -> float:
    """The T of a coarse grid with the lowest negative log-likelihood, then of a finer one around it."""
    best = 1.0
    for reach, count in ((100.0, 41), (1.3, 21)):
        grid = np.geomspace(best / reach, best * reach, count)
        best = float(grid[int(np.argmin([mean_nll(scores / t, rows) for t in grid]))])
    return best


def mean_nll(scores: Floats, rows: Dataset) -> float:
    """The weighted mean negative log-likelihood of `scores` `[n,K]`."""
    own = log_softmax(scores)[np.arange(rows.n_rows), rows.labels]
    return -float(np.average(own, weights=rows.weights))
