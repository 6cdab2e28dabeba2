"""A refit of the temperature on labels of a head that serves, and whether it is better on the labels after.

The shadow answers softmax(log p / f) where the head answers p. Its factor f is fitted at 100, 200, 400, ... labels, on
all of them so far, and judged only on labels after each fit; the bets of the guard go on across fits.

What a fit needs are sums over the rows on a grid of factors, in whole steps: no row is kept, and the state follows from
the labels in their order to the bit, however they are cut into updates.
"""

from dataclasses import asdict
from typing import Any, Final, NamedTuple

import numpy as np

from service.datasets.dataset import Floats, Ints
from service.live.guard import Guard
from service.live.records import RECORD, Records
from service.live.summary import Summary
from service.measures.reliability import Z

FIRST_FIT: Final = 100
"""Labels of the first fit; each later one has twice as many as the one before it."""
BLOCK: Final = 100
SCALE_BLOCKS: Final = 5
"""The newest blocks of a fit, whose largest possible loss the bets are measured by."""
FACTORS: Final = 2.0 ** (np.arange(24, -25, -1) / 8)
"""The grid, from 8 to 1/8."""
STEPS: Final = 2**24
MOST: Final = 1e6
"""Of one row's part in a sum."""
HALVINGS: Final = 60


class Labelled(NamedTuple):
    """Answers and their labels.

    Attributes:
        log_p: `[n,C]`, the log-probability of each of the classes that share a column.
        sizes: `[C]`, how many classes share a column: 1, but for what was not kept apart.
        columns: `[n]`, that of the label.
    """

    log_p: Floats
    sizes: Floats
    columns: Ints

    @classmethod
    def of(cls, log_p: Floats, sizes: Floats, columns: Ints) -> "Labelled":
        """The same with probabilities that sum to 1, which numbers in half precision need not."""
        return cls(temper(log_p, sizes, 1.0), sizes, columns)

    def part(self, start: int, stop: int) -> "Labelled":
        """Some of the rows."""
        return Labelled(self.log_p[start:stop], self.sizes, self.columns[start:stop])


def temper(log_p: Floats, sizes: Floats, factor: float) -> Floats:
    """log softmax(log p / factor), `[n,C]`; see `Labelled` for the columns."""
    z = log_p / factor
    z = z - z.max(axis=1, keepdims=True)
    return np.asarray(z - np.log((sizes * np.exp(z)).sum(axis=1, keepdims=True)))


def moments(rows: Labelled) -> tuple[Floats, Floats, Floats]:
    """At each factor of the grid, `[n,G]`: slope and curvature of the loss by beta = 1/factor; the largest loss.

    That is how far the shadow's log-probability of any class lies below the head's. A label that the head calls
    impossible has no slope.
    """
    beta = 1 / FACTORS[None, :, None]
    log_p = np.where(np.isneginf(rows.log_p), 0.0, rows.log_p)[:, None, :]
    weights = np.where(np.isneginf(rows.log_p), 0.0, rows.sizes)[:, None, :]
    highest = rows.log_p.max(axis=1)[:, None]
    e = weights * np.exp(beta * (log_p - highest[:, :, None]))
    total = e.sum(axis=2)
    mean = (e * log_p).sum(axis=2) / total
    variance = (e * log_p**2).sum(axis=2) / total - mean**2
    own = rows.log_p[np.arange(len(rows.columns)), rows.columns][:, None]
    possible = ~np.isneginf(own)
    slope = np.where(possible, mean - np.where(possible, own, 0.0), 0.0)
    beta = beta[:, :, 0]
    extreme = np.where(beta < 1, highest, np.where(weights[:, 0] > 0, log_p[:, 0], 0.0).min(axis=1)[:, None])
    largest = np.log(total) + beta * highest + (1 - beta) * extreme
    return slope, np.where(possible, np.maximum(variance, 0.0), 0.0), np.maximum(largest, 0.0)


def best_factor(slopes: Ints, curvatures: Ints) -> float:
    """Where the summed loss is least: the root of its slope by log beta, a cubic between two factors of the grid.

    The end of the grid where it lies beyond.
    """
    if slopes[0] >= 0:
        return float(FACTORS[0])
    if slopes[-1] <= 0:
        return float(FACTORS[-1])
    at = int((slopes > 0).argmax()) - 1
    x0, x1 = np.log(1 / FACTORS[at : at + 2]).tolist()
    (s0, s1), (c0, c1) = slopes[at : at + 2].tolist(), curvatures[at : at + 2].tolist()
    c0, c1 = c0 * np.exp(x0) * (x1 - x0), c1 * np.exp(x1) * (x1 - x0)
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        t = (low + high) / 2
        slope = (2 * t**3 - 3 * t**2 + 1) * s0 + (t**3 - 2 * t**2 + t) * c0
        slope += (3 * t**2 - 2 * t**3) * s1 + (t**3 - t**2) * c1
        low, high = (low, t) if slope > 0 else (t, high)
    return float(np.exp(-(x0 + (x1 - x0) * low)))


class Shadow:
    """A temperature on top of a head's answers, fitted and judged on its labels.

    Attributes:
        n: labels so far.
        factor: of the temperature; none before the first fit.
        fitted: labels of the last fit.
        guard: the bets; none before the first fit.
        served: measures of what the head answered to the rows that were judged; proposed: of the shadow's answers.
        fixed: the factor is given, not fitted; the first 100 labels only measure the bets.
    """

    def __init__(self, factor: float | None = None) -> None:
        self.factor, self.fixed = factor, factor is not None
        self.n = self.fitted = 0
        self.guard: Guard | None = None
        self.served, self.proposed = Summary(), Summary()
        self._gain = self._gain_squared = 0
        self._slopes, self._curvatures = np.zeros((2, len(FACTORS)), np.int64)
        self._lows: list[list[float]] = [[0.0] * len(FACTORS)]

    def update(self, rows: Labelled) -> None:
        """Judge by labels, then learn from them."""
        start, n = 0, len(rows.columns)
        while start < n:
            stop = min(n, start + BLOCK - self.n % BLOCK)
            part = rows.part(start, stop)
            if self.guard is not None:
                self._judge(part, self.guard)
            if not self.fixed or self.guard is None:
                self._learn(part)
            self.n += stop - start
            if self.n % BLOCK == 0:
                self._close()
            start = stop

    def _judge(self, rows: Labelled, guard: Guard) -> None:
        shadow = temper(rows.log_p, rows.sizes, self.factor or 1.0)
        guard.update(rows.log_p, shadow, rows.columns)
        self.served.add(Summary.of(records(rows, rows.log_p)))
        self.proposed.add(Summary.of(records(rows, shadow)))
        at = np.arange(len(rows.columns)), rows.columns
        possible = ~np.isneginf(rows.log_p[at])
        gain = shadow[at][possible] - rows.log_p[at][possible]
        self._gain += int(stepped(gain).sum())
        self._gain_squared += int(stepped(gain**2).sum())

    def _learn(self, rows: Labelled) -> None:
        slope, curvature, largest = moments(rows)
        self._slopes = self._slopes + stepped(slope).sum(axis=0)
        self._curvatures = self._curvatures + stepped(curvature).sum(axis=0)
        self._lows[-1] = np.maximum(self._lows[-1], largest.max(axis=0)).tolist()

    def _close(self) -> None:
        """End a block, and fit where it is time to."""
        if self.n == self.next_fit:
            self._fit()
        if self.guard is None or not self.fixed:
            self._lows = [*self._lows, [0.0] * len(FACTORS)][-SCALE_BLOCKS:]

    def _fit(self) -> None:
        if not self.fixed:
            self.factor = best_factor(self._slopes, self._curvatures)
        lows = np.max(self._lows, axis=0)
        scale = float(np.interp(np.log(1 / (self.factor or 1.0)), np.log(1 / FACTORS), lows))
        if self.guard is None:
            self.guard = Guard(scale)
        self.guard.scale = scale
        self.fitted = self.n

    @property
    def next_fit(self) -> int | None:
        """The number of labels at the next fit; of a factor that was given there is only the first."""
        return None if self.fixed and self.fitted else max(FIRST_FIT, 2 * self.fitted)

    @property
    def has_earned(self) -> bool:
        """Whether the guard's E ever was 100."""
        return self.guard is not None and self.guard.has_earned

    def report(self) -> dict[str, Any]:
        """What was measured on rows that neither has seen, as JSON; none without rows."""
        guard, rows = self.guard, self.served.rows
        evidence = {"e": 1.0, "max_e": 1.0, "log_ratio": 0.0}
        if guard is not None:
            evidence = {"e": guard.e, "max_e": guard.max_e, "log_ratio": guard.log_ratio}
        if not rows:
            return {"evidence": evidence, "nll": None, "ece": None, "reliability": None}
        both = {"served": self.served.measures(), "proposed": self.proposed.measures()}
        return {
            "evidence": evidence,
            "nll": {name: one["nll"] for name, one in both.items()} | self.difference(),
            "ece": {name: one["ece"]["debiased"] for name, one in both.items()},
            "reliability": {name: {"bins": one["bins"]} for name, one in both.items()},
        }

    def difference(self) -> dict[str, Any]:
        """The shadow's mean loss minus the head's on the rows that were judged, and a 95 % interval."""
        n = max(1, self.served.rows - self.served.impossible)
        mean = self._gain / STEPS / n
        half = Z * float(np.sqrt(max(0.0, self._gain_squared / STEPS / n - mean**2) / n))
        return {"difference": -mean, "low": -mean - half, "high": -mean + half, "rows": self.served.rows}

    def state(self) -> dict[str, Any]:
        """As JSON; whole numbers may have more than 64 bits."""
        return {
            "factor": self.factor,
            "fixed": self.fixed,
            "n": self.n,
            "fitted": self.fitted,
            "guard": None if self.guard is None else self.guard.state(),
            "served": asdict(self.served),
            "proposed": asdict(self.proposed),
            "gain": [self._gain, self._gain_squared],
            "slopes": self._slopes.tolist(),
            "curvatures": self._curvatures.tolist(),
            "lows": self._lows,
        }

    @classmethod
    def restore(cls, state: dict[str, Any]) -> "Shadow":
        """Read back what `state` wrote."""
        found = cls(state["factor"])
        found.fixed, found.n, found.fitted = state["fixed"], state["n"], state["fitted"]
        found.guard = None if state["guard"] is None else Guard.restore(state["guard"])
        found.served, found.proposed = Summary(**state["served"]), Summary(**state["proposed"])
        found._gain, found._gain_squared = state["gain"]
        found._slopes, found._curvatures = (np.array(state[name], np.int64) for name in ("slopes", "curvatures"))
        found._lows = [list(one) for one in state["lows"]]
        return found


def stepped(values: Floats) -> Ints:
    """Numbers in whole steps."""
    return np.rint(np.clip(values, -MOST, MOST) * STEPS).astype(np.int64)


def records(rows: Labelled, log_p: Floats) -> Records:
    """What the measures read of answers `log_p` `[n,C]` to some rows."""
    found = np.zeros(len(log_p), RECORD)
    at = np.arange(len(log_p)), rows.columns
    p = np.exp(log_p)
    found["alpha"], found["confidence"] = np.nan, p.max(axis=1)
    found["label"] = rows.columns != rows.log_p.argmax(axis=1)
    found["log_p"], found["brier"] = log_p[at], (rows.sizes * p * p).sum(axis=1) - 2 * p[at] + 1
    return found
