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
from service.codec.infer.header import OutputRequest
from service.codec.infer.parameters import SETS, TOP
from service.codec.infer.tensors import NAMES, to_bytes
from service.codec.predict.encode import is_sure
from service.codec.priors import complete
from service.codec.sets import find_sets
from service.engine.signature import Signature
from service.families import Answers, Family
from service.families.outputs import PER_CLASS

# perf_analyzer writes beyond its memory where an output is FP64
FLOAT32: Final = np.dtype(np.float32)


def output_dtype(name: str, family: Family) -> np.dtype[Any]:
    """The dtype of an output."""
    if name != "prediction":
        return FLOAT32
    return np.dtype(np.int64 if family.chooses_one else np.bool_)


NUMPY: Final = orjson.OPT_SERIALIZE_NUMPY


def encode_infer(query: Inference, arrays: Answers, model: Signature) -> tuple[bytes, int | None]:
    """The body, and how much of it is its header; none if that is all."""
    outputs: list[dict[str, Any]] = []
    binary: list[memoryview] = []
    for wanted, values in output_tensors(query, arrays, model):
        output: dict[str, Any] = {
            "name": wanted.name,
            "datatype": datatype_of(values),
            "shape": output_shape(values, query),
        }
        if wanted.binary:
            data = data_of(values)
            output["parameters"] = {"binary_data_size": data.nbytes}
            binary.append(data)
        else:
            output["data"] = values.reshape(-1).tolist() if wanted.n_classes else values.reshape(-1)
        outputs.append(output)
    header = orjson.dumps(response_header(query, outputs, model), option=NUMPY)
    return (b"".join((header, *binary)), len(header)) if binary else (header, None)


def output_tensors(query: Inference, arrays: Answers, model: Signature) -> Iterator[tuple[OutputRequest, NDArray[Any]]]:
    """The tensors that were asked for: `[N, ...]`; those of the classification extension hold strings."""
    family = model.family
    arrays = complete(query, arrays if query.rows.n else empty_arrays(query), model)
    added = added_values(query, arrays, model)
    for wanted in query.wanted:
        values = added[wanted.name] if wanted.name in added else output_values(wanted.name, arrays, family)
        if wanted.name == "prediction" and query.abstain_below is not None:
            sure = np.array(is_sure(query.abstain_below, arrays, family), np.bool_)
            values = np.where(sure, values, -1) if values.ndim == 1 else values & sure[:, None]
        if wanted.n_classes:
            strings = classification_strings(values, family.top(arrays, wanted.n_classes), wanted.n_classes, model)
            values = np.array(strings, np.object_).reshape(len(values), min(wanted.n_classes, values.shape[1]))
        yield wanted, values


def datatype_of(values: NDArray[Any]) -> str:
    """What the protocol calls it."""
    return "BYTES" if values.dtype == np.object_ else NAMES[values.dtype]


def output_shape(values: NDArray[Any], query: Inference) -> tuple[int, ...]:
    """A tensor's shape; the batch axis of a class axis is there if the logits came with one."""
    return query.lead + values.shape[1:] if values.ndim > 1 else values.shape


def data_of(values: NDArray[Any]) -> memoryview:
    """A tensor's binary data."""
    if values.dtype == np.object_:
        return memoryview(to_bytes(values.reshape(-1)))
    return np.ascontiguousarray(values).data


def response_header(query: Inference, outputs: list[dict[str, Any]], model: Signature) -> dict[str, Any]:
    answer: dict[str, Any] = {"model_name": model.name, "model_version": model.version}
    if query.id is not None:
        answer["id"] = query.id
    rows = query.rows
    given = rows.temperature
    parameters: dict[str, Any] = {"method": model.method}
    if not isinstance(given, np.ndarray) and query.groups is None:  # a parameter is one value
        parameters["temperature"] = model.temperature if given is None else given
    if rows.empty:
        parameters["no_class_allowed"] = ", ".join(map(str, rows.empty))
    if rows.looks_like_probabilities:
        parameters["looks_like_probabilities"] = True
    answer["parameters"] = parameters
    answer["outputs"] = outputs
    return answer


def output_values(name: str, arrays: Answers, family: Family) -> NDArray[Any]:
    """An output: `[N, K]`, or `[N]`; a prediction of -1 where no class is left, of a sigmoid a boolean a class."""
    if name in PER_CLASS:
        return arrays[name]
    values: NDArray[Any] = getattr(family, name)(arrays)
    return values


def added_values(query: Inference, arrays: Answers, model: Signature) -> dict[str, NDArray[Any]]:
    """What comes with `alpha`, bool `[N, K]`; and with `top_k`, `[N, k]`, -1 and 0 behind the last class of a row."""
    added: dict[str, NDArray[Any]] = {}
    if query.alpha is not None and model.conformal is not None:
        added[SETS] = query.sets = find_sets(arrays["log_probabilities"], query, query.alpha, model.conformal)
    if query.top_k is not None:
        probabilities = arrays["probabilities"]
        shape = (len(probabilities), min(query.top_k, probabilities.shape[1]))
        classes, values = np.full(shape, -1), np.zeros(shape, np.float32)
        for i, best in enumerate(model.family.top(arrays, query.top_k)):
            classes[i, : len(best)], values[i, : len(best)] = best, probabilities[i, best]
        added |= dict(zip(TOP, (classes, values), strict=True))
    return added


def empty_arrays(query: Inference) -> dict[str, NDArray[Any]]:
    """What a head would say of no rows."""
    k = query.classes[0]
    wide, narrow = np.zeros((0, k), np.float32), np.zeros((0, 1), np.float32)
    of_rows = {"logsumexp": narrow, "mutual_information": narrow}
    return {"probabilities": wide, "log_probabilities": wide, "scores": np.zeros((0, k)), **of_rows}


def classification_strings(values: NDArray[Any], top: list[NDArray[np.int64]], n: int, model: Signature) -> list[str]:
    """`value:index[:label]` of the best `n` classes of each row, best first; what may not be chosen stands last."""
    n = min(n, values.shape[1])
    found = []
    for row, best in zip(values, top, strict=True):
        chosen = best.tolist()
        there = set(chosen)
        chosen += islice((i for i in range(len(row)) if i not in there), n - len(chosen))
        for i in chosen:
            label = f":{model.labels[i]}" if model.labels else ""
            found.append(f"{row[i]!s}:{i}{label}")
    return found
