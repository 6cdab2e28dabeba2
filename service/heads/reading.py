"""The stages of a head, read back from its ONNX graph."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper

from service.datasets.dataset import Floats
from service.errors import HeadError
from service.heads.stages import EntropyTemperature, Stages

HEAD: Final = "calibrant/"
"""Put before the head's own tensor names where the head stands behind a classifier."""

Constants = Mapping[str, TensorProto]


def read_stages(model: ModelProto) -> Stages:
    """The stages inside a head that `build` or `attach` made.

    Raises:
        HeadError: the graph has no default temperature, or lacks another constant.
    """
    nodes = {node.name for node in model.graph.node}
    prefix = HEAD if any(name.startswith(HEAD) for name in nodes) else ""
    own = ("temperature", prefix)
    constants = {t.name.removeprefix(prefix): t for t in model.graph.initializer if t.name.startswith(own)}
    if "temperature" not in constants:
        raise HeadError("has no default for the input temperature: make it with `calibrant export`")
    bias, scale, matrix = (array(constants, name) for name in ("bias", "scale", "matrix"))
    groups = array(constants, "group_temperatures")
    k = class_count(model)  # of odd K the parameters are padded
    return Stages(
        temperature=number(constants, "temperature"),
        bias=None if bias is None else bias[:k],
        scale=None if scale is None else scale[:k],
        matrix=None if matrix is None else matrix.T[:k, :k],
        log_input=number(constants, "log_input") if "log_input" in constants else None,
        entropy=entropy_temperature(constants),
        laplace=number(constants, "laplace") if "laplace" in constants else 0.0,
        group_temperatures=None if groups is None else groups[1:],  # the first is for rows of no group
        masks_first=f"{prefix}seen" in nodes,
    )


def entropy_temperature(constants: Constants) -> EntropyTemperature | None:
    """The entropy stage; its line is in the log-entropy as it is, with nothing left to standardise."""
    if "entropy_slope" not in constants:
        return None
    slope, offset, floor, bound = (
        number(constants, f"entropy_{name}") for name in ("slope", "offset", "floor", "bound")
    )
    return EntropyTemperature(offset, slope, mean=0.0, deviation=1.0, floor=floor, bound=bound)


def array(constants: Constants, name: str) -> Floats | None:
    """A constant in float64, or none where the graph has none of this name."""
    return numpy_helper.to_array(constants[name]).astype(np.float64) if name in constants else None


def number(constants: Constants, name: str) -> float:
    """The one number of a constant that must be there."""
    values = array(constants, name)
    if values is None:
        raise HeadError("lacks a constant of its calibrator: make it with `calibrant fit`")
    return float(values.reshape(()))


def class_count(model: ModelProto) -> int | None:
    """K where the outputs say so."""
    return next((o.type.tensor_type.shape.dim[1].dim_value for o in model.graph.output), 0) or None
