"""What a fit knows of single classes, and which of their monitors are armed.

It is their offsets on the reference curve, and how far their probabilities are off on average.

A monitor by class is armed where it stays silent on the very rows of the fit: where the curve, moved for the class, or
the mean bias, does not describe them in any of 20 random orders, it would only cry wolf.
"""

from dataclasses import replace
from typing import Any, Final

import numpy as np

from service.datasets.dataset import Bools, Floats, Ints
from service.live.bets import N_BETS, class_e_values, e_values, log_steps, slopes
from service.live.latch import WARNING
from service.live.reference import CLASS_ERRORS, ClassReference, Reference
from service.live.stream import BLOCK, Stream
from service.measures.curve import ReferenceCurve, log_odds, rate, sigmoid

ORDERS: Final = 20
FEWEST_ROWS: Final = 50
"""Answers of a class, to arm its monitor."""
MOST_CLASSES: Final = 100
"""Of a head whose classes are told apart; more take the side process longer than their labels are worth."""
MOST_ROWS: Final = 10_000
"""Rows of an order; of more, a random part."""
NEWTON_STEPS: Final = 50


def fit(logs: Floats, labels: Ints, curve: ReferenceCurve) -> ClassReference | None:
    """Of log-probabilities `[n,K]` of rows that the head has not been fitted on; none with one class, or with many."""
    k = logs.shape[1]
    if not 1 < k <= MOST_CLASSES:
        return None
    if len(logs) > MOST_ROWS:
        some = np.random.default_rng(2).permutation(len(logs))[:MOST_ROWS]
        logs, labels = logs[some], labels[some]
    p, predicted = np.exp(logs), logs.argmax(axis=1)
    confidence, right = p.max(axis=1), predicted == labels
    found = [offset(curve, confidence[predicted == one], right[predicted == one]) for one in range(k)]
    away = (np.arange(k) == labels[:, None]) - p
    bias, errors = away.mean(axis=0), away.std(axis=0) / np.sqrt(len(p))
    offsets, offset_errors = np.array(found).T
    known = ClassReference(offsets, offset_errors, np.zeros(k, bool), bias, errors, bias_armed=False)
    reference = Reference(curve, "fit", known)
    armed = [stays_silent(class_steps(reference, one, confidence, right, predicted)) for one in range(k)]
    steps = log_steps(class_e_values(p, labels, bias, CLASS_ERRORS * errors))
    return replace(known, armed=np.array(armed), bias_armed=stays_silent(steps))


def offset(curve: ReferenceCurve, confidence: Floats, right: Bools) -> tuple[float, float]:
    """What is added to b of the curve for answers `[m]` of one class, with the prior N(0,1); and its standard error."""
    odds, value, information = log_odds(confidence), 0.0, 1.0
    for _ in range(NEWTON_STEPS):
        r = np.clip(rate((curve.a, curve.b + value, curve.c), odds), 1e-12, 1 - 1e-12)
        slope = r * sigmoid(-curve.a * odds - curve.b - value)
        information = 1 + float((slope**2 / (r * (1 - r))).sum())
        step = (float((slope * (right - r) / (r * (1 - r))).sum()) - value) / information
        value += float(np.clip(step, -1, 1))
        if abs(step) < 1e-9:
            break
    return value, information**-0.5


def class_steps(reference: Reference, k: int, confidence: Floats, right: Bools, predicted: Ints) -> Ints:
    """The logarithms of the bets on answers of class k, `[m,16]`; nothing where they are too few to arm it."""
    chosen = predicted == k
    if chosen.sum() < FEWEST_ROWS:
        return np.zeros((0, N_BETS), np.int64)
    r, tau = reference.expect_by_class(predicted[chosen], confidence[chosen])
    return log_steps(e_values(slopes(r), r, tau, right[chosen]))


def stays_silent(steps: Ints) -> bool:
    """Whether E stays below a warning in every one of 20 random orders of `steps` `[m,B]`, m > 0."""
    random = np.random.default_rng(3)
    return len(steps) > 0 and all(largest(random.permutation(steps)) < WARNING for _ in range(ORDERS))


def largest(steps: Ints) -> float:
    """The largest E of a stream."""
    stream, most = Stream(steps.shape[1]), 1.0
    for start in range(0, len(steps), BLOCK):
        most = max(most, float(stream.add(steps[start : start + BLOCK]).max()))
        stream.close(start + BLOCK, 0)
    return most


def story(logs: Floats, labels: Ints, curve: ReferenceCurve) -> dict[str, Any] | None:
    """As JSON for the head file: what `fit` finds, and the confusion of the rows."""
    known = fit(logs, labels, curve)
    if known is None:
        return None
    return {**known.to_metadata(), "confusion": confusion(logs.argmax(axis=1), labels, logs.shape[1])}


def confusion(predicted: Ints, labels: Ints, k: int) -> list[list[int]]:
    """Rows by prediction and label, `[prediction, label, rows]`, without the zeros."""
    counts = np.bincount(predicted * k + labels, minlength=k * k).reshape(k, k)
    return [[int(i), int(j), int(counts[i, j])] for i, j in np.argwhere(counts)]
