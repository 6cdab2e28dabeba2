"""One pass over the rows: what every metric needs of them, a few numbers a row, never `[n,K]`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from service.datasets.dataset import Bools, Chunk, Dataset, Floats, Ints, usable_classes

N_BINS: Final = 15
N_BLOCKS: Final = 50
"""Random blocks of rows, over which the bootstrap draws what is summed over classes."""

Predict = Callable[[Chunk], Floats]
"""A chunk to its log-probabilities, float64 `[m,K]`."""


@dataclass(frozen=True)
class Classwise:
    """Sums by block of rows, class and equal-width bin of the class's probability, float64 `[50,K,15]` each.

    Attributes:
        weight: of the rows in the bin.
        probability: weighted sum of the probabilities.
        hits: weight of the rows that belong to the class.
    """

    weight: Floats
    probability: Floats
    hits: Floats


@dataclass(frozen=True)
class Scores:
    """Of n rows, `[n]` each, and their classwise sums.

    Attributes:
        confidence: the largest probability.
        correct: whether the class with the largest probability is the label; the first one of equals.
        nll: minus the log-probability of the label.
        brier: sum over the classes of (p - y)^2, in [0,2].
        weights: as in the data.
        labels: as in the data.
        predictions: the class with the largest probability.
        loss: the family's own loss, where it was measured.
    """

    confidence: Floats
    correct: Bools
    nll: Floats
    brier: Floats
    weights: Floats
    labels: Ints
    predictions: Ints
    classwise: Classwise
    loss: Floats | None = None


class Answers(NamedTuple):
    """What the rows of a chunk come to: probabilities `[m,K]`, and `[m]` each as in `Scores`."""

    probabilities: Floats
    confidence: Floats
    correct: Bools
    nll: Floats
    brier: Floats
    predictions: Ints
    loss: Floats | None = None


def score(data: Dataset, predict: Predict) -> Scores:
    """Measure the rows of `data` under `predict`."""
    return collect(data, lambda chunk: from_logs(predict(chunk), chunk.labels))


def in_order(logs: Floats) -> Callable[[Chunk], Answers]:
    """Answers from log-probabilities `[n,K]` of the rows that the chunks go through, one chunk after the other."""
    start = 0

    def of(chunk: Chunk) -> Answers:
        nonlocal start
        start += len(chunk.labels)
        return from_logs(logs[start - len(chunk.labels) : start], chunk.labels)

    return of


def from_logs(logs: Floats, labels: Ints) -> Answers:
    """Of log-probabilities `[m,K]`."""
    p = np.exp(logs)
    prediction = logs.argmax(axis=1)
    own = np.arange(len(p)), labels
    brier = np.einsum("ij,ij->i", p, p) - 2 * p[own] + 1
    return Answers(p, p[own[0], prediction], prediction == labels, -logs[own], brier, prediction.astype(np.int64))


def collect(data: Dataset, answer: Callable[[Chunk], Answers]) -> Scores:
    """Put together what the rows of `data` come to, chunk by chunk."""
    sums = Classwise(*(np.zeros((N_BLOCKS, data.n_classes, N_BINS)) for _ in range(3)))
    blocks = np.random.default_rng(0)
    rows: list[tuple[Any, ...]] = []
    for chunk in data.chunks():
        p, *columns = answer(chunk)
        # of members, a class has a score where all of them have one
        logits = chunk.logits if chunk.logits.ndim == 2 else chunk.logits.min(axis=1)
        allowed = usable_classes(logits, chunk.mask)
        for block, members in _blocks(blocks.integers(0, N_BLOCKS, len(p))):
            add(sums, block, p[members], allowed[members], chunk.labels[members], chunk.weights[members])
        rows.append(tuple(columns))
    confidence, correct, nll, brier, predictions, loss = map(joined, zip(*rows, strict=True))
    weights = np.ones(data.n_rows) if data.weights is None else data.weights
    return Scores(confidence, correct, nll, brier, weights, data.labels, predictions, sums, loss)


def joined(parts: tuple[Any, ...]) -> Any:
    """One array of those of all chunks; none where there are none."""
    return None if parts[0] is None else np.concatenate(parts)


def _blocks(drawn: Ints) -> Iterator[tuple[int, Ints]]:
    """The rows of each block that occurs."""
    order = np.argsort(drawn, kind="stable")
    starts = np.searchsorted(drawn[order], np.arange(N_BLOCKS + 1))
    return ((b, order[starts[b] : starts[b + 1]]) for b in range(N_BLOCKS) if starts[b] < starts[b + 1])


def add(sums: Classwise, block: int, p: Floats, allowed: Bools, labels: Ints, weights: Floats) -> None:
    """Bins are (lo, hi], as everywhere. What is not allowed adds nothing; of a sparse head what got 0 does."""
    k = p.shape[1]
    cells = (np.ceil(p * N_BINS).astype(np.int64) - 1).clip(0) + np.arange(k) * N_BINS
    flat, every = cells.ravel(), np.where(allowed, weights[:, None], 0).ravel()
    shape = (k, N_BINS)
    sums.weight[block] += np.bincount(flat, every, k * N_BINS).reshape(shape)
    sums.probability[block] += np.bincount(flat, every * p.ravel(), k * N_BINS).reshape(shape)
    sums.hits[block] += np.bincount(cells[np.arange(len(p)), labels], weights, k * N_BINS).reshape(shape)
