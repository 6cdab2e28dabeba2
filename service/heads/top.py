"""The top-label stage: how likely the best class is right, as a function of how likely the calibrator below says.

Gupta and Ramdas 2022 (top-label calibration), Le Coz et al. 2024 (top versus all), Kull et al. 2017 (links richer than
a line). The other classes share the rest in their old proportions, and the best class stays the best. No ONNX here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.errors import UsedWrongly

Floats = NDArray[np.float64]

BOUND: Final = 30.0
"""Log-odds beyond this count as this: no data say more of a row that is sure."""
MARGIN: Final = 1e-6
"""By so much the best class stays above the second, in log-odds: float32 tells them apart."""


class Split(NamedTuple):
    """Rows of log-probabilities, the best class apart from the others.

    shares: float64 `[m,K]`, log of each other class's share of what the others have; -inf for the best class.
    odds: float64 `[m]`, log-odds of the best class against the others; +inf where no other class is left.
    lowest: float64 `[m]`, log-odds at which the best class is as likely as the second; +inf where none is left.
    """

    shares: Floats
    odds: Floats
    lowest: Floats


@dataclass(frozen=True)
class TopLabel:
    """f(s) = offset + the sum over the three pieces of slope times clip(s, its lower end, its upper end).

    The pieces lie between -`BOUND`, the two knots and `BOUND`. s are the log-odds of the best class, the first of
    equals; f(s) are its log-odds afterwards, but no less than what leaves it the best. A row with one class left stays.

    Raises:
        UsedWrongly: a slope below 0, knots that do not ascend, or a number that is not finite.
    """

    offset: float = 0.0
    slopes: tuple[float, float, float] = (1.0, 1.0, 1.0)
    knots: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        if not np.isfinite((self.offset, *self.slopes, *self.knots)).all() or min(self.slopes) < 0:
            raise UsedWrongly(f"the slopes of the top-label stage are {self.slopes}; expected finite numbers >= 0")
        if not -BOUND <= self.knots[0] <= self.knots[1] <= BOUND:
            raise UsedWrongly(f"its knots are {self.knots}; expected two in ascending order within +-{BOUND:g}")

    @classmethod
    def from_constants(cls, constants: Mapping[str, NDArray[Any]]) -> "TopLabel | None":
        """The stage whose nodes hold `constants`, if there is one; they count from the others' side."""
        if "top_weights" not in constants:
            return None
        first, second, third, offset = map(float, -constants["top_weights"].ravel())
        low, high = map(float, -constants["top_lowest"].ravel()[:2])
        return cls(offset, (first, second, third), (low, high))

    @property
    def pieces(self) -> tuple[Floats, Floats, Floats]:
        """Lower ends, upper ends and weights, `[4]` each: the pieces, and the offset as one from 1 to 1."""
        low, high = self.knots
        return (
            np.array([-BOUND, low, high, 1.0]),
            np.array([low, high, BOUND, 1.0]),
            np.array([*self.slopes, self.offset]),
        )

    def line(self, odds: Floats) -> Floats:
        """f of log-odds `[m]`."""
        lower, upper, weights = self.pieces
        return np.asarray((np.clip(odds[:, None], lower, upper) * weights).sum(axis=1))

    def apply(self, logs: Floats, top: NDArray[np.int64]) -> Floats:
        """Log-probabilities `[m,K]` after the stage, of those before it; `top` `[m]` is the best class of each row."""
        shares, odds, lowest = split(logs, top)
        after = np.where(np.isposinf(odds), np.inf, np.maximum(self.line(odds), lowest + MARGIN))
        answer = shares - np.logaddexp(0, after)[:, None]
        answer[np.arange(len(logs)), top] = -np.logaddexp(0, -after)
        return np.asarray(answer)


def split(logs: Floats, top: NDArray[np.int64]) -> Split:
    """What the stage reads of log-probabilities `[m,K]`, up to a constant in each row; `top` `[m]` are the best."""
    own = np.arange(len(logs)), top
    others = logs.copy()
    others[own] = -np.inf
    second = others.max(axis=1)
    alone = np.isneginf(second)
    others -= np.where(alone, 0, second)[:, None]
    log_total = np.log(np.where(alone, 1, np.exp(others).sum(axis=1)))
    return Split(others - log_total[:, None], logs[own] - second - log_total, np.where(alone, np.inf, -log_total))
