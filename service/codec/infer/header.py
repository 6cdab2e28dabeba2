"""The JSON header of an Open Inference Protocol request: parsed and checked, whatever model it is for.

Clients send the same short header again and again before different binary data: those are remembered.
"""

import sys
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from service.codec.depth import check_depth
from service.codec.infer.parameters import (
    OF_INPUT,
    OF_OUTPUT,
    OF_REQUEST,
    REQUEST,
    SETS,
    TOP,
    check_type,
    n_classes,
    parameters_of,
    quote,
    read_alpha,
    read_flag,
    read_group,
    read_temperature,
    read_threshold,
    read_timeout,
    read_top,
)
from service.codec.infer.tensors import BINARY_ONLY, DTYPES, MAX_AXIS, MAX_RANK, NAMES, Tensor, n_elements
from service.codec.infer.usual import Layout, layout_of
from service.codec.objects import first_repeated, without_collection
from service.codec.priors import parse_prior
from service.engine.signature import Signature
from service.errors import InvalidValue, Malformed, NotJSON, count
from service.families.outputs import OUTPUTS

REMEMBERED_BYTES: Final = 1024
MAX_ID: Final = 256


class OutputRequest(NamedTuple):
    """An output that is asked for: as binary data or JSON, or as its best `n_classes` classes if that is not 0."""

    name: str
    binary: bool
    n_classes: int


class InferHeader(NamedTuple):
    """A header.

    Attributes:
        temperature: the request's parameter, T > 0.
        group: the request's parameter, whose temperature all rows get.
        prior, abstain_below, alpha, top_k: the request's parameters, as in a body of /predict; the prior may be in a
            string.
        wanted: the outputs, in order; every one there is, for any model, where `names_outputs` is false.
        added: those that come with `alpha` and `top_k`.
        n_bytes: how many bytes of binary data follow the header.
        binary: all numbers come and go as binary data; layout: where they lie in the usual row, or none.
    """

    id: str | None
    temperature: float | None
    group: str | None
    timeout_s: float | None
    prior: dict[str, Any] | None
    abstain_below: float | None
    alpha: float | None
    top_k: int | None
    inputs: tuple[Tensor, ...]
    wanted: tuple[OutputRequest, ...]
    added: tuple[OutputRequest, ...]
    names_outputs: bool
    n_bytes: int
    binary: bool
    layout: Layout | None


def read_header(header: bytes) -> InferHeader:
    """What a header says.

    Raises:
        NotJSON: it is not JSON.
        InvalidValue: it is JSON, but not an inference request.
    """
    return remembered_header(header) if len(header) <= REMEMBERED_BYTES else parse_header(header)


def parse_header(header: bytes) -> InferHeader:
    """As `read_header`, without remembering."""
    check_depth(header)
    try:
        document = without_collection(orjson.loads, header)
    except orjson.JSONDecodeError as error:
        what = "the inference header is empty" if not header.strip() else f"the inference header is not JSON: {error}"
        raise NotJSON(f"{what}; expected a JSON object") from None
    return check_header(document)


def check_header(document: Any) -> InferHeader:
    """What a header says, once it is parsed.

    Raises:
        InvalidValue: it is not an inference request.
    """
    given = check_type(document, dict, "the inference request", "an object with inputs")
    parameters = parameters_of(given, REQUEST, OF_REQUEST)
    items = check_type(given.get("inputs"), list, "inputs", "a list of tensors")
    inputs = tuple([read_tensor(item, i) for i, item in enumerate(items)])
    refuse_duplicates(inputs, "input")
    binary = read_flag(parameters, "binary_data_output", REQUEST)
    wanted = read_outputs(given.get("outputs"), binary)
    alpha, top_k = read_alpha(parameters.get("alpha")), read_top(parameters.get("top_k"))
    names = (*(() if alpha is None else (SETS,)), *(() if top_k is None else TOP))
    added = tuple([OutputRequest(name, binary, 0) for name in names])
    return InferHeader(
        read_id(given.get("id")),
        read_temperature(parameters.get("temperature")),
        read_group(parameters.get("group")),
        read_timeout(parameters.get("timeout")),
        parse_prior(parameters.get("prior")),
        read_threshold(parameters.get("abstain_below")),
        alpha,
        top_k,
        inputs,
        wanted,
        added,
        bool(given.get("outputs")),
        sum([item.n_bytes or 0 for item in inputs]),
        all(item.n_bytes is not None for item in inputs)
        and all(one.binary and not one.n_classes for one in (*wanted, *added)),
        layout_of(inputs),
    )


remembered_header = lru_cache(maxsize=512)(parse_header)


def read_tensor(item: Any, i: int) -> Tensor:
    """One input, whose binary size fits its shape."""
    given = check_type(item, dict, f"inputs[{i}]", "an object with name, shape and datatype")
    name = check_type(given.get("name"), str, f"the name of inputs[{i}]", "a string")
    datatype = check_type(given.get("datatype"), str, f"the datatype of {quote(name)}", "a string such as FP32")
    if datatype not in DTYPES and datatype != "BYTES":
        raise InvalidValue(
            f"{quote(name)} has the datatype {quote(datatype)}; {', '.join(DTYPES)} are known", code="bad_datatype"
        )
    shape = shape_of(given.get("shape"), name)
    parameters = parameters_of(given, quote(name), OF_INPUT)
    n_bytes = parameters.get("binary_data_size")
    if n_bytes is None:
        if datatype in BINARY_ONLY:
            raise InvalidValue(f"{quote(name)} is {datatype}, which has no JSON form; expected binary data")
        return Tensor(name, datatype, shape, None, given.get("data"))
    if type(n_bytes) is not int or n_bytes < 0:
        raise InvalidValue(f"binary_data_size of {quote(name)} is not a number of bytes", code="bad_binary_size")
    if given.get("data") is not None:
        raise InvalidValue(f"{quote(name)} has both data and binary_data_size; send one of them")
    if datatype != "BYTES" and n_bytes != (needed := n_elements(shape) * DTYPES[datatype].itemsize):
        raise InvalidValue(
            f"the binary data of {quote(name)} are {n_bytes} bytes; {datatype} of the shape {list(shape)} has {needed}",
            code="bad_binary_size",
        )
    return Tensor(name, datatype, shape, n_bytes, None)


def shape_of(value: Any, name: str) -> tuple[int, ...]:
    axes = check_type(value, list, f"the shape of {quote(name)}", "a list of sizes")
    if any(type(size) is not int or not 0 <= size <= MAX_AXIS for size in axes) or not 1 <= len(axes) <= MAX_RANK:
        raise InvalidValue(
            f"the shape of {quote(name)} is not a list of 1 to {MAX_RANK} sizes from 0 to {MAX_AXIS}",
            code="wrong_shape",
        )
    if n_elements(tuple(size or 1 for size in axes)) > sys.maxsize // 8:
        raise InvalidValue(f"the shape of {quote(name)} is larger than any memory", code="wrong_shape")
    return tuple(axes)


def read_outputs(value: Any, binary: bool) -> tuple[OutputRequest, ...]:
    """The outputs that are asked for; all there are, if none is named. `binary` where an output says nothing."""
    if value is None or value == []:
        return tuple([OutputRequest(name, binary, 0) for name in OUTPUTS])
    wanted = []
    for i, item in enumerate(check_type(value, list, "outputs", "a list of outputs")):
        given = check_type(item, dict, f"outputs[{i}]", "an object with a name")
        name = check_type(given.get("name"), str, f"the name of outputs[{i}]", "a string")
        if name not in OUTPUTS:
            raise InvalidValue(
                f"there is no output {quote(name)}; there are {', '.join(OUTPUTS)}", code="unknown_output"
            )
        parameters = parameters_of(given, quote(name), OF_OUTPUT)
        wanted.append(
            OutputRequest(name, read_flag(parameters, "binary_data", name, binary), n_classes(parameters, name))
        )
    refuse_duplicates(wanted, "output")
    return tuple(wanted)


def read_id(value: Any) -> str | None:
    """The request's id, to be echoed."""
    if value is None:
        return None
    name: str = check_type(value, str, "id", "a string")
    if len(name) > MAX_ID:
        raise InvalidValue(f"id has {len(name)} characters; expected at most {MAX_ID}")
    return name


def refuse_duplicates(items: "tuple[Tensor, ...] | list[OutputRequest]", what: str) -> None:
    """Refuse a name that is repeated."""
    names = [item.name for item in items]
    if len(set(names)) != len(names):
        raise InvalidValue(
            f"the {what} {quote(first_repeated(names))} is repeated; it may appear once", code="duplicate_key"
        )


def header_length(value: bytes | None, n_bytes: int) -> int:
    """How many of the body's `n_bytes` are the header: what `Inference-Header-Content-Length` says, all if none came.

    Raises:
        Malformed: no number, or more than there are.
    """
    if value is None:
        return n_bytes
    if not value.isdigit():
        raise Malformed("Inference-Header-Content-Length is not a number of bytes", code="bad_header_length")
    length = int(value[:19])
    if length > n_bytes:
        raise Malformed(
            f"Inference-Header-Content-Length is {length} bytes; the body has {n_bytes}", code="bad_header_length"
        )
    return length


def raw_header(body: bytes, model: Signature) -> bytes:
    """The header for a body that is nothing but the only input's data: a raw binary request."""
    name, (dtype, shape) = next(iter(model.inputs.items()))
    if len(model.inputs) != 1 or dtype is np.object_:
        what = "strings" if len(model.inputs) == 1 else len(model.inputs)
        raise Malformed(
            f"Inference-Header-Content-Length is 0, which only a model with one input of numbers takes; {model.name} "
            f"has {what}",
            code="bad_header_length",
        )
    sizes = [-1, *(-1 if size is None else size for size in shape)]
    if model.takes == "logits":
        sizes = [-1, *([model.members or -1] if model.averages else []), model.classes or -1]
    itemsize = np.dtype(dtype).itemsize
    n_elements, rest = divmod(len(body), itemsize)
    fixed = int(np.prod([size for size in sizes if size != -1]))
    if sizes.count(-1) > 1:  # the number of classes is open: one row
        sizes[0] = 1
    if sizes.count(-1) > 1 or rest or n_elements % fixed:
        raise Malformed(
            f"the body has {count(len(body), 'byte')}; expected a raw {NAMES[np.dtype(dtype)]} tensor of {sizes}",
            code="bad_binary_size",
        )
    sizes = [n_elements // fixed if size == -1 else size for size in sizes]
    return (
        b'{"inputs":[{"name":"%s","datatype":"%s","shape":%s,"parameters":{"binary_data_size":%d}}],'
        b'"parameters":{"binary_data_output":true}}'
        % (name.encode(), NAMES[np.dtype(dtype)].encode(), str(sizes).encode(), len(body))
    )
