"""A head of a models folder once more, at another temperature or as it is, as the next version."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, numpy_helper

from service.errors import CannotStart, HeadError
from service.heads.build import set_metadata
from service.heads.publish import publish_version
from service.heads.reading import default_temperature
from service.metadata import Metadata


def read(path: Path) -> tuple[ModelProto, Metadata]:
    """A head file.

    Raises:
        CannotStart: it cannot be read.
        HeadError: it is not a head.
    """
    try:
        model = onnx.load(path)
    except OSError as error:
        raise CannotStart(f"{path} cannot be read: {error.strerror}") from error
    except Exception as error:  # protobuf raises its own
        raise HeadError(f"{path} is not an ONNX model") from error
    return model, Metadata.from_props({prop.key: prop.value for prop in model.metadata_props})


def publish_tempered(source: Path, folder: Path, factor: float, changes: dict[str, Any]) -> Path:
    """Write the head at `source` as the next version in `folder`, its temperature times `factor`; return where.

    Nothing but the default of the input `temperature` changes in the graph: the head must end in the temperature, or in
    a top-label stage, behind which another temperature than that of its fit divides. `changes` are of the metadata.

    Raises:
        CannotStart: a file cannot be read or written.
        HeadError: it is not a head, or has no default temperature.
    """
    model, metadata = read(source)
    temperature = default_temperature(model) * factor
    for tensor in model.graph.initializer:
        if tensor.name == "temperature":
            tensor.CopyFrom(numpy_helper.from_array(np.array([[temperature]]), tensor.name))
    calibrator = {**metadata.calibrator, "temperature": temperature}
    if factor != 1:
        calibrator.pop("temperature_error", None)
        if groups := calibrator.get("group_temperatures"):
            calibrator["group_temperatures"] = {name: value * factor for name, value in groups.items()}
    metadata = metadata.model_copy(update={"calibrator": calibrator, **changes})
    return publish_version(set_metadata(model, metadata), folder)
