"""ModelInfer: how its messages are read, and how they are answered.

A message says what the JSON header of an `infer` over HTTP says, and is judged by the same rules; its tensors are the
binary data behind that header. Tensors that come as typed contents are made binary first. The answer's are always raw.
"""

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

import numpy as np

from service.codec.infer.decode import Inference, build_inference
from service.codec.infer.encode import data_of, datatype_of, output_shape, output_tensors, response_header
from service.codec.infer.header import (
    REMEMBERED_BYTES,
    InferHeader,
    check_header,
    shape_of,
)
from service.codec.infer.parameters import quote, refuse_shared_memory
from service.codec.infer.tensors import BINARY_ONLY, DTYPES, join_elements
from service.engine.signature import Signature
from service.errors import InvalidValue, count
from service.families import Answers
from service.rpc.messages import ModelInferRequest, ModelInferResponse, parse_message
from service.rpc.wire import MAX_FIELDS, Message, too_many_fields
from service.transports.budget import METERED_FROM
from service.transports.endpoints import Endpoint

CONTENTS: Final = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def open_message(body: bytes) -> Any:
    """The message that bytes are: parsed where they are few, which costs least; of more, what has to be counted.

    Raises:
        Malformed: they are none.
        InvalidValue: there are more fields than any request has.
    """
    return parse_message(ModelInferRequest, body) if len(body) < METERED_FROM else Message(body)


def decode_message(message: Any, _: bytes | None, model: Signature) -> Inference:
    """The query that a ModelInferRequest is, parsed or as a `Message`.

    Raises:
        Malformed: the bytes are none.
        InvalidValue: it cannot be answered.
    """
    if not message.model_name:
        raise InvalidValue("model_name is missing; expected a model's name", code="wrong_request")
    if isinstance(message, Message):
        if message.raw:
            about, sizes, data = message.header(), message.sizes(), message.data()
            header = remembered_header(about, sizes) if len(about) <= REMEMBERED_BYTES else read_raw(about, sizes)
            return build_inference(header, data, 0, model)
        message = parse_message(ModelInferRequest, message.body)
    raw = message.raw_input_contents[:]
    if raw:
        sizes = tuple(map(len, raw))
        message.ClearField("raw_input_contents")
        header = remembered_header(message.SerializeToString(), sizes)
    else:
        raw = [pack_contents(tensor) for tensor in message.inputs]
        header = read_message(message, map(len, raw))
    return build_inference(header, raw[0] if len(raw) == 1 else b"".join(raw), 0, model)


def read_raw(header: bytes, sizes: tuple[int, ...]) -> InferHeader:
    """What a message says whose tensors came raw, so many bytes each, and are not in it.

    Raises:
        Malformed: the bytes are no message.
        InvalidValue: it is not an inference request, or has other tensors than those.
    """
    message = parse_message(ModelInferRequest, header)
    for tensor in message.inputs:
        refuse_shared_memory(tensor.parameters, quote(tensor.name))
    if len(sizes) != len(message.inputs):
        raise InvalidValue(
            f"there are {len(message.inputs)} inputs and {len(sizes)} raw_input_contents; expected one for each",
            code="bad_binary_size",
        )
    for tensor in message.inputs:
        if tensor.HasField("contents"):
            raise InvalidValue(
                f"{quote(tensor.name)} has both contents and raw_input_contents; send one of them",
                code="wrong_request",
            )
    return read_message(message, sizes)


remembered_header = lru_cache(maxsize=512)(read_raw)  # clients send the same again and again with other data


def read_message(message: Any, sizes: Iterable[int]) -> InferHeader:
    """What a message says, judged as the JSON header that says the same."""
    if len(message.inputs) + len(message.outputs) > MAX_FIELDS:
        raise too_many_fields()
    inputs = [
        {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(tensor.shape),
            "parameters": {**plain_parameters(tensor.parameters), "binary_data_size": n_bytes},
        }
        for tensor, n_bytes in zip(message.inputs, sizes, strict=True)
    ]
    outputs = [{"name": output.name, "parameters": plain_parameters(output.parameters)} for output in message.outputs]
    given = {"id": message.id or None, "parameters": plain_parameters(message.parameters)}
    return check_header({**given, "inputs": inputs, "outputs": outputs})


def plain_parameters(given: Any) -> dict[str, Any]:
    """A map of InferParameter as plain values; one without a value is none."""
    return {
        key: None if (choice := value.WhichOneof("parameter_choice")) is None else getattr(value, choice)
        for key, value in given.items()
    }


def pack_contents(tensor: Any) -> bytes:
    """Typed contents as binary data.

    Raises:
        InvalidValue: they are of another type than the tensor, more or fewer than its shape has, or beyond its type.
    """
    refuse_shared_memory(tensor.parameters, quote(tensor.name))
    name, kind = quote(tensor.name), tensor.datatype
    if kind in BINARY_ONLY:
        raise InvalidValue(f"{name} is {kind}, which has no JSON form; expected binary data")
    expected = CONTENTS.get(kind)
    if expected is None:
        return b""  # whoever reads the datatype complains of it
    fields = [field.name for field, _ in tensor.contents.ListFields()]
    if fields not in ([], [expected]):
        raise InvalidValue(
            f"{name} is {kind} and comes in {' and '.join(fields)}; expected {expected}", code="bad_datatype"
        )
    given = getattr(tensor.contents, expected)
    if kind == "BYTES":
        return join_elements(given)
    sizes = shape_of(list(tensor.shape), tensor.name)
    if len(given) != math.prod(sizes):
        raise InvalidValue(
            f"{name} has {count(len(given), 'value')}; expected {math.prod(sizes)} for its shape {list(sizes)}",
            code="wrong_shape",
        )
    wide = np.asarray(given)
    values = wide.astype(DTYPES[kind])
    if values.dtype.kind in "iu" and (values != wide).any():  # numpy wraps them
        raise InvalidValue(f"{name} has a number beyond {kind}", code="bad_input")
    return values.tobytes()


def encode_message(query: Inference, arrays: Answers, model: Signature) -> tuple[bytes, None]:
    """The answer: a ModelInferResponse, serialized, which holds its binary data itself."""
    about = response_header(query, [], model)
    tensors = [(wanted.name, values) for wanted, values in output_tensors(query, arrays, model)]
    data = [bytes(data_of(values)) for _, values in tensors]
    message = ModelInferResponse(id=about.get("id"), raw_output_contents=data)
    for key, value in about.get("parameters", {}).items():
        setattr(message.parameters[key], PARAMETERS[type(value)], value)
    outputs = tuple([(name, datatype_of(values), output_shape(values, query)) for name, values in tensors])
    # messages one behind the other are one, with what each of them has
    return describe(model.name, model.version, outputs) + message.SerializeToString(), None


@lru_cache(maxsize=512)
def describe(name: str, version: str, outputs: tuple[tuple[str, str, tuple[int, ...]], ...]) -> bytes:
    """What the answers of a model have in common where their outputs have these names, datatypes and shapes."""
    message = ModelInferResponse(model_name=name, model_version=version)
    for output, datatype, shape in outputs:
        message.outputs.add(name=output, datatype=datatype, shape=shape)
    return bytes(message.SerializeToString())


PARAMETERS: Final = {bool: "bool_param", str: "string_param", float: "double_param"}
INFER: Final = Endpoint("infer", frozenset(), False, decode_message, encode_message)
