"""The ensemble stage: the logits of M members become one row of logits, before anything else is done to them.

Either the mean of the logits, or the logarithm of the mean of the members' softmax; a weight a member where there are
some. A class that is masked, or that a member has no score for, is -inf. Its nodes stand in `averaging`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from service.errors import UsedWrongly

Average = Literal["logits", "probabilities"]
AVERAGES: Final[tuple[Average, ...]] = get_args(Average)
SUM_TOLERANCE: Final = 1e-6


@dataclass(frozen=True)
class Members:
    """How the members are averaged.

    Attributes:
        average: what the mean is taken of.
        weights: `[M]`, not negative, adding up to 1; none counts any number of members alike.

    Raises:
        UsedWrongly: another average, or weights that are none.
    """

    average: Average = "logits"
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.average not in AVERAGES:
            raise UsedWrongly(f"the average is {self.average!r}; expected {' or '.join(AVERAGES)}")
        weights = self.weights
        if weights is not None and not (weights and min(weights) >= 0 and abs(sum(weights) - 1) <= SUM_TOLERANCE):
            raise UsedWrongly(
                f"the weights are {list(weights)}; expected numbers from 0 that add up to 1, one a member"
            )

    @classmethod
    def from_metadata(cls, stored: Mapping[str, Any] | None) -> "Members | None":
        """The stage that a head's metadata tell of."""
        if stored is None:
            return None
        weights = stored.get("weights")
        return cls(stored.get("average", "logits"), None if weights is None else tuple(map(float, weights)))

    def to_metadata(self) -> dict[str, Any]:
        """What a head's metadata tell of it."""
        return {"average": self.average} | ({} if self.weights is None else {"weights": list(self.weights)})

    @property
    def count(self) -> int | None:
        """M; none where any number will do."""
        return None if self.weights is None else len(self.weights)

    def shares(self, m: int) -> NDArray[np.float64]:
        """The weight of each of `m` members, `[M]`."""
        return np.full(m, 1 / m) if self.weights is None else np.asarray(self.weights)

    def apply(self, logits: NDArray[Any], mask: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
        """One row of logits, float64 `[n, K]`, from those of the members `[n, M, K]`."""
        z = np.asarray(logits, np.float64)
        gone = np.asarray(np.isneginf(z).any(axis=1, keepdims=True))
        if mask is not None:
            gone |= ~mask[:, None, :]
        shares = self.shares(z.shape[1])[:, None]
        if self.average == "logits":
            return np.asarray(np.where(gone[:, 0], -np.inf, (np.where(gone, 0, z) * shares).sum(axis=1)))
        with np.errstate(divide="ignore"):
            logs = log_softmax(np.where(gone, -np.inf, z)) + np.log(shares)
        highest = np.maximum(logs.max(axis=1, keepdims=True), np.finfo(np.float64).min)
        with np.errstate(divide="ignore"):
            return np.asarray(highest[:, 0] + np.log(np.exp(logs - highest).sum(axis=1)))


def log_softmax(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-probabilities of `z` `[..., K]`; -inf throughout where no class is left."""
    highest = np.maximum(z.max(axis=-1, keepdims=True), np.finfo(np.float64).min)
    total = np.maximum(np.exp(z - highest).sum(axis=-1, keepdims=True), 1)
    return np.asarray(z - highest - np.log(total))
