"""The entropy-adaptive temperature (Balanya et al. 2022): uncertain rows may be cooled otherwise than certain ones.

log T(x) is a line in the standardised log of the normalised entropy: two parameters, and the ranking stays. A ridge
of 10/n on the slope keeps a hundred rows from bending it.
"""

from dataclasses import replace
from typing import Final

import numpy as np

from service.calibration.temperature import moments, softmax_share
from service.datasets.dataset import Chunk, Dataset, Floats, usable_classes
from service.heads.entropy import EntropyTemperature, log_entropy
from service.heads.stages import Stages

RIDGE: Final = 10.0


def fit(data: Dataset, before: Stages) -> Stages:
    """`before` with an entropy temperature fitted behind its affine stages, in place of its temperature.

    The factors of groups that it has stay.
    """
    plain = replace(before, temperature=1.0, laplace=0.0, entropy=None)
    features = np.concatenate([features_of(chunk, plain) for chunk in data.chunks()])
    weights = np.ones(data.n_rows) if data.weights is None else data.weights
    mean = float(np.average(features, weights=weights))
    deviation = float(np.sqrt(np.average((features - mean) ** 2, weights=weights))) or 1.0

    def value(line: Floats) -> tuple[float, Floats]:
        shape = EntropyTemperature(float(line[0]), float(line[1]), mean, deviation)
        return _value(data, replace(plain, entropy=shape), features, before.laplace)

    start = np.array([np.log(before.temperature), 0.0])
    from scipy.optimize import minimize  # so that the methods can be named where scipy is not installed

    found = minimize(value, start, jac=True, method="L-BFGS-B", options={"gtol": 1e-7, "ftol": 1e-12})
    line = EntropyTemperature(float(found.x[0]), float(found.x[1]), mean, deviation)
    return replace(before, temperature=1.0, entropy=line)


def features_of(chunk: Chunk, calibrator: Stages) -> Floats:
    """The log-entropy of a chunk's rows behind the affine stages, as `Stages.scores` takes it."""
    read = calibrator.readable(chunk.logits, chunk.mask)
    return log_entropy(calibrator.transform(np.where(read, chunk.logits, 0).astype(np.float64), read), read)


def _value(data: Dataset, shape: Stages, features: Floats, laplace: float) -> tuple[float, Floats]:
    """The penalised negative log-likelihood and its gradient by intercept and slope."""
    line = shape.entropy
    assert line is not None  # noqa: S101 - `fit` has just put it there
    plain = replace(shape, entropy=None)
    start, loss, gradient = 0, 0.0, np.zeros(2)
    for chunk in data.chunks():
        own = features[start : start + len(chunk.labels)]
        start += len(own)
        log_t = line.log_temperatures(own)
        beta = np.exp(-log_t)
        if plain.group_temperatures is not None and chunk.groups is not None:
            beta = beta / plain.group_temperatures[chunk.groups]
        scores = plain.scores(chunk.logits, chunk.mask)
        allowed = usable_classes(scores, None)
        found = moments(scores, allowed, chunk.labels, beta[:, None], np.float64)
        logs = beta * found.own - found.log_total
        slope = -beta * (found.mean - found.own)
        if laplace:
            n_allowed = allowed.sum(axis=1)
            slope = slope * softmax_share(logs, n_allowed, laplace)
            logs = np.log((1 - laplace) * np.exp(logs) + laplace / n_allowed)
        slope = np.where(np.abs(log_t) < line.bound, slope, 0) * chunk.weights
        loss -= float(chunk.weights @ logs)
        gradient += [slope.sum(), float(slope @ (own - line.mean)) / line.deviation]
    ridge = RIDGE / data.n_rows
    gradient = gradient / data.total_weight + [0.0, 2 * ridge * line.slope]
    return loss / data.total_weight + ridge * line.slope**2, gradient
