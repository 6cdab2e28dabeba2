"""Make models/digits/1: a small classifier of handwritten digits, its logits, and the calibrated head they give.

    python models/digits/make.py

Of the 1,797 digits that scikit-learn brings (8 x 8 pixels), a third trains the classifier, a third fits the
calibrator and a third measures it. The classifier is a perceptron of one hidden layer that is trained for too long,
and so is surer of itself than it should be.
"""

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from service.cli import main

LABELS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def logits_of(classifier: MLPClassifier, pixels: np.ndarray) -> np.ndarray:
    """What goes into the classifier's softmax, float32 [n, 10]."""
    hidden = np.maximum(pixels @ classifier.coefs_[0] + classifier.intercepts_[0], 0)
    return (hidden @ classifier.coefs_[1] + classifier.intercepts_[1]).astype(np.float32)


class Digits(NamedTuple):
    """The classifier, and the digits that it has not seen: pixels `[n, 64]` and classes `[n]`."""

    classifier: MLPClassifier
    fit: np.ndarray
    fit_digits: np.ndarray
    test: np.ndarray
    test_digits: np.ndarray


def train() -> Digits:
    """Train on a third."""
    pixels, digits = load_digits(return_X_y=True)
    pixels = pixels / 16 + np.random.default_rng(0).normal(scale=0.2, size=pixels.shape)  # noise: else all is right
    pixels, rest, digits, rest_digits = train_test_split(pixels, digits, test_size=2 / 3, random_state=0)
    fit, test, fit_digits, test_digits = train_test_split(rest, rest_digits, test_size=1 / 2, random_state=0)
    classifier = MLPClassifier((64,), alpha=1e-6, max_iter=3000, tol=1e-7, random_state=0).fit(pixels, digits)
    return Digits(classifier, fit, fit_digits, test, test_digits)


def make(models: Path) -> int:
    """Train, write the logits, fit and ship into `models`; the exit code of `calibrant fit`."""
    classifier, fit, fit_digits, test, test_digits = train()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "digits.npz"
        np.savez(
            data,
            val_logits=logits_of(classifier, fit),
            val_labels=fit_digits,
            test_logits=logits_of(classifier, test),
            test_labels=test_digits,
            classes=np.array(LABELS),
        )
        return main(["fit", "--data", str(data), "--name", "digits", "--models", str(models)])


if __name__ == "__main__":
    raise SystemExit(make(Path(__file__).parents[1]))
