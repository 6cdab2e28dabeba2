"""Whether a refit has earned its place: an e-value of the shadow against the head that serves, and what forbids it.

A row's gain is d = loss of the served answer - loss of the shadow's. The null says that its mean is at most 0: the
shadow is no better. Before the label comes it is known how far below 0 d can fall, `low`; a bet of lambda multiplies
its capital by 1 + min(lambda / scale, 0.99 / low) d, and E is the mean over five lambdas (Waudby-Smith and Ramdas
2023).
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from service.datasets.dataset import Floats, Ints
from service.live.bets import UNIT, log_steps

LAMBDAS: Final = (0.05, 0.1, 0.2, 0.4, 0.8)
PROMOTED_FROM: Final = 100.0
"""E of a shadow that may be promoted: at most 1 % of those that are no better ever reach it."""
MOST_OF_LOW: Final = 0.99
MOST_GROWTH: Final = 690.0
"""Nats; more is told as this."""
SCALE_ROWS: Final = 500

FEWEST_LABELS: Final = 200
FEWEST_FOR_BIAS: Final = 500
FEWEST_PER_CLASS: Final = 50
MOST_FACTOR: Final = 4.0
FEWEST_LABELLED: Final = 0.5

Loss = Literal["nll", "brier"]


def gains(served: Floats, shadow: Floats, loss: Loss = "nll") -> Floats:
    """d if the label were class k, `[n,K]`, of log-probabilities `[n,K]`; 0 where both have probability 0.

    The Brier loss is halved, so that it lies in [0,1].
    """
    if loss == "brier":
        p, q = np.exp(served), np.exp(shadow)
        both = (p**2).sum(axis=1, keepdims=True) - (q**2).sum(axis=1, keepdims=True)
        return np.asarray(both / 2 - p + q)
    neither = np.isneginf(served) & np.isneginf(shadow)
    return np.where(neither, 0.0, np.where(neither, 0.0, shadow) - np.where(neither, 0.0, served))


def scale_of(served: Floats, shadow: Floats, loss: Loss = "nll") -> float:
    """The largest fall over the last 500 rows of the shadow's fit, which the lambdas are measured by."""
    last = slice(-SCALE_ROWS, None)
    lows = -gains(served[last], shadow[last], loss).min(axis=1)
    return float(max(lows[np.isfinite(lows)], default=1.0))


class Guard:
    """The capital of the bets on a shadow; it goes on when the shadow is fitted anew.

    Attributes:
        n: labels that were bet on.
        max_e: the largest E.
        scale: of the shadow, `scale_of` its fit.
    """

    def __init__(self, scale: float, loss: Loss = "nll") -> None:
        self.n, self.max_e, self.scale, self.loss = 0, 1.0, scale, loss
        self._sums = np.zeros(len(LAMBDAS), np.int64)
        self._ratio = 0

    def update(self, served: Floats, shadow: Floats, labels: Ints) -> None:
        """Bet on labels `[n]` that came after the fit; log-probabilities of both `[n,K]`."""
        if not len(labels):
            return
        possible = gains(served, shadow, self.loss)
        d, low = possible[np.arange(len(labels)), labels], np.maximum(-possible.min(axis=1), 1e-300)
        known = np.isfinite(d) & np.isfinite(low)  # without a bound on the fall nothing can be bet
        size = np.minimum(np.array(LAMBDAS) / max(self.scale, 1e-300), MOST_OF_LOW / low[:, None])
        steps = log_steps(1 + np.where(known[:, None], size * np.where(known, d, 0.0)[:, None], 0.0))
        path = self._sums + np.cumsum(steps, axis=0)
        self._sums = path[-1]
        ratio = gains(served, shadow)[np.arange(len(labels)), labels]
        self._ratio += int(np.rint(np.clip(ratio, -MOST_GROWTH, MOST_GROWTH) * UNIT).astype(np.int64).sum())
        self.n += len(labels)
        self.max_e = max(self.max_e, float(grown(path).mean(axis=1).max()))

    @property
    def wealth(self) -> Floats:
        """Of the bet of each lambda, `[5]`."""
        return grown(self._sums)

    @property
    def e(self) -> float:
        """The evidence that the shadow is better."""
        return float(self.wealth.mean())

    @property
    def log_ratio(self) -> float:
        """The sum of log q_y/p_y: evidence that the served head is not exact, for people to read."""
        return self._ratio / UNIT

    @property
    def has_earned(self) -> bool:
        """Whether E ever was 100."""
        return self.max_e >= PROMOTED_FROM

    def state(self) -> dict[str, Any]:
        """As JSON; whole numbers may have more than 64 bits."""
        return {
            "n": self.n,
            "max_e": self.max_e,
            "scale": self.scale,
            "loss": self.loss,
            "sums": self._sums.tolist(),
            "ratio": self._ratio,
        }

    @classmethod
    def restore(cls, state: dict[str, Any]) -> "Guard":
        """Read back what `state` wrote."""
        guard = cls(state["scale"], state["loss"])
        guard.n, guard.max_e, guard._ratio = state["n"], state["max_e"], state["ratio"]
        guard._sums = np.array(state["sums"], np.int64)
        return guard


def grown(sums: Ints) -> Floats:
    """Capital of sums of logarithms."""
    return np.asarray(np.exp(np.minimum(sums / UNIT, MOST_GROWTH)))


@dataclass(frozen=True)
class Case:
    """What is known of a refit before it may be promoted.

    Attributes:
        method: of the refit: `temperature`, `bias`, or a richer one.
        matured: labels that it was fitted on.
        n_classes: K.
        temperature: of the refit.
        incumbent: the temperature of the head that serves.
        labelled: the share of the predictions old enough for a label that have one.
        sampled: whether a sampling of the rows to label was declared.
        unseen: classes without a label.
        informative_delay: whether the monitor warns of it.
        keeps_sets: whether the table of prediction sets would be that of the old temperature.
    """

    method: str
    matured: int
    n_classes: int
    temperature: float
    incumbent: float
    labelled: float
    sampled: bool = False
    unseen: tuple[int, ...] = ()
    informative_delay: bool = False
    keeps_sets: bool = False


def fewest_labels(method: str, n_classes: int) -> int:
    """That a fit of the method needs."""
    if method == "temperature":
        return FEWEST_LABELS
    return FEWEST_FOR_BIAS if method == "bias" else max(FEWEST_FOR_BIAS, FEWEST_PER_CLASS * n_classes)


def refusal(case: Case) -> str | None:
    """Why a refit must not be promoted, whatever its E; none where nothing forbids it."""
    fewest, factor = fewest_labels(case.method, case.n_classes), case.temperature / case.incumbent
    if case.matured < fewest:
        return f"the refit was fitted on {case.matured} labels; expected at least {fewest} for the method {case.method}"
    if not 1 / MOST_FACTOR <= factor <= MOST_FACTOR:
        return (
            f"the temperature would become {case.temperature:.4g}, {factor:.2g} times what it is; "
            f"expected between 1/{MOST_FACTOR:g} and {MOST_FACTOR:g} times"
        )
    if case.labelled < FEWEST_LABELLED and not case.sampled:
        return (
            f"{100 * case.labelled:.0f} % of the answers have a label; "
            f"expected at least {100 * FEWEST_LABELLED:.0f} %, or --labels-sampled"
        )
    if case.unseen and case.method != "temperature":
        return f"no label is of class {case.unseen[0]}; expected one of each class for the method {case.method}"
    if case.informative_delay:
        return "how long labels take seems to depend on the answer; expected a delay that does not"
    if case.keeps_sets:
        return "the prediction sets are those of the old temperature; expected sets that are fitted with the new one"
    return None
