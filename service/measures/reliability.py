"""The reliability diagram as numbers: bins of equal mass with their intervals, and how many rows have a confidence."""

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from service.datasets.dataset import Floats
from service.measures.metrics import Ordered
from service.measures.scores import N_BINS, Scores

ROWS_PER_BIN: Final = 30
N_HISTOGRAM: Final = 40
Z: Final = 1.96
"""Standard errors on each side of a 95 % interval."""


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


def bins(scores: Scores) -> list[Bin]:
    """15 bins of equal mass, fewer where they would have under 30 rows, two at least."""
    rows = Ordered(scores.confidence, scores.correct, scores.weights)
    edges = np.unique(rows.by_mass(max(2, min(N_BINS, rows.n // ROWS_PER_BIN))))
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


def to_json(scores: Scores) -> dict[str, Any]:
    """The bins, and the rows in each of 40 intervals of confidence from 0 to 1."""
    rows, _ = np.histogram(scores.confidence, bins=N_HISTOGRAM, range=(0, 1))
    found = []
    for one in bins(scores):
        values = asdict(one)
        found.append({"from": values.pop("start"), "to": values.pop("stop"), **values})
    return {"bins": found, "histogram": {"rows": rows.tolist()}}
