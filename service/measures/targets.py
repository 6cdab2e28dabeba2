"""Metrics of scores against targets, of any family of heads: what /evaluate answers of all rows together."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.families import Family
from service.measures import multilabel
from service.measures.metrics import Ordered, ece
from service.measures.multilabel import MultiScores

Floats = NDArray[np.float64]


def measure_targets(family: Family, x: Floats, targets: Floats, prediction: NDArray[Any]) -> dict[str, Any]:
    """nll, n_impossible, brier, accuracy and ece of scores over the temperature `x` and `targets`, `[N, K]`.

    `prediction` is the family's: a class a row, -1 for none, or a boolean a class. nll is none where a target got
    exactly 0, in n_impossible rows; a clipped one would say nothing.
    """
    p, log_p = family.distribution(x)
    with np.errstate(invalid="ignore"):
        lost = (targets > 0) & np.isneginf(log_p)
    impossible = lost.any(axis=1)
    measures = measure_one(p, targets, prediction) if family.chooses_one else measure_many(x, targets, prediction)
    nll = None
    if not impossible.any():
        terms = (
            -(targets * np.where(targets > 0, log_p, 0)).sum(axis=1)
            if family.chooses_one
            else family.losses(x, targets)
        )
        nll = float(terms.mean() + 0.0)
    return {"nll": nll, "n_impossible": int(impossible.sum()), **measures}


def measure_one(p: Floats, targets: Floats, prediction: NDArray[Any]) -> dict[str, float]:
    """Of families that choose one class: it is right where its target is the largest of the row."""
    correct = (prediction >= 0) & (prediction == targets.argmax(axis=1))
    rows = Ordered(p.max(axis=1), correct, np.ones(len(p)))
    return {
        "brier": float(((p - targets) ** 2).sum(axis=1).mean()),
        "accuracy": float(correct.mean()),
        "ece": ece(rows),
    }


def measure_many(x: Floats, targets: Floats, prediction: NDArray[Any]) -> dict[str, float]:
    """Of families that choose any number of classes: each allowed class of a row counts by itself."""
    found = multilabel.measure(MultiScores.from_scores(x, targets, prediction))
    return {name: found[name] for name in ("brier", "accuracy", "ece", "ece_macro")}
