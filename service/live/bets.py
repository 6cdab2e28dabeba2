"""Bets on whether answers are right: e-values, the evidence of one label against a null.

The null says that an answer with the expected accuracy r is right with a probability within tau of r. A bet with
slope g on a label c, 1 where the answer was right, has the e-value

    e = max(0, 1 + g (c - r) - tau |g|),   |g| <= 1/(r + tau) for g > 0 and <= 1/(1 - r + tau) for g < 0.

Its mean is at most 1 under the null, so that products of e-values over labels are test supermartingales (Arnold,
Henzi and Ziegel 2023; Waudby-Smith and Ramdas 2023). g = (q - r) / (r (1 - r)) is the likelihood ratio of q to r.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.datasets.dataset import Floats, Ints
from service.measures.curve import SMALLEST, log_odds, sigmoid

TILTS: Final = (0.5, 0.7, 0.85, 1.2, 1.5, 2.0)
"""logit q = a logit r: answers are less or more sure than they should be."""
SHIFTS: Final = (-1.0, -0.5, -0.25, 0.25, 0.5, 1.0)
"""logit q = logit r + b."""
FAILURES: Final = (0.01, 0.03, 0.1, 0.3)
"""q = r (1 - d): a share of the answers fails whatever the confidence."""
N_BETS: Final = len(TILTS) + len(SHIFTS) + len(FAILURES)
LAMBDAS: Final = (0.1, 0.2, 0.4, 0.8)
"""Slopes of the flat bets, in both directions."""
CLASS_LAMBDAS: Final = (0.1, 0.3, 0.9)

UNIT: Final = 2.0**40
"""Logarithms of e-values are whole numbers of 1/UNIT nats, rounded down: their sums are the same in any order."""
SMALLEST_E: Final = 2.0**-60
"""An e-value of 0 is taken for this one, so that its logarithm is a number; the mean stays 1 to 18 digits."""


def slopes(r: Floats) -> Floats:
    """The 16 bets against an expected accuracy r in (0,1) `[n]`, float64 `[n,16]`: tilts, shifts, failures."""
    r = np.clip(r, SMALLEST, 1 - SMALLEST)[:, None]
    odds = log_odds(r)
    q = np.concatenate([sigmoid(odds * TILTS), sigmoid(odds + SHIFTS), r * (1 - np.array(FAILURES))], axis=1)
    return np.asarray((q - r) / (r * (1 - r)))


def shift_slopes(r: Floats, shifts: tuple[float, ...]) -> Floats:
    """Bets of `shifts` alone, float64 `[n,len(shifts)]`."""
    r = np.clip(r, SMALLEST, 1 - SMALLEST)[:, None]
    return np.asarray((sigmoid(log_odds(r) + shifts) - r) / (r * (1 - r)))


def failure_slopes(r: Floats) -> Floats:
    """Bets of the failures alone, float64 `[n,4]`."""
    r = np.clip(r, SMALLEST, 1 - SMALLEST)[:, None]
    return np.asarray(-np.array(FAILURES) / (1 - r))


def flat_slopes(n: int) -> Floats:
    """The 8 flat bets, up then down, float64 `[n,8]`: their null is that the mean error of any `r` is at most tau."""
    return np.tile(np.array([*LAMBDAS, *(-one for one in LAMBDAS)]), (n, 1))


def e_values(g: Floats, r: Floats, tau: Floats, right: NDArray[np.bool_]) -> Floats:
    """The e-values `[n,B]` of slopes `g` `[n,B]`, of `r`, `tau` and `right`, `[n]` each."""
    r, tau, c = np.clip(r, SMALLEST, 1 - SMALLEST)[:, None], tau[:, None], right[:, None]
    limit = 1 / (np.where(g > 0, r, 1 - r) + tau)
    g = np.sign(g) * np.minimum(np.abs(g), limit)
    return np.asarray(np.maximum(1 + g * (c - r) - tau * np.abs(g), 0))


def class_e_values(probabilities: Floats, labels: Ints, mean: Floats, error: Floats) -> Floats:
    """The bets on the bias of each class, `[n,6K]`, e = 1 +- lambda (y - p - mean) - lambda error.

    `probabilities` `[n,K]`; `mean` `[K]` of y - p where the head was fitted, and the tolerance `error` `[K]`.
    lambda is cut so that e cannot be negative.
    """
    away = -probabilities - mean
    away[np.arange(len(labels)), labels] += 1
    found = []
    for most in CLASS_LAMBDAS:
        size = np.minimum(most, 1 / (1 + np.abs(mean) + error))
        found += [1 + size * (away - error), 1 - size * (away + error)]
    return np.maximum(np.concatenate(found, axis=1), 0)


def log_steps(e: Floats) -> Ints:
    """The logarithms of e-values, in steps of 1/UNIT nats, int64."""
    return np.floor(np.log(np.maximum(e, SMALLEST_E)) * UNIT).astype(np.int64)
