"""A test martingale over bets and over the time at which they start.

Labels come in blocks. At the start of block m each of B bets gets the share w(m)/B, w(m) = R(m-1) - R(m) and
R(m) = 1/log2(m + 3), and every label multiplies what a bet has by its e-value. E, all that the bets have and R(m),
what has not been given out, starts from 1 and is a supermartingale under the null: P(E ever reaches 100) is at most 1 %
(Ville 1939), whenever and however often one looks, and a change at any time is seen.

Inside a block only the sum of the logarithms counts, and these are whole numbers: no order of the labels, and no way
to share them out, changes E by a bit.
"""

from typing import Any, Final

import numpy as np

from service.datasets.dataset import Floats, Ints
from service.live.bets import UNIT

BLOCK: Final = 100
"""Labels of a block, at least: a stream that gets some of the labels starts a block with those of all."""
MOST_CAPITAL: Final = 1e150
"""More is given away: it keeps the numbers finite, and takes nothing from the promise."""
MOST_GROWTH: Final = 300.0
"""Nats, inside a block; for the same reason."""


def unstarted(block: int) -> float:
    """R(m): the share of the capital that no bet has got after the start of block m; 1 before the first."""
    return 1.0 if block < 0 else float(1 / np.log2(block + 3))


class Stream:
    """The capital of B bets.

    Attributes:
        n: labels that were bet on.
        block: the number of the open block, from 0.
        in_block: labels in it.
        e: the evidence against the null.
    """

    def __init__(self, n_bets: int, start: tuple[int, int] = (0, 0)) -> None:
        """`start` is the number of the label that comes first, and the time, in ns, since which it may."""
        self.n = self.block = self.in_block = 0
        self._capital = np.full(n_bets, (1 - unstarted(0)) / n_bets)
        self._sums = np.zeros(n_bets, np.int64)
        self._cusum = np.zeros(n_bets, np.int64)
        self._since = np.zeros((n_bets, 2), np.int64)
        self._start = start
        self.e = self._total()

    @property
    def since(self) -> tuple[int, int]:
        """Since when the leading bet gains: the block in which its CUSUM last left 0 (Page 1954).

        The number of the block's first label, and the time, in ns, at which the block before it ended.
        """
        best = int(self._grown(self._sums[None])[0].argmax())
        label, ns = self._since[best].tolist() if self._cusum[best] > 0 else self._start
        return label, ns

    def add(self, logs: Ints) -> Floats:
        """Bet on labels of the open block; `logs` `[n,B]` of `bets.log_steps`. E after each of them, `[n]`."""
        grown = self._sums + np.cumsum(logs, axis=0)
        if len(logs):
            self._sums = grown[-1]
        self.n += len(logs)
        self.in_block += len(logs)
        path = self._grown(grown).sum(axis=1) + unstarted(self.block)
        self.e = float(path[-1]) if len(path) else self.e
        return np.asarray(path)

    def close(self, next_label: int, at_ns: int, fewest: int = BLOCK) -> None:
        """Start the next block, if the open one has `fewest` labels: with the label of that number, at that time."""
        if self.in_block < fewest:
            return
        fallen = self._cusum <= 0
        self._since[fallen] = self._start
        self._cusum = np.where(fallen, 0, self._cusum) + self._sums
        started = (unstarted(self.block) - unstarted(self.block + 1)) / len(self._capital)
        self._capital = self._grown(self._sums[None])[0] + started
        self._sums = np.zeros_like(self._sums)
        self.block, self.in_block, self._start = self.block + 1, 0, (next_label, at_ns)
        self.e = self._total()

    def _total(self) -> float:
        return float(self._grown(self._sums[None]).sum(axis=1)[0] + unstarted(self.block))

    def _grown(self, sums: Ints) -> Floats:
        """What the bets have after sums of logarithms in this block, `[n,B]`."""
        growth = np.exp(np.minimum(sums / UNIT, MOST_GROWTH))
        return np.asarray(np.minimum(self._capital * growth, MOST_CAPITAL))

    def share(self) -> "Stream":
        """A stream of the same capital for some of the labels of the open block, to be merged."""
        other = Stream.restore(self.state())
        other.n = other.in_block = 0
        other._sums = np.zeros_like(self._sums)
        return other

    def merge(self, share: "Stream") -> None:
        """Add the labels that a share was given."""
        self._sums = self._sums + share._sums
        self.n += share.n
        self.in_block += share.in_block
        self.e = self._total()

    def state(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "n": self.n,
            "block": self.block,
            "in_block": self.in_block,
            "start": list(self._start),
            "capital": self._capital.tolist(),
            "sums": self._sums.tolist(),
            "cusum": self._cusum.tolist(),
            "since": self._since.tolist(),
        }

    @classmethod
    def restore(cls, state: dict[str, Any]) -> "Stream":
        """Read back what `state` wrote."""
        stream = cls(len(state["capital"]))
        stream.n, stream.block, stream.in_block = state["n"], state["block"], state["in_block"]
        label, ns = state["start"]
        stream._start = (label, ns)
        stream._capital = np.array(state["capital"], np.float64)
        stream._sums, stream._cusum, stream._since = (
            np.array(state[name], np.int64) for name in ("sums", "cusum", "since")
        )
        stream.e = stream._total()
        return stream
