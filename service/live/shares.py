"""What can be said before labels come: the shares of the classes, and how many answers should be right.

All of it assumes label shift: the classes come in other shares, and inside each class nothing has changed; and that the
head is calibrated class by class. Signals for people, never a correction.
"""

from typing import Any, Final

import numpy as np

from service.datasets.dataset import Floats, Ints
from service.live.reference import Reference

MOST_STEPS: Final = 500
SMALLEST_CHANGE: Final = 1e-9
PULL: Final = 5
"""Rows' worth of the source for each class, that the pulled shares are drawn to."""
MOST_DISAGREEMENT: Final = 0.1
"""Between the two estimates, as L1 distance, under label shift."""
NOT_LABEL_SHIFT: Final = (
    "Two estimates of the class shares are {:.3f} apart; expected at most {:g}: something has changed inside the "
    "classes, or the head is not calibrated class by class."
)


def expectation_maximisation(p: Floats, source: Floats, pull: float = 0.0, steps: int = MOST_STEPS) -> Floats:
    """Class shares `[K]` of unlabelled rows (Saerens et al. 2002).

    `p` `[n,K]` are calibrated probabilities under class shares `source` `[K]`. `pull` adds that many rows with the
    shares of the source to each step.
    """
    shares = source
    for _ in range(steps):
        found = (posterior(p, source, shares).sum(axis=0) + pull * source) / (len(p) + pull)
        change, shares = float(np.abs(found - shares).max()), found
        if change < SMALLEST_CHANGE:
            break
    return shares


def posterior(p: Floats, source: Floats, shares: Floats) -> Floats:
    """The probabilities under other class shares, `[n,K]`."""
    ratio = np.divide(shares, source, out=np.zeros_like(source), where=source > 0)
    weighted = p * ratio
    return np.asarray(weighted / np.maximum(weighted.sum(axis=1, keepdims=True), 1e-300))


def black_box(predicted: Ints, confusion: Floats) -> Floats | None:
    """Class shares `[K]` from the answered classes `[n]` alone (black-box shift estimation, Lipton et al. 2018).

    `confusion` `[K,K]` is the share of rows with prediction i and label j where the head was fitted. None where it does
    not say, as some class is never answered.
    """
    k = len(confusion)
    seen = np.bincount(predicted, minlength=k) / len(predicted)
    try:
        weight = np.linalg.solve(confusion, seen)
    except np.linalg.LinAlgError:
        return None
    shares = np.maximum(weight, 0) * confusion.sum(axis=0)
    return np.asarray(shares / shares.sum()) if shares.sum() > 0 else None


def class_shares(p: Floats, reference: Reference) -> dict[str, Any]:
    """The shares of the classes among recent rows, by both ways, and the accuracy to expect.

    `p` `[n,K]`, n > 0: calibrated probabilities of rows without a mask or a temperature of their own.
    """
    served, prior = p.argmax(axis=1), reference.prior
    found: dict[str, Any] = {"rows": len(p), "expected_accuracy": float(p.max(axis=1).mean()), "warnings": []}
    if prior is None or len(prior) != p.shape[1]:
        return found
    em = expectation_maximisation(p, prior)
    pulled = expectation_maximisation(p, prior, float(PULL * len(prior)))
    after = posterior(p, prior, em)[np.arange(len(p)), served]
    bbse = None if reference.confusion is None else black_box(served, reference.confusion)
    found |= {
        "source": prior.tolist(),
        "em": em.tolist(),
        "em_pulled": pulled.tolist(),
        "bbse": None if bbse is None else bbse.tolist(),
        "prior_shift": distance(pulled, prior),
        "expected_accuracy_em": float(after.mean()),
    }
    if bbse is not None and (apart := distance(em, bbse)) > MOST_DISAGREEMENT:
        message = NOT_LABEL_SHIFT.format(apart, MOST_DISAGREEMENT)
        found["warnings"] = [{"code": "not_label_shift", "message": message}]
    return found


def distance(one: Floats, other: Floats) -> float:
    """Between two distributions, L1, in [0,2]."""
    return float(np.abs(one - other).sum())
