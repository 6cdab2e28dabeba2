"""Prediction sets with a coverage guarantee, from scores that a head file carries. numpy only.

Split conformal prediction (Vovk et al. 2005): with n calibration scores the threshold at `alpha` is the
ceil((n+1)(1-alpha))-th smallest, and a class is in the set where its own score is not larger. For rows that are
exchangeable with the calibration rows the set holds the label with a probability of at least 1 - alpha, on average
over all rows; with a table for each class or group, on average within it. How the scores are made for a head stands
in `calibration.conformal`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Score = Literal["lac", "aps", "raps"]
By = Literal["all", "class", "group"]

SCORES: Final[tuple[Score, ...]] = ("lac", "aps", "raps")
MOST_VALUES: Final = 2000
DIGITS: Final = 1e10


@dataclass(frozen=True, eq=False)
class Table:
    """Calibration scores in ascending order, thinned where there are many.

    Attributes:
        n: how many scores there were.
        ranks: `[m]` int64, 1 for the smallest score.
        values: `[m]`, the score at each rank.
    """

    n: int
    ranks: NDArray[np.int64]
    values: Floats

    @classmethod
    def of(cls, scores: Floats, most: int = MOST_VALUES) -> "Table":
        """All `scores` `[n]`, or `most` of them, close together at the large end, where a small alpha looks.

        They are rounded up to ten digits, which a file can hold: a set may gain by it, never lose.
        """
        n = len(scores)
        from_top = np.arange(n) if n <= most else np.unique(np.geomspace(1, n, most).astype(np.int64)) - 1
        ranks = np.sort(n - from_top)
        return cls(n, ranks, np.ceil(np.sort(scores)[ranks - 1] * DIGITS) / DIGITS)

    def threshold(self, alpha: float) -> float:
        """The largest score that is still inside at `alpha`; infinite where n rows are too few for it.

        Between thinned ranks the larger one is taken: never less coverage than asked for.
        """
        rank = math.ceil((self.n + 1) * (1 - alpha) * (1 - 1e-12))
        at = int(np.searchsorted(self.ranks, rank))
        return math.inf if at == len(self.ranks) else float(self.values[at])

    def to_metadata(self) -> dict[str, Any]:
        """As JSON; the ranks only where some are left out."""
        stored = {"n": self.n, "values": self.values.tolist()}
        return stored if len(self.values) == self.n else stored | {"ranks": self.ranks.tolist()}

    @classmethod
    def from_metadata(cls, stored: Mapping[str, Any]) -> "Table":
        """Read back what `to_metadata` wrote."""
        # JSON has null for infinity, the score of a label whose probability was exactly 0
        values = np.asarray([math.inf if value is None else value for value in stored["values"]], np.float64)
        ranks = np.asarray(stored.get("ranks", range(1, len(values) + 1)), np.int64)
        return cls(int(stored["n"]), ranks, values)


@dataclass(frozen=True, eq=False)
class Conformal:
    """A score, its settings and its tables.

    Attributes:
        score: `lac` (Sadinle et al. 2019), `aps` (Romano et al. 2020) or `raps` (Angelopoulos et al. 2021).
        temperature: T > 0 that the calibrated log-probabilities are divided by first; the one that suits the
            likelihood makes `aps` and `raps` sets larger (Dabah and Tirer 2025, Xi et al. 2025).
        randomised: whether a uniform number decides on the last class: exact coverage, and another set each time.
        penalty: of `raps`, for each rank above `free_ranks`.
        free_ranks: of `raps`.
        by: whether there is one table, one for each class or one for each group (Mondrian).
        tables: one, or one by class or group index.
    """

    score: Score
    temperature: float
    tables: tuple[Table, ...]
    randomised: bool = False
    penalty: float = 0.0
    free_ranks: int = 0
    by: By = "all"

    def sets(
        self,
        log_probabilities: NDArray[Any],
        alpha: float,
        *,
        groups: NDArray[np.int64] | None = None,
        uniforms: Floats | None = None,
    ) -> NDArray[np.bool_]:
        """The prediction set of each row, bool `[n,K]`, at `alpha` in (0,1).

        `log_probabilities` `[n,K]` are the head's at its own temperature, -inf for a masked class, which is never
        in a set. `groups` `[n]` are group indices, wanted by group. `uniforms` `[n]` in [0,1) are wanted where
        the score is randomised.
        """
        scores = self.of(log_probabilities, uniforms)
        limits = np.array([table.threshold(alpha) for table in self.tables])
        limit: Any = limits[0]
        if self.by == "class":
            limit = limits[None, :]
        elif self.by == "group":
            limit = limits[np.zeros(len(scores), np.int64) if groups is None else groups][:, None]
        return np.asarray((scores <= limit) & (scores < np.inf))

    def of(self, log_probabilities: NDArray[Any], uniforms: Floats | None = None) -> Floats:
        """The score of every class, float64 `[n,K]`; infinite for a masked one."""
        p = softmax_at(log_probabilities, self.temperature)
        masked = np.isneginf(log_probabilities)
        if self.score == "lac":
            return np.where(masked, np.inf, 1 - p)
        order = np.argsort(-p, axis=1, kind="stable")
        ranked = np.take_along_axis(p, order, axis=1)
        share = 1.0 if uniforms is None or not self.randomised else np.asarray(uniforms)[:, None]
        scores = np.cumsum(ranked, axis=1) - ranked + share * ranked
        if self.score == "raps":
            scores += self.penalty * np.maximum(np.arange(1, p.shape[1] + 1) - self.free_ranks, 0)
        found = np.empty_like(scores)
        np.put_along_axis(found, order, scores, axis=1)
        return np.where(masked, np.inf, found)

    def to_metadata(self) -> dict[str, Any]:
        """As JSON for a head file."""
        return {
            "score": self.score,
            "temperature": self.temperature,
            "randomised": self.randomised,
            "penalty": self.penalty,
            "free_ranks": self.free_ranks,
            "by": self.by,
            "tables": [table.to_metadata() for table in self.tables],
        }

    @classmethod
    def from_metadata(cls, stored: Mapping[str, Any]) -> "Conformal":
        """Read back what `to_metadata` wrote.

        Raises:
            KeyError, TypeError, ValueError: it did not write that.
        """
        tables = map(Table.from_metadata, stored["tables"])
        settings = {name: stored[name] for name in ("score", "randomised", "penalty", "free_ranks", "by")}
        return cls(temperature=float(stored["temperature"]), tables=tuple(tables), **settings)


def softmax_at(log_probabilities: NDArray[Any], temperature: float) -> Floats:
    """softmax(log p / T), float64 `[n,K]`; zeros in a row without a class."""
    z = np.asarray(log_probabilities, np.float64) / temperature
    highest = np.maximum(z.max(axis=1, keepdims=True), np.finfo(np.float64).min)
    e = np.exp(z - highest)
    return np.asarray(e / np.maximum(e.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny))
