"""The newest answers of each model, for what can be said before their labels come. In memory, bounded."""

from collections import deque
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.live.reference import Reference
from service.live.shares import class_shares

ROWS: Final = 2000
LEAST: Final = 500  # before which their estimates scatter as much as they would tell
MOST_NUMBERS: Final = 400_000
"""Rows of many classes are kept in smaller number: the shares are found again and again."""


class Newest:
    """The probabilities of the newest rows of one model."""

    def __init__(self) -> None:
        self.parts: deque[NDArray[np.float32]] = deque()
        self.n = 0
        self.is_new = False

    def __repr__(self) -> str:
        return f"<Newest {self.n} rows>"

    def add(self, p: NDArray[np.float32]) -> None:
        """Keep rows `[n, K]`, and as few of the older ones as will do."""
        k = p.shape[1]
        most = min(ROWS, MOST_NUMBERS // k)
        if not len(p) or not most:
            return
        if self.parts and self.parts[0].shape[1] != k:  # of a head that serves any number of classes
            self.parts.clear()
            self.n = 0
        self.parts.append(p[-most:])
        self.n += len(self.parts[-1])
        while self.n - len(self.parts[0]) >= most:
            self.n -= len(self.parts.popleft())
        self.is_new = self.n >= min(LEAST, most)

    def shares(self, reference: Reference) -> dict[str, Any]:
        """What they say of the shares of the classes."""
        self.is_new = False
        most = min(ROWS, MOST_NUMBERS // self.parts[0].shape[1])
        return class_shares(np.concatenate(self.parts)[-most:].astype(np.float64), reference)
