"""The stages of a head, read back from its ONNX graph."""

from dataclasses import replace
from typing import Final

from onnx import ModelProto, numpy_helper

from service.errors import HeadError
from service.families import find_family
from service.heads.members import Members
from service.heads.stages import Stages
from service.metadata import Metadata

HEAD: Final = "calibrant/"
"""Put before the head's own tensor names where the head stands behind a classifier."""


def read_stages(model: ModelProto) -> Stages:
    """The stages inside a head that `build` or `attach` made.

    Raises:
        HeadError: the graph has no default temperature, or lacks another constant.
    """
    nodes = {node.name for node in model.graph.node}
    prefix = HEAD if any(name.startswith(HEAD) for name in nodes) else ""
    own = ("temperature", prefix)
    tensors = (t for t in model.graph.initializer if t.name.startswith(own))
    constants = {t.name.removeprefix(prefix): numpy_helper.to_array(t) for t in tensors}
    if "temperature" not in constants:
        raise HeadError("has no default for the input temperature: make it with `calibrant export`")
    stages = Stages.from_constants(constants, class_count(model), masks_first=f"{prefix}seen" in nodes)
    metadata = Metadata.from_props({prop.key: prop.value for prop in model.metadata_props})
    family = find_family(metadata.family, metadata.alpha)
    return replace(stages, members=Members.from_metadata(metadata.ensemble), family=family)


def class_count(model: ModelProto) -> int | None:
    """K where the outputs say so."""
    return (
        next((o.type.tensor_type.shape.dim[1].dim_value for o in model.graph.output if o.name == "probabilities"), 0)
        or None
    )


def default_temperature(model: ModelProto) -> float:
    """That of the input `temperature`; of a head with a top-label stage it may be another than that of its fit.

    Raises:
        HeadError: there is none.
    """
    for tensor in model.graph.initializer:
        if tensor.name == "temperature":
            return float(numpy_helper.to_array(tensor).item())
    raise HeadError("has no default for the input temperature: make it with `calibrant export`")


def is_as_fitted(model: ModelProto) -> bool:
    """Whether its top-label stage, if it has one, was fitted at the temperature that is the default."""
    at = [numpy_helper.to_array(one).item() for one in model.graph.initializer if one.name.endswith("top_temperature")]
    return not at or at[0] == default_temperature(model)
