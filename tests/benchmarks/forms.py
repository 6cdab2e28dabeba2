"""How requests and answers look: this project's JSON, which most servers can be given, others' own, and tensors."""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from tests.benchmarks.work import Work, dumped


def as_json(_: Work) -> Mapping[str, str]:
    """The headers of JSON."""
    return {"Content-Type": "application/json"}


class Form(NamedTuple):
    """The body that carries some work, where its probabilities `[N, K]` are in the bytes of an answer, and headers."""

    body: Callable[[Work], bytes]
    probabilities: Callable[[bytes], Any]
    headers: Callable[[Work], Mapping[str, str]] = as_json


class Tensor(NamedTuple):
    """An input of the Open Inference Protocol."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: NDArray[Any]


def tensors(work: Work) -> list[Tensor]:
    """The inputs of some work."""
    n, k = work.expected.shape
    sent = orjson.loads(work.body)
    types = {
        "logits": ("FP32", (n, k), np.float32),
        "mask": ("BOOL", (n, k), np.bool_),
        "temperature": ("FP64", (n, 1), np.float64),
    }
    return [
        Tensor(name, datatype, shape, np.asarray(sent[name], dtype).ravel())
        for name, (datatype, shape, dtype) in types.items()
        if name in sent
    ]


def in_json(work: Work) -> bytes:
    """A request of the Open Inference Protocol, in JSON."""
    inputs = [
        {"name": name, "datatype": datatype, "shape": shape, "data": values}
        for name, datatype, shape, values in tensors(work)
    ]
    return dumped({"inputs": inputs})


def binary_header(work: Work) -> bytes:
    """The JSON before the tensors."""
    inputs = [
        {
            "name": name,
            "datatype": datatype,
            "shape": shape,
            "parameters": {"binary_data_size": values.nbytes},
        }
        for name, datatype, shape, values in tensors(work)
    ]
    outputs = [{"name": "probabilities", "parameters": {"binary_data": True}}]
    return dumped({"inputs": inputs, "outputs": outputs})


def in_binary(work: Work) -> bytes:
    """The same with its tensors as bytes behind a header."""
    return binary_header(work) + b"".join(tensor.values.tobytes() for tensor in tensors(work))


def binary_headers(work: Work) -> Mapping[str, str]:
    """What says where the bytes begin."""
    return {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(binary_header(work))),
    }


def first_tensor(answer: bytes) -> Any:
    """The first output of an answer of the Open Inference Protocol, in JSON."""
    output = orjson.loads(answer)["outputs"][0]
    return np.reshape(output["data"], output["shape"])


def first_binary(answer: bytes) -> Any:
    """The first output of an answer of the Open Inference Protocol whose tensors are bytes."""
    header, end = json.JSONDecoder().raw_decode(answer.decode("latin-1"))
    shape = header["outputs"][0]["shape"]
    return np.frombuffer(answer, np.float32, int(np.prod(shape)), end).reshape(shape)


PLAIN = Form(lambda work: work.body, lambda answer: orjson.loads(answer)["probabilities"])
ARRAY = Form(lambda work: work.body, orjson.loads)
TENSORS = Form(in_json, first_tensor)
BINARY = Form(in_binary, first_binary, binary_headers)
