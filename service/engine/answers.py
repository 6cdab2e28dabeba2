"""What a head answered: arrays, their shares, and what is derived from them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from service.engine.rows import Arrays

Made = TypeVar("Made")


class Batch:
    """What a head said of all rows of a batch, and what is made of it for all of them together.

    Attributes:
        arrays: the head's outputs by name, each `[N, ...]`.
        of_single_rows: every request in it is one row.
    """

    __slots__ = ("arrays", "made", "of_single_rows")

    def __init__(self, arrays: Arrays, *, of_single_rows: bool) -> None:
        self.arrays = arrays
        self.of_single_rows = of_single_rows
        self.made: dict[Callable[[Arrays], Any], Any] = {}

    def once(self, make: "Callable[[Arrays], Made]") -> "Made":
        """What `make` makes of the arrays; made for the first who asks, the same for the others."""
        if make not in self.made:
            self.made[make] = make(self.arrays)
        made: Made = self.made[make]
        return made


class Part(Mapping[str, NDArray[Any]]):
    """One request's share of a batch: output name to the rows from `start` to `stop`."""

    __slots__ = ("batch", "start", "stop")

    def __init__(self, batch: Batch, start: int, stop: int) -> None:
        self.batch = batch
        self.start = start
        self.stop = stop

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.batch.arrays[name][self.start : self.stop]

    def __iter__(self) -> Iterator[str]:
        return iter(self.batch.arrays)

    def __len__(self) -> int:
        return len(self.batch.arrays)


class Answers:
    """What a head said of N rows; the rest is derived here, once, when asked for.

    Attributes:
        arrays: the head's outputs by name, each `[N, ...]`.
    """

    __slots__ = ("arrays",)

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays

    def prediction(self) -> NDArray[np.int64]:
        """The best class, int64 `[N]`; -1 where no class is left. Ranked in float64, before the temperature."""
        scores = self.arrays["scores"]
        best: NDArray[np.int64] = scores.argmax(axis=1)
        best[np.isneginf(scores.max(axis=1))] = -1
        return best

    def confidence(self) -> NDArray[np.float32]:
        """The largest probability, float32 `[N]`; 0 where no class is left."""
        return np.asarray(self.arrays["probabilities"].max(axis=1))

    def entropy(self) -> NDArray[np.float32]:
        """Shannon entropy in nats, float32 `[N]`, summed in float64; 0 log 0 is 0."""
        p = self.arrays["probabilities"].astype(np.float64)
        log_p = np.where(p > 0, self.arrays["log_probabilities"], 0.0)
        # + 0.0 turns the -0.0 of a certain row into 0.0
        return np.asarray(-(p * log_p).sum(axis=1) + 0.0, np.float32)

    def logsumexp(self) -> NDArray[np.float32]:
        """Logarithm of the sum of exp(logit / T) over the allowed classes, float32 `[N]`; -inf where none is left."""
        return np.asarray(self.arrays["logsumexp"][:, 0])

    def top(self, k: int) -> list[NDArray[np.int64]]:
        """The best classes of each row, best first: at most k, and none that may not be chosen."""
        scores = self.arrays["scores"]
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
