"""Heads and other ONNX files, made for a test."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from service.heads.build import build
from service.heads.publish import write
from service.heads.stages import Stages
from service.metadata import Metadata


def head(
    path: Path,
    temperature: float = 1.0,
    *,
    classes: int | None = None,
    labels: Sequence[str] | None = None,
    bias: Sequence[float] | None = None,
) -> Path:
    """A head file at `path`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stages = Stages(temperature, None if bias is None else np.array(bias, np.float64))
    k = len(labels) if labels else len(bias) if bias else classes
    return write(build(stages, k, Metadata(classes=k, labels=None if labels is None else tuple(labels))), path)


def put(models: Path, name: str, version: int, source: Path) -> Path:
    """Copy a head to its place in a models folder, by a rename."""
    place = models / name / str(version) / "model.onnx"
    place.parent.mkdir(parents=True, exist_ok=True)
    new = place.with_name(f".{source.parent.name}.new")
    shutil.copyfile(source, new)
    new.replace(place)
    return place


def foreign(
    path: Path, *, n: int | None = None, props: dict[str, str] | None = None, names: Sequence[str] = ()
) -> Path:
    """An ONNX file that is no head of ours: each output is the Softmax of `x` `[n, 4]`."""
    rows = "N" if n is None else n
    names = names or ["y"]
    graph = helper.make_graph(
        [helper.make_node("Softmax", ["x"], [name]) for name in names],
        "foreign",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, 4])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [rows, 4]) for name in names],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, props or {})
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path
