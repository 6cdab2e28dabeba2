"""A body of the Open Inference Protocol's `infer` to a query: the header, the binary data behind it, and the rows."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.codec import arrays
from service.codec.groups import group_indices
from service.codec.infer.header import (
    REMEMBERED_BYTES,
    InferHeader,
    OutputRequest,
    header_length,
    raw_header,
    read_header,
)
from service.codec.infer.parameters import quote
from service.codec.infer.tensors import NAMES, Tensor, from_bytes, leaves_of, strings_from_bytes
from service.codec.infer.usual import read_usual
from service.codec.priors import read_prior
from service.codec.query import Query
from service.codec.sets import check_sets
from service.engine.rows import Rows, Runnable, Temperature
from service.engine.signature import Signature
from service.engine.single import WIDE_ROW, Row
from service.errors import InvalidValue, Malformed, count
from service.families.outputs import outputs_of

try:
    from service.codec.infer.fast import read_header_fast as read_header_fast  # also for the tests
except ImportError:  # simdjson has no wheel for this Python: the careful way reads everything

    def read_header_fast(header: bytes) -> InferHeader | None:  # noqa: ARG001 - the signature of the fast way
        """Leave it to the careful way."""
        return None


LOGITS = ("FP32", "FP64", "FP16", "BF16")
TEMPERATURES = ("FP32", "FP64")


class Inference(Query):
    """One request; `lead` is `()` where the logits came without a batch axis."""

    __slots__ = ("wanted",)

    wanted: tuple[OutputRequest, ...]


def decode_infer(body: bytes, length: bytes | None, model: Signature) -> Inference:
    """Read a request for `model`; `length` is the header `Inference-Header-Content-Length`, if it came.

    Raises:
        NotJSON, Malformed: the body is not framed as it says.
        InvalidValue: it is JSON, but not a request that can be answered.
    """
    n = header_length(length, len(body))
    text = raw_header(body, model) if n == 0 and body else body if n == len(body) else body[:n]
    header = (read_header_fast(text) if len(text) > REMEMBERED_BYTES else None) or read_header(text)
    if n + header.n_bytes != len(body):
        raise Malformed(
            f"{count(len(body) - n, 'byte')} of binary data came behind the header; expected {header.n_bytes}, as the "
            "inputs say",
            code="bad_binary_size",
        )
    return build_inference(header, body, n, model)


def build_inference(header: InferHeader, body: bytes, at: int, model: Signature) -> Inference:
    """The request that a header is, with the binary data that begin at byte `at` of the body.

    Raises:
        InvalidValue: it cannot be answered.
    """
    read = read_logits if model.takes == "logits" else read_inputs
    layout, usual = header.layout, None
    if layout is not None and header.group is None:
        usual = read_usual(layout, header.temperature, body, at, model)
    rows, lead, classes = usual or read(header, body, at, model)
    groups = group_indices(header.group, rows.n, model)
    if isinstance(rows, Rows):  # a single `Row` names no group
        rows = rows.with_groups(groups)
    if header.alpha is not None:
        check_sets(model, groups, temperature=rows.temperature, prior=header.prior)
    wanted = header.wanted
    if not header.names_outputs:
        wanted = tuple([one for one in wanted if one.name in outputs_of(model.family, model.averages)])
    made_of = tuple([one.name for one in wanted])
    if any(one.n_classes for one in wanted):
        made_of = (*made_of, "top")
    query = Inference(
        rows,
        made_of,
        lead,
        classes,
        False,
        header.top_k,
        header.timeout_s,
        header.id,
        alpha=header.alpha,
        groups=groups,
        binary=header.binary,
        prior=None if header.prior is None else read_prior(header.prior, classes[0] or None, model),
        abstain_below=header.abstain_below,
        group=header.group,
    )
    query.wanted = (*wanted, *header.added)
    return query


Decoded = tuple[Runnable, tuple[int, ...], tuple[int, ...]]  # the rows, their lead, the class axis


class GivenInputs(NamedTuple):
    """What came of a request's inputs: the model's own by name, and the two that every model takes."""

    own: dict[str, NDArray[Any]]
    mask: NDArray[np.bool_] | None
    temperature: tuple[Tensor, int] | None


def gather_inputs(header: InferHeader, body: bytes, at: int, model: Signature) -> GivenInputs:
    """The inputs, read where they stand; binary data begin at byte `at` of the body."""
    own: dict[str, NDArray[Any]] = {}
    mask = temperature = None
    for tensor in header.inputs:
        if tensor.name in model.inputs:
            own[tensor.name] = (
                read_numbers(tensor, body, at) if model.takes == "logits" else read_own_input(tensor, body, at, model)
            )
        elif tensor.name == "mask":
            mask = read_booleans(tensor, body, at)
        elif tensor.name == "temperature":
            temperature = tensor, at
        else:
            known = ", ".join([*model.inputs, "mask", "temperature"])
            raise InvalidValue(f"there is no input {quote(tensor.name)}; {known} are known", code="unknown_input")
        at += tensor.n_bytes or 0
    return GivenInputs(own, mask, temperature)


def read_logits(header: InferHeader, body: bytes, at: int, model: Signature) -> Decoded:
    """Rows of logits."""
    came = gather_inputs(header, body, at, model)
    logits = came.own.get("logits")
    if logits is None:
        raise InvalidValue(f"the model {model.name} takes logits; expected that input", code="missing_logits")
    shape = logits.shape
    one = 2 if model.averages else 1  # axes of a row
    if len(shape) not in (one, one + 1) or 0 in shape[-one:]:
        ranks = "[M, K] or [N, M, K] with at least one member and" if model.averages else "[K] or [N, K] with at least"
        raise InvalidValue(f"logits has the shape {list(shape)}; expected {ranks} one class", code="wrong_shape")
    lead, k = shape[:-one], shape[-1]
    n = math.prod(lead)
    if model.averages and shape[-2] != (model.members or shape[-2]):
        raise InvalidValue(
            f"rows have {count(shape[-2], 'member')}, the model averages {model.members}", code="wrong_members"
        )
    if k != (known := model.classes or k):
        raise InvalidValue(
            f"rows have {count(k, 'logit')}, the model has {count(known, 'class', 'classes')}",
            code="wrong_classes",
        )
    mask = None if came.mask is None else arrays.fit_mask(came.mask, (*lead, k), 1).reshape(n, k)
    temperature = read_temperatures(came.temperature, header, body, n)
    if n == 0:
        return Rows({"logits": np.zeros((0, *shape[1:]), np.float32)}), (0,), (k,)
    if model.averages:
        rows = Rows.from_members(logits.reshape(n, -1, k), mask, temperature, came_as=shape)
        return rows, lead, (k,)
    single = n == 1 and k <= WIDE_ROW and model.masks_first and header.group is None
    if single and not isinstance(temperature, np.ndarray):
        row = Row.from_plain(logits.reshape(-1), None if mask is None else mask.tobytes(), temperature)
        if row is not None:
            return row, lead, (k,)
    rows = Rows.from_logits(logits.reshape(n, k), mask, temperature, masks_first=model.masks_first, came_as=shape)
    return rows, lead, (k,)


def read_inputs(header: InferHeader, body: bytes, at: int, model: Signature) -> Decoded:
    """Rows of a classifier's own inputs."""
    came = gather_inputs(header, body, at, model)
    if missing := model.inputs.keys() - came.own.keys():
        raise InvalidValue(f"the input {', '.join(sorted(missing))} is missing", code="missing_inputs")
    counts = {len(values) for values in came.own.values()}
    if len(counts) != 1:
        raise InvalidValue("the inputs have different numbers of rows; expected the same", code="wrong_shape")
    n = counts.pop()
    mask = came.mask
    if mask is not None:
        if model.classes is None:
            raise InvalidValue("the model's number of classes is open; it takes no mask", code="bad_mask")
        mask = arrays.fit_mask(mask, (n, model.classes), 1)
    temperature = read_temperatures(came.temperature, header, body, n)
    empty = () if mask is None else np.flatnonzero(~mask.any(axis=1)).tolist()
    own = {name: came.own[name] for name in model.inputs}
    return Rows(own, mask, temperature, empty), (n,), (model.classes or 0,)


def read_numbers(tensor: Tensor, body: bytes, at: int) -> NDArray[Any]:
    """Logits, float32 or float64, of the tensor's shape."""
    check_datatype(tensor, LOGITS)
    if tensor.n_bytes is not None:
        values = from_bytes(tensor, body, at)
        return values.astype(np.float32) if values.dtype == np.float16 else values
    if isinstance(tensor.data, np.ndarray):
        return tensor.data.reshape(tensor.shape)
    leaves = leaves_of(tensor)
    return arrays.to_numbers(tensor.shape, leaves, tensor.name) if leaves else np.zeros(tensor.shape)


def read_booleans(tensor: Tensor, body: bytes, at: int) -> NDArray[np.bool_]:
    """A mask, of the tensor's shape."""
    check_datatype(tensor, ("BOOL",))
    if tensor.n_bytes is not None:
        return from_bytes(tensor, body, at)
    if isinstance(tensor.data, np.ndarray):
        return tensor.data.reshape(tensor.shape)
    return arrays.to_booleans(tensor.shape, leaves_of(tensor), tensor.name)


def read_temperatures(came: tuple[Tensor, int] | None, header: InferHeader, body: bytes, n: int) -> Temperature | None:
    """The input `temperature`, `[N]`, `[N, 1]` or `[1]`, or the parameter of that name; at most one of them."""
    if came is None:
        return header.temperature
    tensor, at = came
    if header.temperature is not None:
        raise InvalidValue("temperature was given both as an input and as a parameter; send one of them")
    check_datatype(tensor, TEMPERATURES)
    if tensor.shape not in ((n,), (n, 1), (1,), (1, 1)):
        raise InvalidValue(
            f"temperature has the shape {list(tensor.shape)}; expected [1], or [{n}] or [{n}, 1] for {count(n, 'row')}",
            code="wrong_shape",
        )
    if tensor.n_bytes is not None:
        column = from_bytes(tensor, body, at)
        if column.size == 1 and 0 < (only := float(column.item())) < math.inf:  # the usual case, fast
            return only
    else:
        column = arrays.to_numbers(tensor.shape, leaves_of(tensor), "temperature")
    with np.errstate(over="ignore"):
        column = column.astype(np.float32 if tensor.datatype == "FP32" else np.float64).astype(np.float64)
    good = (column > 0) & np.isfinite(column)
    if not good.all():
        row = int((~good).argmax())
        found = f"{column.reshape(-1)[row]:g}"
        raise InvalidValue(
            f"temperature[{row}] is {found}; expected a finite number above 0", code="bad_temperature", row=row
        )
    return float(column.reshape(-1)[0]) if column.size == 1 else column.reshape(n, 1)


def read_own_input(tensor: Tensor, body: bytes, at: int, model: Signature) -> NDArray[Any]:
    """An input of a classifier, as it declares it."""
    dtype, shape = model.inputs[tensor.name]
    check_datatype(tensor, (NAMES[np.dtype(dtype)],))
    sizes = tensor.shape[1:]
    if len(sizes) != len(shape) or any(size not in (None, got) for size, got in zip(shape, sizes, strict=True)):
        expected = ["N", *("any" if size is None else size for size in shape)]
        raise InvalidValue(f"{tensor.name} has the shape {list(tensor.shape)}; expected {expected}", code="wrong_shape")
    if tensor.n_bytes is None:
        return arrays.to_dtype(tensor.shape, leaves_of(tensor), tensor.name, dtype)
    if dtype is np.object_:
        return arrays.to_strings(tensor.shape, strings_from_bytes(tensor, body, at), tensor.name)
    values = from_bytes(tensor, body, at)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InvalidValue(f"{tensor.name} has a number that is not finite", code="bad_input")
    return values


def check_datatype(tensor: Tensor, datatypes: tuple[str, ...]) -> None:
    """Refuse a tensor of another datatype."""
    if tensor.datatype not in datatypes:
        raise InvalidValue(
            f"{tensor.name} is {tensor.datatype}; expected {' or '.join(datatypes)}", code="bad_datatype"
        )
