"""How good the probabilities of a sigmoid head are: each allowed class of a row is a cell, and counts by itself.

Bins are those of `metrics`: 15 of equal width, (lo, hi].
"""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.datasets.dataset import Bools, Floats, Ints
from service.families.sigmoid import Sigmoid
from service.measures.scores import N_BINS, N_BLOCKS

SIGMOID: Final = Sigmoid()
UNBOUNDED: Final = ("nll", "bce", "brier")
"""What may be more than 1; the Brier score is a sum over the classes."""


class Points(NamedTuple):
    """Cells as a reliability diagram takes them, `[n]` each: probability, whether the class was right, weight."""

    confidence: Floats
    correct: Bools
    weights: Floats


@dataclass(frozen=True, eq=False)
class MultiScores:
    """Of rows and classes, `[n,K]` each.

    Attributes:
        probabilities: float64.
        targets: float64, 1 where the class is right; one in between counts as right from a half on.
        allowed: bool; what is not counts for nothing.
        losses: binary cross-entropies, float64.
        predicted: bool.
    """

    probabilities: Floats
    targets: Floats
    allowed: Bools
    losses: Floats
    predicted: Bools

    @classmethod
    def from_scores(cls, x: Floats, targets: NDArray[Any], predicted: Bools | None = None) -> "MultiScores":
        """From log-odds `x` `[n,K]`, -inf where a class is not allowed; predicted from a half on unless it is given."""
        y = targets.astype(np.float64)
        p, _ = SIGMOID.distribution(x)
        seen = p >= 0.5 if predicted is None else predicted
        return cls(p, y, np.asarray(x > -np.inf), SIGMOID.class_losses(x, y), seen)

    @property
    def right(self) -> Bools:
        return np.asarray(self.targets >= 0.5)

    @property
    def row_losses(self) -> Floats:
        """The negative log-likelihood of each row's labels, float64 `[n]`."""
        return np.asarray(self.losses.sum(axis=1))

    def points(self, class_: int | None = None) -> Points:
        """The cells of one class, or all."""
        columns = slice(None) if class_ is None else slice(class_, class_ + 1)
        there = self.allowed[:, columns]
        p = self.probabilities[:, columns][there]
        return Points(p, self.right[:, columns][there], np.ones(len(p)))


class Sums(NamedTuple):
    """By block of rows: their number `[B]`, and by class and bin `[B,K,15,6]` the sums of `COLUMNS`."""

    rows: Floats
    cells: Floats


COLUMNS: Final = ("cells", "probability", "right", "loss", "brier", "predicted right")


def measure(scores: MultiScores) -> dict[str, float]:
    """Every metric by name.

    nll and brier are means over rows of sums over classes, bce and accuracy means over cells. ece is that of all cells
    together (micro), ece_macro the mean of each class's.
    """
    return from_sums(add_up(scores, np.zeros(len(scores.targets), np.int64), 1))


def intervals(scores: MultiScores, resamples: int = 200, level: float = 0.95) -> dict[str, tuple[float, float]]:
    """Bootstrap intervals of every metric: random blocks of rows, drawn with replacement, seeded.

    Shifted by the mean of the draws less the estimate, as in `metrics.intervals`.
    """
    n = len(scores.targets)
    sums = add_up(scores, np.random.default_rng(0).integers(0, N_BLOCKS, n), N_BLOCKS)
    held = np.flatnonzero(sums.rows)
    random = np.random.default_rng(0)
    times = [np.bincount(held[random.integers(0, len(held), len(held))], minlength=N_BLOCKS) for _ in range(resamples)]
    drawn = [from_sums(Sums(sums.rows * some, np.tensordot(some, sums.cells, 1)[None])) for some in times]
    tail, found = (1 - level) / 2, {}
    for name, estimate in measure(scores).items():
        values = np.array([one[name] for one in drawn])
        low, high = np.quantile(values, [tail, 1 - tail]) - values.mean() + estimate
        found[name] = (max(0.0, float(low)), float(high) if name in UNBOUNDED else min(float(high), 1.0))
    return found


def add_up(scores: MultiScores, block: Ints, n_blocks: int) -> Sums:
    """The sums of the blocks `block` `[n]`."""
    k = scores.targets.shape[1]
    bins = (np.ceil(scores.probabilities * N_BINS).astype(np.int64) - 1).clip(0)
    place = ((block[:, None] * k + np.arange(k)) * N_BINS + bins)[scores.allowed]
    p, y, right = (values[scores.allowed] for values in (scores.probabilities, scores.targets, scores.right))
    hit = scores.predicted[scores.allowed] == right
    columns = (np.ones(len(p)), p, right, scores.losses[scores.allowed], (p - y) ** 2, hit)
    size = n_blocks * k * N_BINS
    sums = [np.bincount(place, column.astype(np.float64), size) for column in columns]
    shape = (n_blocks, k, N_BINS, len(COLUMNS))
    rows = np.bincount(block, minlength=n_blocks).astype(np.float64)
    return Sums(rows, np.stack(sums, axis=-1, dtype=np.float64).reshape(shape))


def from_sums(sums: Sums) -> dict[str, float]:
    """The metrics of all blocks together; 0 where no cell is allowed."""
    by_bin = sums.cells.sum(axis=0)
    total = dict(zip(COLUMNS, by_bin.sum(axis=(0, 1)).tolist(), strict=True))
    n_rows, n_cells = max(float(sums.rows.sum()), 1.0), max(total["cells"], 1.0)
    counts = by_bin[..., 0].sum(axis=1)
    return {
        "nll": total["loss"] / n_rows,
        "bce": total["loss"] / n_cells,
        "brier": total["brier"] / n_rows,
        "accuracy": total["predicted right"] / n_cells,
        "ece": float(np.abs((by_bin[..., 2] - by_bin[..., 1]).sum(axis=0)).sum() / n_cells),
        "ece_macro": float(errors(by_bin)[counts > 0].mean()) if counts.any() else 0.0,
    }


def class_errors(scores: MultiScores) -> Floats:
    """ECE of each class, `[K]`; 0 of one that is never allowed."""
    return errors(add_up(scores, np.zeros(len(scores.targets), np.int64), 1).cells[0])


def errors(by_bin: Floats) -> Floats:
    gaps = np.abs(by_bin[..., 2] - by_bin[..., 1]).sum(axis=1)
    return np.asarray(gaps / np.maximum(by_bin[..., 0].sum(axis=1), 1))
