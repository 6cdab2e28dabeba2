"""Whether the labels know something of the logits: asked before anything is fitted to them."""

import math
from typing import Final

import numpy as np

from service.datasets.dataset import Chunk, Dataset, Floats, usable_classes
from service.errors import FitError

LOGITS: Final = 100_000
"""About so many are looked at first, spread evenly over the rows; all of them where these are not enough."""
FEWEST_ROWS: Final = 1000
ERRORS: Final = 3.0
"""The labels must lie so many standard errors above chance."""
FEW_ROWS: Final = 30
"""With fewer, good labels often do not: it says nothing against them."""


def check(data: Dataset) -> float:
    """The typical deviation of a row's logits from their mean, after a test of the labels.

    The advantage of a row is its label's probability over what a label drawn from the label frequencies would get,
    under the softmax of the logits less each class's mean. For shuffled labels its mean is 0, whatever bias the
    logits have, and no single row can outweigh the others.

    Raises:
        FitError: one class only, every row right, or no advantage that so many rows could show.
    """
    step = data.n_rows // max(FEWEST_ROWS, LOGITS // data.n_classes)
    if step <= 1:
        return _check(data)
    try:
        return _check(data.take(slice(None, None, step)))
    except FitError:
        return _check(data)


def _check(data: Dataset) -> float:
    frequency = np.bincount(data.labels, data.weights, minlength=data.n_classes) / data.total_weight
    if np.count_nonzero(frequency) < 2:
        raise FitError(f"every label is {int(data.labels[0])}; expected labels of at least 2 classes")
    means = class_means(data)
    advantages = np.concatenate([_advantages(chunk, frequency, means) for chunk in data.chunks()])
    check_advantage(advantages, data)
    looks = [look(chunk) for chunk in data.chunks()]
    if all(right for _, right in looks):
        raise FitError(
            "every row is right, so the best temperature is 0 and every probability 1: "
            "expected held-out rows with some mistakes"
        )
    return math.sqrt(sum(squares for squares, _ in looks) / data.total_weight)


def class_means(data: Dataset) -> Floats:
    """The mean logit of each class, `[K]`, over the rows where it takes part."""
    sums, counts = np.zeros(data.n_classes), np.zeros(data.n_classes)
    for chunk in data.chunks():
        allowed = usable_classes(chunk.logits, chunk.mask)
        sums += chunk.weights @ np.where(allowed, chunk.logits, 0)
        counts += chunk.weights @ allowed
    return np.asarray(sums / np.maximum(counts, 1e-300))


def _advantages(chunk: Chunk, frequency: Floats, means: Floats) -> Floats:
    allowed = usable_classes(chunk.logits, chunk.mask)
    z = np.where(allowed, chunk.logits, -np.inf) - means
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    share = frequency * allowed
    return np.asarray(p[np.arange(len(p)), chunk.labels] - (p * share).sum(axis=1) / share.sum(axis=1))


def check_advantage(advantages: Floats, data: Dataset) -> None:
    mean = float(np.average(advantages, weights=data.weights))
    variance = float(np.average((advantages - mean) ** 2, weights=data.weights))
    error = math.sqrt(variance / data.effective_rows)
    if mean <= ERRORS * error:
        found = f"on average they are {mean:.2g} +- {error:.2g} more probable than chance"
        if data.n_rows < FEW_ROWS:
            raise FitError(
                f"{data.n_rows} rows are too few to tell these labels from shuffled ones: {found}, "
                f"expected {ERRORS:g} standard errors at least, for which it takes some 50 rows"
            )
        raise FitError(f"the labels look shuffled: {found}; expected {ERRORS:g} standard errors at least")


def look(chunk: Chunk) -> tuple[float, bool]:
    """The weighted sum of the rows' variances over the classes, and whether every row is right."""
    allowed = usable_classes(chunk.logits, chunk.mask)
    z = np.where(allowed, chunk.logits, 0).astype(np.float64)
    counts = allowed.sum(axis=1)
    centred = np.where(allowed, z - (z.sum(axis=1) / counts)[:, None], 0)
    highest = np.where(allowed, z, -np.inf).max(axis=1)
    right = bool((highest <= z[np.arange(len(z)), chunk.labels]).all())
    return float(chunk.weights @ ((centred**2).sum(axis=1) / counts)), right
