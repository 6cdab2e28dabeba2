"""The answer to an Open Inference Protocol `infer`: a JSON header, and behind it the binary data that were asked for.

A JSON output carries no `parameters` (perf_analyzer stumbles over them); what the calibration has to say stands in the
response's. JSON has no infinity: -inf is null there, binary data have it.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from service.codec.infer.decode import Inference
from service.codec.infer.header import Wanted
from service.codec.infer.tensors import NAMES, as_bytes
from service.codec.query import Served
from service.engine.answers import Answers
from service.engine.rows import Arrays

# What there is to ask for: its dtype, and whether it has a class axis.
OUTPUT_TENSORS: Final[dict[str, tuple[np.dtype[Any], bool]]] = {
    "probabilities": (np.dtype(np.float32), True),
    "log_probabilities": (np.dtype(np.float32), True),
    "prediction": (np.dtype(np.int64), False),
    "confidence": (np.dtype(np.float32), False),
    "entropy": (np.dtype(np.float32), False),  # perf_analyzer writes beyond its memory where an output is FP64
    "logsumexp": (np.dtype(np.float32), False),
}
NUMPY: Final = orjson.OPT_SERIALIZE_NUMPY


def encode_infer(query: Inference, arrays: Arrays, model: Served) -> tuple[bytes, int | None]:
    """The body, and how much of it is its header; none if that is all."""
    outputs: list[dict[str, Any]] = []
    binary: list[memoryview] = []
    for wanted, values in told(query, arrays, model):
        said: dict[str, Any] = {"name": wanted.name, "datatype": datatype(values), "shape": shape(values, query)}
        if wanted.binary:
            data = data_of(values)
            said["parameters"] = {"binary_data_size": data.nbytes}
            binary.append(data)
        else:
            said["data"] = values.reshape(-1).tolist() if wanted.n_classes else values.reshape(-1)
        outputs.append(said)
    header = orjson.dumps(response(query, outputs, model), option=NUMPY)
    return (b"".join((header, *binary)), len(header)) if binary else (header, None)


def told(query: Inference, arrays: Arrays, model: Served) -> Iterator[tuple[Wanted, NDArray[Any]]]:
    """The tensors that were asked for: `[N, ...]`; those of the classification extension hold strings."""
    answers = Answers(arrays) if query.rows.n else Answers(no_rows(query))
    for wanted in query.wanted:
        values = tensor(wanted.name, answers)
        if wanted.n_classes:
            strings = classified(values, answers, wanted.n_classes, model)
            values = np.array(strings, np.object_).reshape(len(values), min(wanted.n_classes, values.shape[1]))
        yield wanted, values


def datatype(values: NDArray[Any]) -> str:
    """What the protocol calls it."""
    return "BYTES" if values.dtype == np.object_ else NAMES[values.dtype]


def shape(values: NDArray[Any], query: Inference) -> tuple[int, ...]:
    """A tensor's shape; the batch axis of a class axis is there if the logits came with one."""
    return query.lead + values.shape[1:] if values.ndim > 1 else values.shape


def data_of(values: NDArray[Any]) -> memoryview:
    """A tensor's binary data."""
    if values.dtype == np.object_:
        return memoryview(as_bytes(values.reshape(-1)))
    return np.ascontiguousarray(values).data


def response(query: Inference, outputs: list[dict[str, Any]], model: Served) -> dict[str, Any]:
    """The response object."""
    said: dict[str, Any] = {"model_name": model.name, "model_version": model.version}
    if query.id is not None:
        said["id"] = query.id
    rows = query.rows
    given = rows.temperature
    parameters: dict[str, Any] = {}
    if not isinstance(given, np.ndarray) and query.groups is None:  # a parameter is one value
        parameters["temperature"] = model.temperature if given is None else given
    if rows.empty:
        parameters["no_class_allowed"] = ", ".join(map(str, rows.empty))
    if rows.looks_like_probabilities:
        parameters["looks_like_probabilities"] = True
    if parameters:
        said["parameters"] = parameters
    said["outputs"] = outputs
    return said


def tensor(name: str, answers: Answers) -> NDArray[Any]:
    """An output: `[N, K]`, or `[N]`; a prediction of -1 where no class is left."""
    if OUTPUT_TENSORS[name][1]:
        return answers.arrays[name]
    values: NDArray[Any] = getattr(answers, name)()
    return values


def no_rows(query: Inference) -> dict[str, NDArray[Any]]:
    """What a head would say of no rows."""
    k = query.classes[0]
    wide, narrow = np.zeros((0, k), np.float32), np.zeros((0, 1), np.float32)
    return {"probabilities": wide, "log_probabilities": wide, "scores": np.zeros((0, k)), "logsumexp": narrow}


def classified(values: NDArray[Any], answers: Answers, n: int, model: Served) -> list[str]:
    """`value:index[:label]` of the best `n` classes of each row, best first; what may not be chosen stands last."""
    n = min(n, values.shape[1])
    found = []
    for row, best in zip(values, answers.top(n), strict=True):
        chosen = best.tolist()
        there = set(chosen)
        chosen += islice((i for i in range(len(row)) if i not in there), n - len(chosen))
        for i in chosen:
            label = f":{model.labels[i]}" if model.labels else ""
            found.append(f"{row[i]!s}:{i}{label}")
    return found
