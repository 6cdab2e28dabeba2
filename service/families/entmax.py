"""Entmax between softmax and sparsemax: Peters, Niculae and Martins 2019."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.errors import UsedWrongly
from service.families.family import Family, Floats, logarithms
from service.families.sparsemax import ranked, shifted

MOST_STEPS: Final = 200


class Entmax(Family):
    """p = max((alpha - 1) x - tau, 0)^(1 / (alpha - 1)).

    Attributes:
        alpha: above 1 and below 2; 1 would be the softmax, 2 the sparsemax.
    """

    name = "entmax"

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha
        self.use = (
            f"Between softmax and sparsemax, at alpha {alpha:g}: the nearer to 2, the more classes get exactly 0. "
            "Take it where alpha was chosen while training; else entmax15 is the same trade at a lower cost. "
            "A likelihood is infinite wherever the truth got 0, so judge it by its Brier score."
        )

    @classmethod
    def of(cls, alpha: float | None) -> "Entmax":
        """Entmax at `alpha`.

        Raises:
            UsedWrongly: alpha is missing, or not between 1 and 2.
        """
        if alpha is None or not 1 < alpha < 2:
            raise UsedWrongly(f"the alpha of entmax is {alpha}; expected a number above 1 and below 2")
        return cls(alpha)

    def distribution(self, x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """By Newton's steps from the left, which never overshoot, until they end."""
        power = 1 / (self.alpha - 1)
        s = shifted(x) * (self.alpha - 1)
        tau = np.full(s[..., :1].shape, -1, s.dtype)
        for _ in range(MOST_STEPS):
            r = np.maximum(s - tau, 0)
            slope = power * np.power(r, power - 1, where=r > 0, out=np.zeros_like(r)).sum(axis=-1, keepdims=True)
            step = ((r**power).sum(axis=-1, keepdims=True) - 1) / np.where(slope > 0, slope, 1)
            step = np.where((slope > 0) & (step > 0), step, 0)
            if not (step > np.finfo(s.dtype).eps).any():
                break
            tau = tau + step
        p = np.maximum(s - tau, 0) ** power
        return p, logarithms(p)

    def entropies(self, p: Floats) -> Floats:
        a = self.alpha
        return np.asarray((p.sum(axis=-1) - (p**a).sum(axis=-1)) / (a * (a - 1)))

    def sensitivities(self, p: Floats) -> Floats:
        return np.asarray(np.where(p > 0, p, 1) ** (2 - self.alpha) * (p > 0))


class Entmax15(Entmax):
    """Entmax at alpha 1.5, whose threshold has a closed form."""

    name = "entmax15"

    def __init__(self) -> None:
        super().__init__(1.5)
        self.use = (
            "Smooth as the softmax near the top, and exactly 0 far behind it. "
            "At its own temperature its Brier score is often as good as the softmax's or better, with a handful of "
            "classes left; the likelihood is infinite wherever the truth got 0. "
            "Its temperature is about three times the softmax's on logits that were trained with a softmax."
        )

    def distribution(self, x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """max(x/2 - tau, 0)^2; tau is the largest m - sqrt(1/j - v) that the j best stand above."""
        s, ranks = ranked(x)
        s = s / 2
        with np.errstate(invalid="ignore"):
            m = s.cumsum(axis=-1) / ranks
            v = (s * s).cumsum(axis=-1) / ranks - m * m
            t = m - np.sqrt(np.maximum(1 / ranks - v, 0))
            tau = np.where(s > np.fmax(t, -1), t, -1).max(axis=-1, keepdims=True)
        p = np.maximum(shifted(x) / 2 - tau, 0) ** 2
        return p, logarithms(p)
