"""The negative log-likelihood as a function of the temperature, for the report; of a sparse head its Brier score."""

from typing import Final, NamedTuple

import numpy as np

from service.datasets.dataset import Dataset, Floats
from service.families import SOFTMAX
from service.heads.stages import Stages, log_softmax

MOST_LOGITS: Final = 2_000_000
NLL: Final = "negative log-likelihood"
BRIER: Final = "Brier score"


class Likelihood(NamedTuple):
    """Means over the fitted rows, or a part of them.

    Attributes:
        what: the negative log-likelihood, or the Brier score of a family that gives exact zeros.
        n: the rows.
        temperatures: `[49]`, ascending, around the best.
        curve: of the logits over each temperature, `[49]`.
        best: the temperature with the lowest.
        plain: of the logits as they are.
        reached: of the calibrator.
    """

    what: str
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
    if calibrator.family is not SOFTMAX:
        return measure_brier(rows, scores, at, calibrator)
    curve = np.array([mean_nll(scores / t, rows) for t in at])
    own = np.concatenate([calibrator.predict(c)[np.arange(len(c.labels)), c.labels] for c in rows.chunks()])
    reached = -float(np.average(own, weights=rows.weights))
    return Likelihood(NLL, rows.n_rows, at, curve, float(at[curve.argmin()]), mean_nll(scores, rows), reached)


def measure_brier(rows: Dataset, scores: Floats, at: Floats, calibrator: Stages) -> Likelihood:
    """The same with the Brier score in the place of the likelihood, which would be infinite."""
    eye = np.eye(rows.n_classes)[rows.labels]

    def mean(t: float) -> float:
        p, _ = calibrator.family.distribution(scores / t)
        return float(np.average(((p - eye) ** 2).sum(axis=1), weights=rows.weights))

    curve = np.array([mean(t) for t in at])
    return Likelihood(BRIER, rows.n_rows, at, curve, float(at[curve.argmin()]), mean(1.0), mean(calibrator.temperature))


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
