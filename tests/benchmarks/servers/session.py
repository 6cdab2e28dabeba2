"""The head that the comparison servers run, as the service would: one thread, the outputs that are asked for."""

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

HEAD = Path(__file__).parents[3] / "models" / "softmax" / "1" / "model.onnx"


def opened() -> ort.InferenceSession:
    """A session on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(HEAD, options, providers=["CPUExecutionProvider"])


session = opened()


def probabilities(logits: Any, mask: Any, temperature: Any) -> NDArray[np.float32]:
    """float32 `[N, K]` from whatever numpy can make arrays of; mask and temperature may be none."""
    feed: dict[str, NDArray[Any]] = {"logits": np.asarray(logits, np.float32)}
    if mask is not None:
        feed["mask"] = np.asarray(mask, np.bool_)
    if temperature is not None:
        feed["temperature"] = np.asarray(temperature, np.float64).reshape(-1, 1)
    outputs: list[NDArray[np.float32]] = session.run(["probabilities"], feed)
    return outputs[0]
