"""The reference curve of a head: how often the best class was right at a confidence, on the day of the fit.

r(p) = (1 - sigma(c)) sigma(a logit p + b), with a standard error by the delta method; sigma is the logistic function.
What labels say later is held against it. How it is found stands in `curve_fit`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from service.datasets.dataset import Floats

SMALLEST: Final = 1e-6
"""Confidences are held between this and 1 minus this."""


@dataclass(frozen=True)
class ReferenceCurve:
    """The curve and what is uncertain of it.

    Attributes:
        a: slope over the log-odds of the confidence.
        b: log-odds at confidence 1/2, below the ceiling.
        c: log-odds of the share that is wrong however sure the head is.
        covariance: of (a, b, c), three rows of three.
        n: rows that it was fitted on; with weights, Kish's effective number.
        own: a, b and c of the same rows as the head answers them that was fitted on them; the curve itself is of heads
            that have not seen them. A rich head may be better than those, and never is as good as this.
    """

    a: float
    b: float
    c: float
    covariance: tuple[tuple[float, ...], ...]
    n: float
    own: tuple[float, float, float] | None = None

    def accuracy(self, confidence: Sequence[float] | Floats) -> Floats:
        """r of confidences `[m]`."""
        return rate((self.a, self.b, self.c), log_odds(confidence))

    def error(self, confidence: Sequence[float] | Floats) -> Floats:
        """The standard error of r at confidences `[m]`."""
        slopes = jacobian((self.a, self.b, self.c), log_odds(confidence))
        return np.asarray(np.sqrt(np.einsum("ij,jk,ik->i", slopes, np.array(self.covariance), slopes)))

    def to_metadata(self) -> dict[str, Any]:
        """As JSON for the head file."""
        covariance = [list(row) for row in self.covariance]
        own = {} if self.own is None else {"own": list(self.own)}
        return {"a": self.a, "b": self.b, "c": self.c, "n": self.n, "covariance": covariance, **own}

    @classmethod
    def from_metadata(cls, stored: Mapping[str, Any]) -> "ReferenceCurve":
        """Read back what `to_metadata` wrote.

        Raises:
            KeyError, TypeError, ValueError: it did not write that.
        """
        a, b, c, n = (float(stored[name]) for name in ("a", "b", "c", "n"))
        covariance, own = tuple(tuple(map(float, row)) for row in stored["covariance"]), stored.get("own")
        if own is not None:
            own_a, own_b, own_c = map(float, own)
            own = own_a, own_b, own_c
        return cls(a, b, c, covariance, n, own)


def log_odds(confidence: Sequence[float] | Floats) -> Floats:
    """log(p / (1 - p)), with p within the bounds."""
    p = np.clip(np.asarray(confidence, np.float64), SMALLEST, 1 - SMALLEST)
    return np.asarray(np.log(p / (1 - p)))


def sigmoid(x: Any) -> Floats:
    """The logistic function; of any finite number it is a number."""
    return np.asarray(np.exp(-np.logaddexp(0, -np.asarray(x, np.float64))))


def rate(abc: Sequence[Any] | Floats, odds: Floats) -> Floats:
    """r at log-odds `[m]`; each of a, b and c is a number, or one for each of them."""
    a, b, c = abc
    return np.asarray(sigmoid(-c) * sigmoid(a * odds + b))


def jacobian(abc: Sequence[Any] | Floats, odds: Floats) -> Floats:
    """The derivatives of r by a, b and c, `[m,3]`."""
    a, b, c = abc
    below = sigmoid(a * odds + b)
    by_b = sigmoid(-c) * below * sigmoid(-a * odds - b)
    return np.stack([by_b * odds, by_b, -sigmoid(-c) * sigmoid(c) * below], axis=1)
