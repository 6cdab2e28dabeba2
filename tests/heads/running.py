"""Runs models with ONNX Runtime, as the service does: one thread, CPU."""

import os
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import: the wheel reports home

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto

from service.heads.build import build
from service.heads.stages import Stages
from service.metadata import Metadata

Answers = dict[str, NDArray[Any]]


def session(model: ModelProto) -> onnxruntime.InferenceSession:
    """A session on the model, bitwise reproducible."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def head(stages: Stages | None = None, classes: int | None = None) -> onnxruntime.InferenceSession:
    """A session on a head of its own."""
    return session(build(stages or Stages(), classes, Metadata()))


def run(running: onnxruntime.InferenceSession, **inputs: NDArray[Any]) -> Answers:
    """All outputs by name."""
    names = [output.name for output in running.get_outputs()]
    return dict(zip(names, running.run(names, inputs), strict=True))


def rows(n: int, k: int, seed: int = 0, scale: float = 5) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Random logits [n, k] and a mask that allows about four classes in five."""
    rng = np.random.default_rng(seed)
    return rng.normal(scale=scale, size=(n, k)).astype(np.float32), rng.random((n, k)) < 0.8
