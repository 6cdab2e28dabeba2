"""What a model takes and gives, as the Open Inference Protocol's metadata and Triton's model configuration say it."""

from typing import Any

import numpy as np

from service.codec.infer.encode import output_dtype
from service.codec.infer.tensors import NAMES
from service.engine.signature import Signature
from service.families.outputs import PER_CLASS, outputs_of
from service.model import Model
from service.settings import Settings

Described = tuple[str, str, list[int]]  # name, datatype, shape with the batch axis; -1 is any size


def tensors(signature: Signature) -> tuple[list[Described], list[Described]]:
    """The required inputs, and the outputs."""
    inputs = [
        (name, NAMES[np.dtype(dtype)], [-1, *(-1 if size is None else size for size in shape)])
        for name, (dtype, shape) in signature.inputs.items()
    ]
    if signature.takes == "logits":
        members = [signature.members or -1] if signature.averages else []
        inputs = [("logits", "FP32", [-1, *members, signature.classes or -1])]
    family = signature.family
    wide = PER_CLASS if family.chooses_one else PER_CLASS | {"prediction"}
    outputs: list[Described] = [
        (name, NAMES[output_dtype(name, family)], [-1, signature.classes or -1] if name in wide else [-1])
        for name in outputs_of(family, signature.averages)
    ]
    return inputs, outputs


def configuration(model: Model, settings: Settings) -> dict[str, Any]:
    """A model's configuration in the fields of Triton's ModelConfig; sizes without the batch axis."""
    inputs, outputs = tensors(model.signature)
    return {
        "name": model.name,
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "version_policy": {"all": {}},
        "max_batch_size": settings.max_queue_rows,
        "input": [
            {"name": name, "data_type": f"TYPE_{kind}", "format": "FORMAT_NONE", **sizes(shape), "optional": False}
            for name, kind, shape in inputs
        ],
        "output": [{"name": name, "data_type": f"TYPE_{kind}", **sizes(shape)} for name, kind, shape in outputs],
        "instance_group": [
            {"name": model.name, "kind": "KIND_CPU" if model.head.provider == "cpu" else "KIND_GPU", "count": 1}
        ],
        "default_model_filename": "model.onnx",
        "dynamic_batching": {
            "preferred_batch_size": [settings.max_batch_rows],
            "max_queue_delay_microseconds": int(1e3 * settings.max_wait_ms),
        },
        "parameters": {"temperature": {"string_value": repr(model.signature.temperature)}},
    }


def sizes(shape: list[int]) -> dict[str, Any]:
    """Axes behind the batch axis; Triton says of a tensor without any that it has one of size 1, reshaped."""
    return {"dims": shape[1:]} if shape[1:] else {"dims": [1], "reshape": {"shape": []}}
