"""How good the probabilities are: proper scores, calibration errors, ranking. All of them weighted.

Calibration errors are those of the top class unless a name says otherwise. Equal-width bins are (lo, hi] with
bin = ceil(confidence * M) - 1, so that confidence 1 falls into the last bin; torchmetrics and probmetrics give it a
bin of its own and compute in float32, and differ from the 4th digit on. Equal-mass bins hold equal shares of the
weight, the first n mod M of them one row more. Each docstring names the paper that a definition is from.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.datasets.dataset import Floats, Ints
from service.measures.scores import N_BINS, N_BLOCKS, Classwise, Scores
from service.measures.smooth import bandwidth, smooth_error

MOST: Final = {"loss": np.inf, "nll": np.inf, "brier": 2.0, "brier_calibration": 2.0, "brier_refinement": 2.0}
"""What no metric can be more than; 1 for all others."""


class Ordered:
    """The rows' confidences in ascending order, with prefix sums, so that a bin costs two look-ups."""

    def __init__(self, confidence: Floats, correct: NDArray[np.bool_], weights: Floats) -> None:
        order = np.argsort(confidence, kind="stable")
        self.confidence = confidence[order]
        self.correct = correct[order].astype(np.float64)
        self.weights = weights[order]
        self.total = float(weights.sum())
        self._weight = prefix(self.weights)
        self._weight_squared = prefix(self.weights**2)
        self._hits = prefix(self.weights * self.correct)
        self.gaps = prefix(self.weights * (self.confidence - self.correct))

    @property
    def n(self) -> int:
        return len(self.confidence)

    def by_width(self, bins: int = N_BINS) -> Ints:
        """Edges, as row numbers `[bins + 1]`, of bins of equal width."""
        bin_of = (np.ceil(self.confidence * bins).astype(np.int64) - 1).clip(0, bins - 1)
        return np.searchsorted(bin_of, np.arange(bins + 1)).astype(np.int64)

    def by_mass(self, bins: int = N_BINS) -> Ints:
        """Edges, as row numbers `[bins + 1]`, of bins of equal weight."""
        at = np.arange(bins + 1)
        rows = at * (self.n // bins) + np.minimum(at, self.n % bins)
        if (self.weights == 1).all():
            return rows
        return np.searchsorted(self._weight, rows / self.n * self.total * (1 - 1e-12)).astype(np.int64)

    def gap(self, edges: Ints) -> Floats:
        """The sum of weight times (confidence - correct) of each bin."""
        return np.diff(self.gaps[edges])

    def mass(self, edges: Ints) -> Floats:
        """The weight of each bin."""
        return np.diff(self._weight[edges])

    def rows(self, edges: Ints) -> Floats:
        """Kish's effective number of rows of each bin."""
        return self.mass(edges) ** 2 / np.maximum(np.diff(self._weight_squared[edges]), 1e-300)

    def accuracy(self, edges: Ints) -> Floats:
        """The accuracy of each bin; 0 in an empty one."""
        return np.diff(self._hits[edges]) / np.maximum(self.mass(edges), 1e-300)


def ece(rows: Ordered) -> float:
    """Expected calibration error, 15 bins of equal width (Guo et al. 2017)."""
    return float(np.abs(rows.gap(rows.by_width())).sum() / rows.total)


def ece_mass(rows: Ordered) -> float:
    """Expected calibration error, 15 bins of equal mass (Nguyen and O'Connor 2015)."""
    return float(np.abs(rows.gap(rows.by_mass())).sum() / rows.total)


def mce(rows: Ordered) -> float:
    """Maximum calibration error over 15 bins of equal width (Guo et al. 2017)."""
    edges = rows.by_width()
    return float((np.abs(rows.gap(edges)) / np.maximum(rows.mass(edges), 1e-300)).max())


def ece_sweep(rows: Ordered) -> float:
    """ECE over the most bins of equal mass that keep their accuracy monotone (Roelofs et al. 2022)."""
    return float(np.abs(rows.gap(rows.by_mass(sweep_bins(rows)))).sum() / rows.total)


def sweep_bins(rows: Ordered) -> int:
    """The number of bins that `ece_sweep` takes."""
    for bins in range(2, rows.n + 1):
        edges = rows.by_mass(bins)
        filled = edges[np.r_[True, np.diff(edges) > 0]]
        if (np.diff(rows.accuracy(filled)) < 0).any():
            return bins - 1
    return rows.n


def debiased_l2(rows: Ordered) -> float:
    """Debiased root mean squared calibration error, 15 bins of equal mass (Kumar et al. 2019)."""
    edges = rows.by_mass()
    mass, accuracy, n = rows.mass(edges), rows.accuracy(edges), rows.rows(edges)
    squared = (rows.gap(edges) / np.maximum(mass, 1e-300)) ** 2 - accuracy * (1 - accuracy) / np.maximum(n - 1, 1)
    return float(np.sqrt(max(0.0, float(mass @ squared) / rows.total)))


def ks(rows: Ordered) -> float:
    """Kolmogorov-Smirnov calibration error: the largest cumulated gap (Gupta et al. 2021)."""
    return float(np.abs(rows.gaps).max() / rows.total)


def aurc(rows: Ordered) -> float:
    """Area under the risk-coverage curve (Geifman and El-Yaniv 2017); equal confidences share their mean risk."""
    coverage, risk = risk_coverage(rows)
    return float(np.diff(coverage, prepend=0) @ risk)


def risk_coverage(rows: Ordered) -> tuple[Floats, Floats]:
    """Coverage in (0,1] and the error rate of the most confident rows so far, `[n]` each."""
    weights = rows.weights[::-1]
    _, tie = np.unique(-rows.confidence[::-1], return_inverse=True)
    shared = np.bincount(tie, weights * (1 - rows.correct[::-1])) / np.maximum(np.bincount(tie, weights), 1e-300)
    covered = np.cumsum(weights)
    return covered / rows.total, np.cumsum(weights * shared[tie]) / np.maximum(covered, 1e-300)


TOP_CLASS: Final[dict[str, Callable[[Ordered], float]]] = {
    "ece": ece,
    "ece_mass": ece_mass,
    "ece_sweep": ece_sweep,
    "debiased_l2": debiased_l2,
    "mce": mce,
    "ks": ks,
    "aurc": aurc,
}


def classwise_errors(sums: Classwise) -> Floats:
    """Expected calibration error of each class, `[K]`: 15 bins of equal width over all rows (Kull et al. 2019)."""
    total = sums.hits.sum()
    return np.asarray(np.abs((sums.hits - sums.probability).sum(0)).sum(1) / total)


def brier_calibration(sums: Classwise) -> float:
    """The part of the Brier score that recalibration can take away (Murphy 1973), binned as `classwise_errors`.

    sum over classes and bins of weight * (mean probability - frequency)^2. What remains is the refinement; it holds
    the spread of the probabilities inside a bin.
    """
    gap = (sums.hits - sums.probability).sum(0)
    return float((gap**2 / np.maximum(sums.weight.sum(0), 1e-300)).sum() / sums.hits.sum())


def measure(scores: Scores, sigma: float | None = None) -> dict[str, float]:
    """Every metric by name; `sigma` fixes the bandwidth of the smooth ECE.

    Where labels got exactly 0 there is no `nll`, which is infinite, but `impossible`, their share.
    """
    rows = Ordered(scores.confidence, scores.correct, scores.weights)
    calibration = brier_calibration(scores.classwise)
    brier = float(np.average(scores.brier, weights=scores.weights))
    smooth = smooth_error(rows.confidence, rows.weights * (rows.confidence - rows.correct), rows.weights, sigma)
    impossible = np.isinf(scores.nll)
    if impossible.any():  # a clipped likelihood would say nothing
        likelihood = {"impossible": float(np.average(impossible, weights=scores.weights))}
    else:
        likelihood = {"nll": float(np.average(scores.nll, weights=scores.weights))}
    own = {} if scores.loss is None else {"loss": float(np.average(scores.loss, weights=scores.weights))}
    return {
        **own,
        **likelihood,
        "brier": brier,
        "brier_calibration": calibration,
        "brier_refinement": brier - calibration,
        "accuracy": float(np.average(scores.correct, weights=scores.weights)),
        **{name: metric(rows) for name, metric in TOP_CLASS.items()},
        "classwise_ece": float(classwise_errors(scores.classwise).mean()),
        "smooth_ece": smooth,
    }


def intervals(scores: Scores, resamples: int = 200, level: float = 0.95) -> dict[str, tuple[float, float]]:
    """Bootstrap intervals of every metric of `measure`, rows drawn with replacement, seeded.

    The quantiles are shifted by the mean of the draws minus the estimate: resampling makes every calibration error
    larger. What is summed over classes is drawn in random blocks of rows. No bound lies where no value can.
    """
    point = measure(scores)
    rows = Ordered(scores.confidence, scores.correct, scores.weights)
    sigma = bandwidth(rows.confidence, rows.weights * (rows.confidence - rows.correct), rows.weights)
    drawn = [measure(resample(scores, seed), sigma) for seed in range(resamples)]
    tail = (1 - level) / 2
    found = {}
    for name, estimate in point.items():
        values = np.array([one.get(name, 0.0) for one in drawn])
        low, high = np.quantile(values, [tail, 1 - tail]) - values.mean() + estimate
        found[name] = (max(0.0, float(low)), min(float(high), MOST.get(name, 1.0)))
    return found


def resample(scores: Scores, seed: int) -> Scores:
    random = np.random.default_rng(seed)
    n = len(scores.nll)
    rows = random.integers(0, n, n)
    sums = scores.classwise
    held = np.flatnonzero(
        sums.hits.any(axis=(1, 2))
    )  # a few rows leave blocks empty: a draw of those alone counts for nothing
    blocks = held[random.integers(0, len(held), len(held))]
    times = np.bincount(blocks, minlength=N_BLOCKS).astype(np.float64)
    return Scores(
        confidence=scores.confidence[rows],
        correct=scores.correct[rows],
        nll=scores.nll[rows],
        brier=scores.brier[rows],
        weights=scores.weights[rows],
        labels=scores.labels,
        predictions=scores.predictions,
        loss=None if scores.loss is None else scores.loss[rows],
        classwise=Classwise(
            *(np.tensordot(times, part, 1)[None] for part in (sums.weight, sums.probability, sums.hits))
        ),
    )


def prefix(values: Floats) -> Floats:
    return np.concatenate([[0.0], np.cumsum(values)])
