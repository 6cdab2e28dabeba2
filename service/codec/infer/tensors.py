"""Tensors of the Open Inference Protocol: their datatypes, and their bytes to numpy and back.

Binary tensors are little-endian, row-major and unpadded. What comes in binary is not copied where it lies aligned in
the body. Layout as in Triton's binary tensor data extension.
"""

import math
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.codec import arrays
from service.errors import InvalidValue, count

# BF16 is not numpy's: the upper half of a float32. BYTES are not numbers: each element is its length and then itself.
DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
NAMES: Final[Mapping[np.dtype[Any], str]] = {
    **{dtype: name for name, dtype in DTYPES.items() if name != "BF16"},
    np.dtype(np.object_): "BYTES",
}
BINARY_ONLY: Final = frozenset({"FP16", "BF16"})
LENGTH_BYTES: Final = 4  # before each element of BYTES
MAX_AXIS: Final = 2**31 - 1
MAX_RANK: Final = 32


class Tensor(NamedTuple):
    """An input as the header describes it.

    Attributes:
        shape: all axes, the batch included.
        n_bytes: how many bytes of the body are its data; none where they stand in the header.
        data: nested or flat lists, or float64 or bool, flat and as many as the shape has, or none.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    n_bytes: int | None
    data: Any


def n_elements(shape: tuple[int, ...]) -> int:
    """How many elements a shape has."""
    return math.prod(shape)


def from_bytes(tensor: Tensor, body: bytes, at: int) -> NDArray[Any]:
    """A tensor whose data begin at byte `at` of the body; `[*shape]`, a view where it lies aligned.

    Its size was checked against its shape when the header was read.

    Raises:
        InvalidValue: a BOOL that is neither 0 nor 1.
    """
    dtype = DTYPES[tensor.datatype]
    n = n_elements(tensor.shape)
    if n == 0:
        return np.empty(tensor.shape, np.float32 if tensor.datatype == "BF16" else dtype)
    values = np.frombuffer(body, dtype, n, at)
    if at % dtype.itemsize:
        values = values.copy()
    if tensor.datatype == "BF16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    elif tensor.datatype == "BOOL" and np.maximum.reduce(values.view(np.uint8)) > 1:  # sooner than its `max`
        i = int((values.view(np.uint8) > 1).argmax())
        raise InvalidValue(
            f"{tensor.name} has the byte {values.view(np.uint8)[i]} as BOOL number {i}; expected 0 or 1",
            code="bad_mask" if tensor.name == "mask" else "bad_input",
        )
    return values.reshape(tensor.shape)


def strings_from_bytes(tensor: Tensor, body: bytes, at: int) -> list[str]:
    """The elements of a BYTES tensor whose data begin at byte `at` of the body, as many as its shape has.

    Raises:
        InvalidValue: their lengths do not add up to the data, or an element is not UTF-8.
    """
    found: list[str] = []
    n, end = n_elements(tensor.shape), at + (tensor.n_bytes or 0)
    while at < end and len(found) < n:
        start = at + LENGTH_BYTES
        at = start + int.from_bytes(body[at:start], "little")
        if max(start, at) > end:
            break
        try:
            found.append(body[start:at].decode())
        except UnicodeDecodeError:
            raise InvalidValue(
                f"{tensor.name} has an element that is not UTF-8, number {len(found)}; expected UTF-8", code="bad_input"
            ) from None
    if at != end or len(found) != n:
        raise InvalidValue(
            f"the binary data of {tensor.name} are {tensor.n_bytes} bytes; expected {n} elements, each behind its "
            "length in four bytes",
            code="bad_binary_size",
        )
    return found


def leaves_of(tensor: Tensor) -> list[Any]:
    """The data of a tensor that stands in the header, flat.

    Raises:
        InvalidValue: neither flat nor nested as the shape says, or another number of values.
    """
    data, shape = tensor.data, tensor.shape
    if isinstance(data, np.ndarray):
        numbers: list[Any] = data.tolist()
        return numbers
    n = n_elements(shape)
    if not isinstance(data, list):
        what = "has no data" if data is None else f"has data that are {arrays.json_type(data)}"
        raise InvalidValue(f"{tensor.name} {what}; expected a list of {n}", code="wrong_shape")
    if n == 0:
        if not is_empty(data):
            raise InvalidValue(
                f"{tensor.name} has data, and the shape {list(shape)}, which has none", code="wrong_shape"
            )
        return []
    if not data or not isinstance(data[0], list):
        given: tuple[int, ...] = (len(data),)
        leaves = data
    else:
        given, leaves = arrays.flatten(data, tensor.name)
    if len(leaves) != n:
        raise InvalidValue(
            f"{tensor.name} has {count(len(leaves), 'value')}; expected {n} for its shape {list(shape)}",
            code="wrong_shape",
        )
    if given not in (shape, (n,)):
        raise InvalidValue(
            f"{tensor.name} has data nested as {list(given)}; expected {list(shape)}, or a flat list of {n}",
            code="wrong_shape",
        )
    return leaves


def is_empty(data: list[Any]) -> bool:
    """Whether nothing stands in these lists."""
    while data:
        if not all(isinstance(item, list) for item in data):
            return False
        data = list(chain.from_iterable(data))
    return True


def to_bytes(strings: Iterable[str]) -> bytes:
    """A BYTES tensor's data, in UTF-8."""
    return join_elements(string.encode() for string in strings)


def join_elements(elements: Iterable[bytes]) -> bytes:
    """A BYTES tensor's data: for each element its length, four bytes, and then its bytes."""
    return b"".join(part for item in elements for part in (len(item).to_bytes(LENGTH_BYTES, "little"), item))
