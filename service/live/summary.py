"""Running measures of labelled rows: accuracy, likelihood, Brier score, calibration error, coverage of sets.

Sums of whole numbers, in steps of 1/STEPS: the same in any order and any division, to be merged and taken back.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.live.records import Records, right
from service.measures.reliability import Z, wilson
from service.measures.scores import N_BINS

STEPS: Final = 2**30
LEVEL: Final = 0.05
"""What an interval misses."""
FOLDED_MEAN: Final = math.sqrt(2 / math.pi)
FOLDED_ERROR: Final = math.sqrt(1 - 2 / math.pi)
"""The mean and the standard deviation of |x|, x standard normal."""
WIDEST: Final = 0.25
"""The largest variance of a share."""
BEST_AT: Final = 1000
"""Labels at which the confidence sequence is narrowest."""


@dataclass
class Summary:
    """Sums over rows; `in STEPS` means that a sum is in steps of 1/STEPS.

    Attributes:
        rows: labelled rows.
        right: those whose class was right.
        impossible: those whose label had probability 0.
        nll: minus the log-probability of the labels that were possible, in STEPS.
        brier: in STEPS.
        gap_squared: (confidence - right)^2, in STEPS.
        bins: of 15 bins of equal width in the confidence, [lo, hi) with 1 in the last: rows, right, and confidences
            in STEPS. Of confidences on an edge `measures.metrics` says that they are in the bin below.
        sets: rows that were answered with a prediction set, those whose set held the label, and the coverage
            1 - alpha that was asked for, in STEPS.
    """

    rows: int = 0
    right: int = 0
    impossible: int = 0
    nll: int = 0
    brier: int = 0
    gap_squared: int = 0
    bins: list[list[int]] = field(default_factory=lambda: [[0, 0, 0] for _ in range(N_BINS)])
    sets: list[int] = field(default_factory=lambda: [0, 0, 0])

    @classmethod
    def of(cls, rows: Records) -> "Summary":
        """The sums of some rows."""
        hit, confidence, log_p = right(rows), rows["confidence"], rows["log_p"]
        possible, asked = ~np.isneginf(log_p), ~np.isnan(rows["alpha"])
        at = np.minimum((confidence * N_BINS).astype(np.int64), N_BINS - 1)
        bins = np.zeros((N_BINS, 3), np.int64)
        np.add.at(bins, at, np.stack([np.ones_like(at), hit, stepped(confidence)], axis=1))
        return cls(
            rows=len(rows),
            right=int(hit.sum()),
            impossible=int((~possible).sum()),
            nll=int(stepped(-log_p[possible]).sum()),
            brier=int(stepped(rows["brier"]).sum()),
            gap_squared=int(stepped((confidence - hit) ** 2).sum()),
            bins=bins.tolist(),
            sets=[
                int(asked.sum()),
                int(rows["in_set"][asked].sum()),
                int(stepped(1 - rows["alpha"][asked]).sum()),
            ],
        )

    def add(self, other: "Summary", times: int = 1) -> None:
        """Add the sums of `other`; `times` -1 takes them back."""
        for name in ("rows", "right", "impossible", "nll", "brier", "gap_squared"):
            setattr(self, name, getattr(self, name) + times * getattr(other, name))
        self.bins = [
            [x + times * y for x, y in zip(*both, strict=True)] for both in zip(self.bins, other.bins, strict=True)
        ]
        self.sets = [x + times * y for x, y in zip(self.sets, other.sets, strict=True)]

    def measures(self) -> dict[str, Any]:
        """Every measure; without rows they are none."""
        n, possible = self.rows, self.rows - self.impossible
        return {
            "labels": n,
            "accuracy": self.right / n if n else None,
            "nll": self.nll / STEPS / possible if possible else None,
            "impossible": self.impossible,
            "brier": self.brier / STEPS / n if n else None,
            "ece": self.ece() if n else None,
            "gap": self.gap() if n else None,
            "bins": self.reliability(),
            "coverage": self.coverage() if self.sets[0] else None,
        }

    def ece(self) -> dict[str, float]:
        """The expected calibration error over the 15 bins, without its bias, and a 95 % interval.

        Chance alone makes the error of a bin larger: from its square the variance of the accuracy is taken off. Nor
        can all errors together be off by more than the sum of what chance adds to each: the interval goes down from
        the value by the upper 2.5 % of that sum, and up, as the value is too large on average, by 1.96 standard errors.
        """
        rows, hits, confidence = np.array(self.bins, np.float64).T
        filled = rows > 0
        rows, hits, confidence = rows[filled], hits[filled], confidence[filled] / STEPS
        weight, gap, share = rows / self.rows, np.abs(confidence - hits) / rows, (hits + 1) / (rows + 2)
        error = np.sqrt(share * (1 - share) / rows)
        value, debiased = float(weight @ gap), float(weight @ np.sqrt(np.maximum(gap**2 - error**2, 0)))
        noise = float(weight @ error) * FOLDED_MEAN + Z * float(np.linalg.norm(weight * error)) * FOLDED_ERROR
        low, high = max(0.0, value - noise), min(1.0, value + Z * float(np.linalg.norm(weight * error)))
        return {"value": value, "debiased": debiased, "low": low, "high": high}

    def gap(self) -> dict[str, float]:
        """Mean confidence minus accuracy, above 0 where answers are too sure, with a 95 % confidence sequence.

        The sequence holds at every number of labels at once, for large ones (Waudby-Smith et al. 2024, section 2). To
        the variance one more row adds the largest that a share has: a few rows that agree are no certainty.
        """
        n = self.rows
        mean = sum(one[2] for one in self.bins) / STEPS / n - self.right / n
        variance = (n * max(self.gap_squared / STEPS / n - mean**2, 0.0) + WIDEST) / (n + 1)
        rho = (-2 * math.log(LEVEL) + math.log(-2 * math.log(LEVEL) + 1)) / BEST_AT
        half = math.sqrt(variance * 2 * (n * rho + 1) / (n**2 * rho) * math.log(math.sqrt(n * rho + 1) / LEVEL))
        return {"value": mean, "low": max(-1.0, mean - half), "high": min(1.0, mean + half)}

    def reliability(self) -> list[dict[str, Any]]:
        """The bins that hold rows, with the 95 % interval of their accuracy (Wilson 1927)."""
        found = []
        for at, (rows, hits, confidence) in enumerate(self.bins):
            if rows:
                low, high = interval(hits / rows, rows)
                found.append({
                    "from": at / N_BINS, "to": (at + 1) / N_BINS, "rows": rows,
                    "confidence": confidence / STEPS / rows, "accuracy": hits / rows, "low": low, "high": high,
                })  # fmt: skip
        return found

    def coverage(self) -> dict[str, float]:
        """The share of prediction sets that held the label, and its 95 % interval (Wilson 1927)."""
        rows, held, asked = self.sets
        low, high = interval(held / rows, rows)
        return {"rows": rows, "asked": asked / STEPS / rows, "value": held / rows, "low": low, "high": high}


def interval(share: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a share of `n` (Wilson 1927)."""
    low, high = wilson(np.array([share]), np.array([float(n)]))
    return float(low[0]), float(high[0])


def stepped(values: NDArray[Any]) -> NDArray[np.int64]:
    """Numbers in whole steps."""
    return np.asarray(np.rint(values * STEPS), np.int64)
