"""Masked softmax: one class of K, each probability above 0 unless its class is masked."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.families.family import Family, Floats, distributed


class Softmax(Family):
    """p = exp(x) / sum exp(x); H is Shannon's entropy, and the loss the cross-entropy."""

    name = "softmax"
    use = (
        "One class of K is the right one, and none is ever ruled out. "
        "Its loss is the cross-entropy, so that it suits whatever was trained with that. "
        "Take it unless you have a reason to take another."
    )

    def distribution(self, x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        highest = x.max(axis=-1, keepdims=True)
        z = x - np.where(highest > -np.inf, highest, 0)
        e = np.exp(z)
        total = np.maximum(e.sum(axis=-1, keepdims=True), 1)  # the largest z is 0
        return e / total, z - np.log(total)

    def with_prior(self, x: Floats, shift: Floats) -> dict[str, NDArray[Any]]:
        """From the scores: p may have no digits left."""
        return distributed(*self.distribution(x + shift), x + shift)

    def entropies(self, p: Floats) -> Floats:
        return np.asarray(-(p * np.log(np.where(p > 0, p, 1))).sum(axis=-1) + 0.0)

    def sensitivities(self, p: Floats) -> Floats:
        return p

    def losses(self, x: Floats, y: Floats) -> Floats:
        """The cross-entropy, from the logarithms: what p would round away is still there."""
        _, log_p = self.distribution(x)
        return np.asarray(-(y * np.where(y > 0, log_p, 0)).sum(axis=-1) + 0.0)

    def log_product(self, x: Floats, upstream: Floats) -> Floats:
        p, _ = self.distribution(x)
        allowed = np.where(x > -np.inf, upstream, 0)
        return np.asarray(allowed - p * allowed.sum(axis=-1, keepdims=True))
