"""Metrics of scores against targets, of any family of heads: what /evaluate answers of all rows together."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.families import Family
from service.measures import multilabel
from service.measures.metrics import Ordered, ece
from service.measures.multilabel import MultiScores

Floats = NDArray[np.float64]


class Rows(NamedTuple):
    """What rows come to where one class is chosen, `[N]` each.

    Attributes:
        nll: negative log-likelihoods; infinite where a target got exactly 0.
        brier: squared differences between probabilities and targets, summed over the classes.
        confidence: the largest probability.
        correct: the class that is predicted is the one with the largest target.
    """

    nll: Floats
    brier: Floats
    confidence: Floats
    correct: NDArray[np.bool_]


def measure_rows(family: Family, x: Floats, targets: Floats, prediction: NDArray[Any]) -> Rows:
    """Each row of scores over the temperature `x` against `targets`, `[N, K]`; `prediction` `[N]` is -1 for none."""
    p, log_p = family.distribution(x)
    return Rows(
        -(targets * np.where(targets > 0, log_p, 0)).sum(axis=1) + 0.0,
        ((p - targets) ** 2).sum(axis=1),
        p.max(axis=1),
        (prediction >= 0) & (prediction == targets.argmax(axis=1)),
    )


def measure_targets(family: Family, x: Floats, targets: Floats, prediction: NDArray[Any]) -> dict[str, Any]:
    """nll, n_impossible, brier, accuracy and ece of scores over the temperature `x` and `targets`, `[N, K]`.

    `prediction` is the family's: a class a row, -1 for none, or a boolean a class. nll is none where a target got
    exactly 0, in n_impossible rows; a clipped one would say nothing.
    """
    if not family.chooses_one:
        found = multilabel.measure(MultiScores.from_scores(x, targets, prediction))
        return {"n_impossible": 0} | {name: found[name] for name in ("nll", "brier", "accuracy", "ece", "ece_macro")}
    rows = measure_rows(family, x, targets, prediction)
    n_impossible = int(np.isinf(rows.nll).sum())
    return {
        "nll": None if n_impossible else float(rows.nll.mean()),
        "n_impossible": n_impossible,
        "brier": float(rows.brier.mean()),
        "accuracy": float(rows.correct.mean()),
        "ece": ece(Ordered(rows.confidence, rows.correct, np.ones(len(x)))),
    }
