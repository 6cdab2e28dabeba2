"""Logits with a matrix of labels to fit on: small ones made here, and those of the published sets."""

import numpy as np
from scipy.special import expit

from service.datasets import files
from service.datasets.dataset import Dataset, Floats
from service.datasets.multilabel import MultiLabel
from tests.calibration.conftest import published

LEAST = 1e-15  # of 1 - p


def tagged(n: int = 2000, k: int = 4, seed: int = 0, masked: bool = False) -> MultiLabel:
    """Labels drawn from sigmoid(z), and logits that a scale of 0.5 and a bias a class bring back to z."""
    random = np.random.default_rng(seed)
    z = random.standard_normal((n, k)) * 2 - 0.5
    labels = random.random((n, k)) < expit(z)
    mask = random.random((n, k)) < 0.7 if masked else None
    if mask is not None:
        labels &= mask
    logits = (2 * (z - np.linspace(-1, 1, k))).astype(np.float32)
    return MultiLabel.from_arrays(logits, labels, mask)


def one_against_the_rest(data: Dataset) -> MultiLabel:
    """Each class as a label of its own: logits log p - log(1 - p) of the softmax."""
    p: Floats = np.exp(data.logits - data.logits.max(axis=1, keepdims=True), dtype=np.float64)
    p /= p.sum(axis=1, keepdims=True)
    log_p = data.logits - np.logaddexp.reduce(data.logits, axis=1, keepdims=True, dtype=np.float64)
    labels = np.eye(data.n_classes)[data.labels]
    return MultiLabel.from_arrays(log_p - np.log(np.maximum(1 - p, LEAST)), labels)


def published_labels(name: str) -> tuple[MultiLabel, MultiLabel]:
    """The validation and the test half of a published set."""
    parts = files.load(published() / f"{name}.npz")
    return one_against_the_rest(parts["val"]), one_against_the_rest(parts["test"])
