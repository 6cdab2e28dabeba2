"""The fast way in for `infer` with its data in JSON: as `fast.py` for predict, one tensor after the other.

It takes a header only when it can prove that the careful way (`header.py`) would read the same. It has no escapes, no
key twice, and just the lists and the data that were found: so what looks like a list or the key `"data"` is one.
"""

import codecs
import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import simdjson
from numpy.typing import NDArray

from service.codec.depth import BOUND
from service.codec.infer.header import InferHeader, check_header, shape_of
from service.codec.simd import PARSERS, booleans_fast, has_lists
from service.errors import InvalidValue

FLOATS: Final = frozenset({"FP32", "FP64"})
KEY: Final = b'"data"'
MAX_KEYS: Final = 64  # of an object; the protocol knows a dozen


def read_header_fast(header: bytes) -> InferHeader | None:
    """What a header says, its numbers and booleans as arrays, or None where the careful way must look."""
    if b"\\" in header or header.startswith(codecs.BOM_UTF8):  # which the parser passes over, and JSON does not have
        return None
    try:
        return check_header(Reader(header).request(PARSERS.parse(header)))
    except (InvalidValue, ValueError, TypeError, LookupError, AttributeError, OverflowError, RuntimeError):
        return None


class Reader:
    """Reads one header; raises whatever it stumbles over, for the careful way to name."""

    def __init__(self, header: bytes) -> None:
        self.header = header
        self.n_lists = 0
        self.at = 0  # behind the key of the data that were read last

    def request(self, document: Any) -> dict[str, Any]:
        """The document, plain but for its data."""
        given: dict[str, Any] = {}
        for key, value in entries(document):
            if key == "inputs":
                if not isinstance(value, simdjson.Array):
                    raise TypeError
                self.n_lists += 1
                given[key] = [self.tensor(item) for item in value]
            else:
                given[key] = self.plain(value)
        if not has_lists(self.header, self.n_lists) or self.header.find(KEY, self.at) >= 0:
            raise ValueError
        return given

    def tensor(self, item: Any) -> dict[str, Any]:
        given = {key: self.plain(value) for key, value in entries(item) if key != "data"}
        if len(given) < len(item):
            self.at = self.header.index(KEY, self.at) + len(KEY)
            given["data"] = self.data(item["data"], given["datatype"], given["shape"])
        return given

    def data(self, value: Any, datatype: str, shape: Any) -> Any:
        """float64 or bool, flat, as many as the shape has; plain lists for other datatypes."""
        if datatype not in FLOATS and datatype != "BOOL":
            return self.plain(value)
        # checked before they are multiplied: a string times a number of the client's choice would be as long as that
        n, k, rank = 1, math.prod(shape_of(shape, "data")), 0
        if isinstance(value[0], simdjson.Array):
            (n, k), rank = shape, 1
            if len(value) != n or n > BOUND.lists or any(len(row) != k for row in value):
                raise ValueError
        elif len(value) != k:
            raise ValueError
        self.n_lists += 1 + rank * n
        if datatype == "BOOL":
            return booleans_fast(self.header, self.at, n, k, rank).reshape(-1)
        values: NDArray[np.float64] = np.frombuffer(value.as_buffer(of_type="d"), np.float64)
        if len(values) != n * k:
            raise ValueError
        return values

    def plain(self, value: Any) -> Any:
        """Python's own lists, dictionaries and scalars."""
        if isinstance(value, simdjson.Object):
            return {key: self.plain(part) for key, part in entries(value)}
        if isinstance(value, simdjson.Array):
            self.n_lists += 1
            return [self.plain(part) for part in value]
        return value


def entries(thing: Any) -> Iterator[tuple[str, Any]]:
    """Key and value of an object that has no key twice, and not many: each is looked for from the first."""
    if len(thing) > MAX_KEYS or len(set(thing)) != len(thing):
        raise ValueError
    for key in thing:
        yield key, thing[key]
