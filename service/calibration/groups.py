"""A temperature for each group of rows, such as tenants, on top of a calibrator.

Small groups are pulled towards the common temperature: their log-temperatures are shrunk by how much of their spread
is more than the standard errors explain (DerSimonian and Laird 1986).
"""

from dataclasses import replace

import numpy as np

from service.calibration import temperature
from service.datasets.dataset import Dataset, Floats
from service.errors import DataError, FitError
from service.heads.stages import Stages


def fit(data: Dataset, calibrator: Stages) -> Stages:
    """`calibrator` with a factor of the temperature for each of the data's groups; 1 where none can be fitted.

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
    return replace(calibrator, group_temperatures=np.exp(shrink(logs, errors)))


def shrink(logs: Floats, errors: Floats) -> Floats:
    """Log-temperatures `[G]` pulled towards 0 as their standard errors ask for; 0 where the error is infinite."""
    precision = 1 / errors**2
    known = precision > 0
    if known.sum() < 2:
        return np.where(known, logs, 0) if known.any() else np.zeros_like(logs)
    excess = float(precision @ logs**2) - known.sum()
    between = max(0.0, excess / precision.sum())
    return np.asarray(np.where(known, logs * between / (between + 1 / np.maximum(precision, 1e-300)), 0))
