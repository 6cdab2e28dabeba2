"""A watch: one stream, its largest evidence, and which labels it bets on."""

from typing import Any

import numpy as np

from service.datasets.dataset import Floats, Ints
from service.live.latch import Latch
from service.live.records import Records
from service.live.stream import Stream


class Watch:
    """A stream and its latch.

    Attributes:
        scope: what it watches: `all`, `class 3`, `class bias`, `group NAME`, `prediction sets`.
        null: what it holds against the labels.
        stream: its capital.
        latch: what was seen.
    """

    def __init__(self, scope: str, null: str, stream: Stream, latch: Latch | None = None) -> None:
        self.scope, self.null, self.stream = scope, null, stream
        self.latch = latch or Latch()

    def bet(self, logs: Ints, rows: Records, weight: float = 1.0) -> Floats:
        """Bet on `rows`; E after each of them, `[n]`. `weight` is its share in the mixture that it is a part of."""
        path = self.stream.add(logs)
        self.latch.see(path, rows["index"], rows["labelled_ns"], weight)
        return path

    def merge(self, share: "Watch", label: int, at_ns: int, weight: float = 1.0) -> None:
        """Add the labels that a share was given; the last of all has that number and time."""
        self.stream.merge(share.stream)
        self.latch.see(np.array([self.stream.e]), np.array([label]), np.array([at_ns]), weight)

    def report(self) -> dict[str, Any]:
        """As an entry of the answer's `monitors`."""
        stream = self.stream
        return {"scope": self.scope, "null": self.null, **self.latch.report(stream.e, stream.n, stream.since)}

    def state(self) -> dict[str, Any]:
        """As JSON."""
        return {"stream": self.stream.state(), "latch": self.latch.state()}

    def load(self, state: dict[str, Any]) -> None:
        """Take what `state` wrote."""
        self.stream, self.latch = Stream.restore(state["stream"]), Latch(**state["latch"])
