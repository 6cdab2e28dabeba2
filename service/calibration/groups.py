"""A temperature for each group of rows, such as tenants, on top of a calibrator.

Small groups are pulled towards the common temperature: their log-temperatures are shrunk by how much of their spread
is more than the standard errors explain (DerSimonian and Laird 1986).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from service.calibration import temperature
from service.datasets.dataset import Dataset, Floats
from service.errors import DataError, FitError
from service.heads.stages import Stages

MAX_ROUNDS: Final = 8
TOLERANCE: Final = 3e-3  # of a factor, relative


def fit(data: Dataset, calibrator: Stages) -> Stages:
    """`calibrator` with a factor of the temperature for each of the data's groups; 1 where none can be fitted.

    What all of them ask for is not theirs: it goes into the temperature, where the calibrator has one.

    Raises:
        DataError: the data have no groups.
    """
    logs, errors = estimate(data, calibrator)
    common = 0.0
    if not calibrator.reads_rows and np.isfinite(errors).any():  # else the scale of all is the other stages' business
        common = float(np.average(logs, weights=1 / errors**2))
    factors = np.exp(shrink(np.where(np.isfinite(errors), logs - common, 0), errors))
    return replace(calibrator, temperature=calibrator.temperature * float(np.exp(common)), group_temperatures=factors)


def estimate(data: Dataset, calibrator: Stages) -> tuple[Floats, Floats]:
    """The logarithm of each group's factor behind `calibrator`, from its own rows alone, and its standard error, `[G]`.

    0 and infinite where they say nothing.

    Raises:
        DataError: the data have no groups.
    """
    if data.groups is None:
        raise DataError("the data have no groups; expected an array or a column that --group names")
    logs = np.zeros(len(data.group_names))
    errors = np.full(len(data.group_names), np.inf)
    for group in range(len(data.group_names)):
        members = data.take(np.flatnonzero(data.groups == group))
        scores = np.concatenate([calibrator.scores(chunk.logits, chunk.mask) for chunk in members.chunks()])
        try:
            found = temperature.fit(replace(members, logits=scores, mask=None), calibrator.laplace)
        except FitError:
            continue
        logs[group], errors[group] = np.log(found.value), found.error / found.value
    return logs, errors


def alternate(
    data: Dataset, fit_rest: Callable[[Floats, Stages | None], Stages], start: Stages | None = None
) -> Stages:
    """The stages and the factors of the groups that suit each other: one is fitted to the other until nothing moves.

    `fit_rest` fits the stages where the factors `[G]` are given, from those that are near if there are any.
    """
    factors = None if start is None else start.group_temperatures
    if factors is None:
        factors = first_factors(data)
    for _ in range(MAX_ROUNDS):
        before, calibrator = factors, fit(data, replace(fit_rest(factors, start), group_temperatures=None))
        factors, start = calibrator.vector("group_temperatures"), calibrator
        if np.abs(np.log(factors / before)).max() < TOLERANCE:
            break
    return calibrator


def first_factors(data: Dataset) -> Floats:
    """The factors beside a temperature alone; 1 where none can be fitted."""
    try:
        return fit(data, Stages(temperature.fit(data).value)).vector("group_temperatures")
    except FitError:
        return np.ones(len(data.group_names))


def align(data: Dataset, names: tuple[str, ...]) -> Dataset:
    """The data with their groups counted as those of a fit, by name.

    Raises:
        DataError: rows of a group that the fit has not seen.
    """
    if data.groups is None or data.group_names == names:
        return data
    if new := [name for name in data.group_names if name not in names]:
        raise DataError(f"the test rows have the group {new[0]!r}, those of the fit have not; expected no new one")
    places = np.array([names.index(name) for name in data.group_names], np.int64)
    return replace(data, groups=places[data.groups], group_names=names)


def cool(data: Dataset, factors: Floats | None) -> Dataset:
    """The data with each row's logits over the factor of its group; as they are where there are none."""
    if factors is None or data.groups is None:
        return data
    return replace(data, logits=(data.logits / factors[data.groups][:, None]).astype(data.logits.dtype))


def shrink(logs: Floats, errors: Floats) -> Floats:
    """Log-temperatures `[G]` pulled towards 0 as their standard errors ask for; 0 where the error is infinite."""
    precision = 1 / errors**2
    known = precision > 0
    if known.sum() < 2:
        return np.where(known, logs, 0) if known.any() else np.zeros_like(logs)
    excess = float(precision @ logs**2) - known.sum()
    between = max(0.0, excess / precision.sum())
    return np.asarray(np.where(known, logs * between / (between + 1 / np.maximum(precision, 1e-300)), 0))
