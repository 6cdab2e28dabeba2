"""The reliability diagram as numbers: bins of equal mass with their intervals, and how many rows have a confidence."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

import numpy as np

from service.datasets.dataset import Bools, Floats, Ints
from service.measures.metrics import Ordered
from service.measures.scores import N_BINS

ROWS_PER_BIN: Final = 30
N_HISTOGRAM: Final = 40
Z: Final = 1.96
"""Standard errors on each side of a 95 % interval."""


class Confidences(Protocol):
    """What a diagram is drawn of, `[n]` each: rows with their best class, or the labels of a sigmoid."""

    @property
    def confidence(self) -> Floats:
        """The probability that was said."""

    @property
    def correct(self) -> Bools:
        """Whether it came true."""

    @property
    def weights(self) -> Floats:
        """How much it counts."""


@dataclass(frozen=True)
class Bin:
    """Rows of neighbouring confidences.

    Attributes:
        start: the lowest confidence.
        stop: the highest.
        rows: their number.
        confidence: its weighted mean.
        accuracy: the weighted share of rows whose best class was right.
        low: the 95 % interval of the accuracy (Wilson 1927); with weights, of Kish's effective number of rows.
        high: its upper end.
    """

    start: float
    stop: float
    rows: int
    confidence: float
    accuracy: float
    low: float
    high: float

    @property
    def is_off(self) -> bool:
        """Whether the confidence lies outside the interval of the accuracy."""
        return not self.low <= self.confidence <= self.high


Binning = Callable[[Confidences], list[Bin]]


def mass_bins(scores: Confidences) -> list[Bin]:
    """15 bins of equal mass, fewer where they would have under 30 rows, two at least."""
    rows = Ordered(scores.confidence, scores.correct, scores.weights)
    return bins(rows, rows.by_mass(max(2, min(N_BINS, rows.n // ROWS_PER_BIN))))


def width_bins(scores: Confidences, n: int = N_BINS) -> list[Bin]:
    """`n` bins of equal width, without the empty ones: of labels, most of which are hardly likely."""
    rows = Ordered(scores.confidence, scores.correct, scores.weights)
    return bins(rows, rows.by_width(n))


def bins(rows: Ordered, edges: Ints) -> list[Bin]:
    """The rows between `edges` that differ."""
    edges = np.unique(edges)
    accuracy = np.clip(rows.accuracy(edges), 0, 1)
    confidence = accuracy + rows.gap(edges) / np.maximum(rows.mass(edges), 1e-300)
    low, high = wilson(accuracy, rows.rows(edges))
    columns = (
        rows.confidence[edges[:-1]], rows.confidence[edges[1:] - 1], np.diff(edges), confidence, accuracy, low, high
    )  # fmt: skip
    return [Bin(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def wilson(share: Floats, n: Floats) -> tuple[Floats, Floats]:
    """The 95 % interval of a share of `n` (Wilson 1927)."""
    n = np.maximum(n, 1e-9)
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return np.maximum(middle - half, 0), np.minimum(middle + half, 1)


def to_json(scores: Confidences, binned: Binning = mass_bins) -> dict[str, Any]:
    """The bins, and the rows in each of 40 intervals of confidence from 0 to 1."""
    rows, _ = np.histogram(scores.confidence, bins=N_HISTOGRAM, range=(0, 1))
    found = []
    for one in binned(scores):
        values = asdict(one)
        found.append({"from": values.pop("start"), "to": values.pop("stop"), **values})
    return {"bins": found, "histogram": {"rows": rows.tolist()}}
