"""The JSON header of an Open Inference Protocol request: parsed and checked, whatever model it is for.

Clients send the same short header again and again before different binary data: those are remembered.
"""

import math
import sys
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson

from service.codec.arrays import json_type
from service.codec.depth import check_depth
from service.codec.infer.tensors import BINARY_ONLY, DTYPES, MAX_AXIS, MAX_RANK, Tensor, n_elements
from service.codec.infer.usual import Layout, layout_of
from service.codec.priors import parse_prior
from service.errors import InvalidValue, Malformed, NotJSON
from service.families.outputs import OUTPUTS

CLASSIFIED: Final = frozenset({"probabilities", "log_probabilities"})
REMEMBERED_BYTES: Final = 1024
MAX_TIMEOUT_US: Final = 3_600_000_000
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
        prior, abstain_below: the request's parameters, as in a body of /predict; the prior may be in a string.
        wanted: the outputs, in order; every one there is, for any model, where `names_outputs` is false.
        n_bytes: how many bytes of binary data follow the header.
        binary: all numbers come and go as binary data; layout: where they lie in the usual row, or none.
    """

    id: str | None
    temperature: float | None
    group: str | None
    timeout_s: float | None
    prior: dict[str, Any] | None
    abstain_below: float | None
    inputs: tuple[Tensor, ...]
    wanted: tuple[OutputRequest, ...]
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
        document = orjson.loads(header)
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
    parameters = parameters_of(given, "the request")
    items = check_type(given.get("inputs"), list, "inputs", "a list of tensors")
    inputs = tuple([read_tensor(item, i) for i, item in enumerate(items)])
    refuse_duplicates(inputs, "input")
    wanted = read_outputs(given.get("outputs"), read_flag(parameters, "binary_data_output", "the request"))
    return InferHeader(
        read_id(given.get("id")),
        read_temperature(parameters.get("temperature")),
        read_group(parameters.get("group")),
        read_timeout(parameters.get("timeout")),
        parse_prior(parameters.get("prior")),
        read_threshold(parameters.get("abstain_below")),
        inputs,
        wanted,
        bool(given.get("outputs")),
        sum([item.n_bytes or 0 for item in inputs]),
        all(item.n_bytes is not None for item in inputs) and all(w.binary and not w.n_classes for w in wanted),
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
    parameters = parameters_of(given, quote(name))
    refuse_shared_memory(parameters, name)
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
        parameters = parameters_of(given, quote(name))
        refuse_shared_memory(parameters, name)
        wanted.append(
            OutputRequest(name, read_flag(parameters, "binary_data", name, binary), n_classes(parameters, name))
        )
    refuse_duplicates(wanted, "output")
    return tuple(wanted)


def n_classes(parameters: dict[str, Any], name: str) -> int:
    """The classification extension: how many classes instead of the tensor, 0 for the tensor."""
    n = parameters.get("classification", 0)
    if type(n) is not int or not 0 <= n <= MAX_AXIS:
        raise InvalidValue(f"classification of {name} is not a number of classes", code="bad_classification")
    if n and name not in CLASSIFIED:
        raise InvalidValue(
            f"{name} has no classes to classify; {' and '.join(sorted(CLASSIFIED))} have", code="bad_classification"
        )
    return n


def read_id(value: Any) -> str | None:
    """The request's id, to be echoed."""
    if value is None:
        return None
    name: str = check_type(value, str, "id", "a string")
    if len(name) > MAX_ID:
        raise InvalidValue(f"id has {len(name)} characters; expected at most {MAX_ID}")
    return name


def read_temperature(value: Any) -> float | None:
    """The parameter `temperature`: a number, or a string that is one, as some clients' parameters are strings."""
    if value is None:
        return None
    number = to_number(value)
    if not 0 < number < math.inf:
        found = json_type(value) if math.isnan(number) else f"{number:g}"
        raise InvalidValue(
            f"the parameter temperature is {found}; expected a finite number above 0", code="bad_temperature"
        )
    return number


def read_group(value: Any) -> str | None:
    return None if value is None else str(check_type(value, str, "the parameter group", "a string"))


def read_timeout(value: Any) -> float | None:
    """The parameter `read_timeout` of the schedule policy extension, microseconds, as seconds; 0 is none."""
    if value is None:
        return None
    number = to_number(value)
    if not 0 <= number <= MAX_TIMEOUT_US:
        raise InvalidValue(f"the parameter timeout is not a number of microseconds from 0 to {MAX_TIMEOUT_US}")
    return number / 1e6 or None


def read_threshold(value: Any) -> float | None:
    """The parameter `abstain_below`: a number from 0 to 1, or a string of one."""
    if value is None:
        return None
    number = to_number(value)
    if not 0 <= number <= 1:
        raise InvalidValue("the parameter abstain_below is not a number from 0 to 1; expected one")
    return number


def to_number(value: Any) -> float:
    """A number, or the number in a string; NaN for anything else."""
    if type(value) in (int, float) or (type(value) is str and value.isascii() and "_" not in value):
        try:
            return float(value)
        except (ValueError, OverflowError):
            pass
    return math.nan


def parameters_of(given: dict[str, Any], of: str) -> dict[str, Any]:
    """The parameters of something; those that nobody here knows are let pass, as the protocol has them open."""
    value = given.get("parameters")
    return {} if value is None else check_type(value, dict, f"parameters of {of}", "an object")


def read_flag(parameters: dict[str, Any], key: str, of: str, default: bool = False) -> bool:
    value = parameters.get(key)
    return default if value is None else check_type(value, bool, f"{key} of {of}", "true or false")


def refuse_shared_memory(parameters: dict[str, Any], name: str) -> None:
    """Tensors come and go in the body here."""
    if "shared_memory_region" in parameters:
        raise InvalidValue(
            f"{quote(name)} lies in shared memory, which is not served; expected data in the body",
            code="no_shared_memory",
        )


def refuse_duplicates(items: "tuple[Tensor, ...] | list[OutputRequest]", what: str) -> None:
    """Refuse a name that is repeated."""
    names = [item.name for item in items]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidValue(f"the {what} {quote(twice)} is repeated; it may appear once", code="duplicate_key")


def check_type(value: Any, kind: type, name: str, expected: str) -> Any:
    """`value`, if it is of its kind."""
    if type(value) is not kind:
        found = "missing" if value is None else json_type(value)
        raise InvalidValue(f"{name} is {found}; expected {expected}", code="wrong_request")
    return value


def quote(name: str) -> str:
    """A client's word in a sentence, cut and harmless."""
    return name if name.isidentifier() and len(name) <= 40 else repr(name[:40])


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
