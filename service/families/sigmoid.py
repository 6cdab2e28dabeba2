"""Sigmoid: each class on its own, for labels that may come together."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from service.families.family import ONE_CLASS, Answers, Family, Floats, distributed


class Sigmoid(Family):
    """p = 1 / (1 + exp(-x)); H is the sum of the classes' Shannon entropies, the loss that of their cross-entropies."""

    name = "sigmoid"
    use = (
        "Any number of the classes may be right, none of them too: tags, findings, attributes. "
        "Each class has its own probability, scale, bias and threshold, and a mask takes classes away without changing "
        "the others. "
        "Do not take it where exactly one class is right: the probabilities do not add up to 1."
    )
    shifted: ClassVar[bool] = False
    chooses_one: ClassVar[bool] = False
    made_of: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **{name: made for name, made in ONE_CLASS.items() if name != "prediction_set"},
        "prediction": ("probabilities", "scores"),
        "entropy": ("log_probabilities",),
    }

    def distribution(self, x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        e = np.exp(-np.abs(x))
        return np.where(x < 0, e, 1) / (1 + e), np.minimum(x, 0) - np.log1p(e)

    def with_prior(self, x: Floats, shift: Floats) -> dict[str, NDArray[Any]]:
        """The log-odds shift."""
        x = np.where(x > -np.inf, x + shift, -np.inf)
        return distributed(*self.distribution(x), x)

    def entropies(self, p: Floats) -> Floats:
        q = 1 - p
        terms = p * np.log(np.where(p > 0, p, 1)) + q * np.log(np.where(q > 0, q, 1))
        return np.asarray(-terms.sum(axis=-1) + 0.0)

    def sensitivities(self, p: Floats) -> Floats:
        return np.asarray(p * (1 - p))

    def class_losses(self, x: Floats, y: Floats) -> Floats:
        """The binary cross-entropy of each class, `[..., K]`; 0 where it is not allowed."""
        allowed = x > -np.inf
        z = np.where(allowed, x, 0)
        # the first difference is exact where the loss is small
        terms = (np.maximum(z, 0) - y * z) + np.log1p(np.exp(-np.abs(z)))
        return np.asarray(np.where(allowed, terms, 0))

    def losses(self, x: Floats, y: Floats) -> Floats:
        """The binary cross-entropies, summed over the classes that are allowed."""
        return np.asarray(self.class_losses(x, y).sum(axis=-1))

    def product(self, x: Floats, upstream: Floats) -> Floats:
        e = np.exp(-np.abs(x))
        return np.asarray(upstream * (e / (1 + e) ** 2))

    def log_product(self, x: Floats, upstream: Floats) -> Floats:
        q, _ = self.distribution(-x)
        return np.asarray(np.where(x > -np.inf, upstream * q, 0))

    def prediction(self, arrays: Answers) -> NDArray[Any]:
        """The classes at or above their `thresholds` `[K]`, bool `[N, K]`; never one that may not be chosen."""
        thresholds = arrays["thresholds"].astype(np.float32)
        return np.asarray((arrays["probabilities"] >= thresholds) & (arrays["scores"] > -np.inf))

    def entropy(self, arrays: Answers) -> NDArray[np.float32]:
        """The sum of the classes' Shannon entropies in nats, float32 `[N]`."""
        log_p = arrays["log_probabilities"].astype(np.float64)
        q = -np.expm1(log_p)
        terms = np.exp(log_p) * np.where(log_p > -np.inf, log_p, 0) + q * np.log(np.where(q > 0, q, 1))
        return np.asarray(-terms.sum(axis=1) + 0.0, np.float32)
