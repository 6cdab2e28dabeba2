"""How requests and answers look in JSON: this project's way, which most servers can be given, and others' own."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import orjson

from tests.benchmarks.work import Work, dumped


class Form(NamedTuple):
    """The body that carries some work, and where its probabilities `[N, K]` are in the bytes of an answer."""

    body: Callable[[Work], bytes]
    probabilities: Callable[[bytes], Any]


def tensors(work: Work) -> bytes:
    """A request of the Open Inference Protocol, in JSON."""
    n, k = work.expected.shape
    sent = {name: np.asarray(value) for name, value in orjson.loads(work.body).items()}
    types = {"logits": ("FP32", (n, k)), "mask": ("BOOL", (n, k)), "temperature": ("FP64", (n, 1))}
    inputs = [
        {"name": name, "datatype": types[name][0], "shape": types[name][1], "data": value.ravel()}
        for name, value in sent.items()
    ]
    return dumped({"inputs": inputs})


def first_tensor(answer: bytes) -> Any:
    """The first output of an answer of the Open Inference Protocol, in JSON."""
    output = orjson.loads(answer)["outputs"][0]
    return np.reshape(output["data"], output["shape"])


PLAIN = Form(lambda work: work.body, lambda answer: orjson.loads(answer)["probabilities"])
ARRAY = Form(lambda work: work.body, orjson.loads)
TENSORS = Form(tensors, first_tensor)
