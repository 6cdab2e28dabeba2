"""Scores for prediction sets, from rows that the calibrator has not seen. How sets are made: `service.conformal`."""

from dataclasses import replace
from typing import Final

import numpy as np

from service.conformal import By, Conformal, Score, Table
from service.datasets.dataset import Floats, Ints

TUNING_SHARE: Final = 0.2
MOST_TUNING_LOGITS: Final = 500_000
TUNING_ALPHA: Final = 0.1
TEMPERATURES: Final = tuple(np.geomspace(0.125, 8.0, 19).tolist())
PENALTIES: Final = (0.001, 0.01, 0.1)
FREE_RANKS: Final = (1, 2, 5)
FEWEST_ROWS: Final = 100
MOST_VALUES_EACH: Final = 200


def fit(
    log_probabilities: Floats,
    labels: Ints,
    score: Score,
    *,
    randomised: bool = False,
    by: By = "all",
    groups: Ints | None = None,
    seed: int = 0,
) -> Conformal:
    """Scores of held-out rows `[n,K]` with their `labels` `[n]`, for sets at any alpha.

    For `aps` and `raps` a temperature, and a penalty, are chosen on a fifth of the rows for small sets; the scores
    are those of the others, so that the choice costs no coverage. With fewer than 100 rows nothing is chosen.
    """
    random = np.random.default_rng(seed)
    conformal = Conformal(score, 1.0, (), randomised, by=by)
    rows = random.permutation(len(labels))
    if score != "lac" and len(labels) >= FEWEST_ROWS:
        n_tuning = min(
            max(FEWEST_ROWS, MOST_TUNING_LOGITS // log_probabilities.shape[1]), int(TUNING_SHARE * len(labels))
        )
        conformal = tune_penalty(conformal, log_probabilities[rows[:n_tuning]], labels[rows[:n_tuning]])
        rows = rows[n_tuning:]
    uniforms = random.random(len(rows)) if randomised else None
    own = label_scores(conformal, log_probabilities[rows], labels[rows], uniforms)
    n_classes = log_probabilities.shape[1]
    return replace(conformal, tables=tables(own, by, labels[rows], None if groups is None else groups[rows], n_classes))


def tables(scores: Floats, by: By, labels: Ints, groups: Ints | None, n_classes: int) -> tuple[Table, ...]:
    """One table of all `scores`, or one for each class or group; a class without a row has a set that is full."""
    if by == "all":
        return (Table.of(scores),)
    members = labels if by == "class" else groups
    if members is None:
        raise ValueError("tables by group want groups")
    count = n_classes if by == "class" else int(members.max()) + 1
    return tuple(Table.of(scores[members == one], MOST_VALUES_EACH) for one in range(count))


def tune_penalty(conformal: Conformal, log_probabilities: Floats, labels: Ints) -> Conformal:
    """The temperature, and for `raps` the penalty, with the smallest sets on average at alpha 0.1."""
    options = [replace(conformal, temperature=t) for t in TEMPERATURES]
    best = min(options, key=lambda one: mean_size(one, log_probabilities, labels))
    if conformal.score != "raps":
        return best
    options = [replace(best, penalty=p, free_ranks=k) for p in PENALTIES for k in FREE_RANKS]
    return min(options, key=lambda one: mean_size(one, log_probabilities, labels))


def mean_size(conformal: Conformal, log_probabilities: Floats, labels: Ints) -> float:
    """The mean number of classes of the sets, on the rows that also give the threshold."""
    uniforms = np.random.default_rng(0).random(len(labels)) if conformal.randomised else None
    scores = conformal.of(log_probabilities, uniforms)
    limit = Table.of(scores[np.arange(len(labels)), labels]).threshold(TUNING_ALPHA)
    return float((scores <= limit).sum(axis=1).mean())


def label_scores(conformal: Conformal, log_probabilities: Floats, labels: Ints, uniforms: Floats | None) -> Floats:
    """The score of each row's label, `[n]`."""
    return conformal.of(log_probabilities, uniforms)[np.arange(len(labels)), labels]
