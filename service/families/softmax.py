"""Masked softmax: one class of K, each probability above 0 unless its class is masked."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]

# What can be asked for, and the graph outputs that it is made of.
MADE_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "probabilities": ("probabilities",),
    "log_probabilities": ("log_probabilities",),
    "prediction": ("scores",),
    "confidence": ("probabilities",),
    "entropy": ("probabilities", "log_probabilities"),
    "logsumexp": ("logsumexp",),
    "top": ("scores", "probabilities"),
    "prediction_set": ("log_probabilities",),
}


def distribution(scores: NDArray[Any], temperature: Any) -> tuple[NDArray[Any], NDArray[Any], Any]:
    """What a row's head answers: probabilities, log-probabilities and logsumexp of the allowed `scores` `[k]` over T.

    In the float that they come in: what the graph is held against.
    """
    highest = scores.max()
    z = (scores - highest) / temperature
    e = np.exp(z)
    total = e.sum()
    return e / total, z - np.log(total), highest / temperature + np.log(total)


def prediction(arrays: Arrays) -> NDArray[np.int64]:
    """The best class, int64 `[N]`; -1 where no class is left. Ranked in float64, before the temperature."""
    scores = arrays["scores"]
    best: NDArray[np.int64] = scores.argmax(axis=1)
    best[np.isneginf(scores.max(axis=1))] = -1
    return best


def confidence(arrays: Arrays) -> NDArray[np.float32]:
    """The largest probability, float32 `[N]`; 0 where no class is left."""
    return np.asarray(arrays["probabilities"].max(axis=1))


def entropy(arrays: Arrays) -> NDArray[np.float32]:
    """Shannon entropy in nats, float32 `[N]`, summed in float64; 0 log 0 is 0."""
    p = arrays["probabilities"].astype(np.float64)
    log_p = np.where(p > 0, arrays["log_probabilities"], 0.0)
    # + 0.0 turns the -0.0 of a certain row into 0.0
    return np.asarray(-(p * log_p).sum(axis=1) + 0.0, np.float32)


def logsumexp(arrays: Arrays) -> NDArray[np.float32]:
    """Logarithm of the sum of exp(logit / T) over the allowed classes, float32 `[N]`; -inf where none is left."""
    return np.asarray(arrays["logsumexp"][:, 0])


def top(arrays: Arrays, k: int) -> list[NDArray[np.int64]]:
    """The best classes of each row, best first: at most k, and none that may not be chosen."""
    scores = arrays["scores"]
    k = min(k, scores.shape[1])
    # equal scores keep the order of the classes, as argmax does
    if k < scores.shape[1]:
        edge = np.partition(scores, -k, axis=1)[:, -k, np.newaxis]
        candidates = [np.flatnonzero(row) for row in scores >= edge]
    else:
        candidates = [np.arange(scores.shape[1])] * len(scores)
    best = []
    for row, some in zip(scores, candidates, strict=True):
        ranked = some[np.argsort(-row[some], kind="stable")][:k]
        best.append(ranked[row[ranked] > -np.inf])
    return best
