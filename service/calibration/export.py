"""From a fitted calibrator to a head: the same numbers as stages of a graph, and the story in its metadata."""

from typing import Any

import numpy as np

from service.calibration.calibrator import ENTROPY_FLOOR, LOG_TEMPERATURE_BOUND, Calibrator
from service.datasets.dataset import Floats
from service.heads.stages import EntropyLine, Stages


def stages(calibrator: Calibrator) -> Stages:
    """What the graph computes; the first group temperature is for rows of no group."""
    entropy, groups = calibrator.entropy, calibrator.group_temperatures
    line = None
    if entropy is not None:
        line = EntropyLine(
            entropy.intercept, entropy.slope, entropy.mean, entropy.deviation, ENTROPY_FLOOR, LOG_TEMPERATURE_BOUND
        )
    return Stages(
        temperature=calibrator.temperature,
        bias=calibrator.bias,
        scale=calibrator.scale,
        matrix=calibrator.matrix,
        log_input=calibrator.log_input,
        entropy=line,
        laplace=calibrator.laplace,
        group_temperatures=None if groups is None else np.concatenate([[1.0], groups]),
        masks_first=calibrator.masks_first,
    )


def parameters(calibrator: Calibrator, group_names: tuple[str, ...] = ()) -> dict[str, Any]:
    """The calibrator as JSON for the metadata; a matrix is in the graph alone, for it would fill the page."""
    told: dict[str, Any] = {
        "method": calibrator.method,
        "temperature": calibrator.temperature,
        "n_parameters": calibrator.n_parameters,
    }
    for name, values in (("bias", calibrator.bias), ("scale", calibrator.scale)):
        if values is not None:
            told[name] = listed(values)
    if calibrator.matrix is not None:
        told["matrix"] = f"{len(calibrator.matrix)} x {len(calibrator.matrix)}, in the graph"
    if calibrator.log_input is not None:
        told["log_input"] = calibrator.log_input
    if calibrator.entropy is not None:
        told["entropy"] = {
            "intercept": calibrator.entropy.intercept,
            "slope": calibrator.entropy.slope,
            "mean": calibrator.entropy.mean,
            "deviation": calibrator.entropy.deviation,
        }
    if calibrator.laplace:
        told["laplace"] = calibrator.laplace
    if calibrator.group_temperatures is not None:
        by_group = listed(calibrator.temperature * calibrator.group_temperatures)
        told["group_temperatures"] = dict(zip(group_names, by_group, strict=True))
    return told


def listed(values: Floats) -> list[float]:
    """As JSON numbers."""
    return [float(value) for value in values]
