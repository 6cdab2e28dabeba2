"""Sparsemax, Martins and Astudillo 2016: the point of the simplex that is nearest to the scores."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.families.family import Family, Floats, logarithms


class Sparsemax(Family):
    """p = max(x - tau, 0); H = (1 - sum p^2) / 2."""

    name = "sparsemax"
    use = (
        "Classes that are far behind get exactly 0, and a class that leads by T or more gets exactly 1. "
        "Take it where a short list of candidates matters more than a likelihood, which is infinite wherever the truth "
        "got 0. "
        "It wants its own temperature, about five times the softmax's on logits that were trained with a softmax."
    )

    def distribution(self, x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """max(x - tau, 0), where tau is the largest of (sum of the j best - 1) / j."""
        s, ranks = ranked(x)
        with np.errstate(invalid="ignore"):
            tau = np.where(s > -1, (s.cumsum(axis=-1) - 1) / ranks, -1).max(axis=-1, keepdims=True)
        p = np.maximum(shifted(x) - tau, 0)
        return p, logarithms(p)

    def entropies(self, p: Floats) -> Floats:
        total = p.sum(axis=-1)
        return np.asarray((total - (p * p).sum(axis=-1)) / 2)

    def sensitivities(self, p: Floats) -> Floats:
        return np.asarray(p > 0, np.float64)


def shifted(x: NDArray[Any]) -> NDArray[Any]:
    """x less the row's maximum, which is 0 then; -inf in a row without a class."""
    highest = x.max(axis=-1, keepdims=True)
    return np.asarray(x - np.where(highest > -np.inf, highest, 0))


def ranked(x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """x less the row's maximum, from best to worst, and the ranks 1 to K."""
    return np.sort(shifted(x), axis=-1)[..., ::-1], np.arange(1, x.shape[-1] + 1)
