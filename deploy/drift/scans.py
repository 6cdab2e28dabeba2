"""Scans of handwritten digits, clean ones and noisy ones, in a drawn order: `digits.npz`, which `make.py` made."""

from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

DIGITS: Final = Path(__file__).with_name("digits.npz")


class Sheet(NamedTuple):
    """Scans that come as one request: logits `[n, 10]`, and which digits they are, `[n]`."""

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]


class Scanner:
    """Gives scans in a drawn order; when all were given, in another."""

    def __init__(self, logits: NDArray[Any], labels: NDArray[Any], seed: int = 0) -> None:
        self.logits, self.labels = logits.astype(np.float32), labels.astype(np.int64)
        self.random = np.random.default_rng(seed)
        self.order = np.empty(0, np.int64)

    def sheet(self, n: int) -> Sheet:
        """The next `n` scans."""
        while len(self.order) < n:
            self.order = np.concatenate([self.order, self.random.permutation(len(self.labels))])
        chosen, self.order = self.order[:n], self.order[n:]
        return Sheet(self.logits[chosen], self.labels[chosen])


def scanners() -> tuple[Scanner, Scanner]:
    """A clean scanner, and one that has got dirty."""
    with np.load(DIGITS) as digits:
        clean = Scanner(digits["logits"], digits["labels"])
        return clean, Scanner(digits["noisy_logits"], digits["noisy_labels"])
