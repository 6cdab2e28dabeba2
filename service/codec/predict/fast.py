"""The fast way in: simdjson reads floats straight into a buffer, one translation of its bytes reads the mask.

It takes a body only when it can prove that the careful way (`careful.py`, the contract) would read the same.
"""

import sys
from typing import Any, Final

import numpy as np
import simdjson
from numpy.typing import NDArray

from service.codec.depth import BOUND
from service.codec.query import DEFAULT_OUTPUTS, Query
from service.codec.simd import PARSERS, booleans_fast, has_lists, row_fast
from service.engine.rows import Rows, Runnable
from service.engine.signature import Signature
from service.engine.single import WIDE_ROW, Row
from service.families.outputs import OUTPUTS

KEYS: Final = frozenset({"logits", "mask", "temperature", "outputs", "top_k", "timeout_ms", "id"})
NAMES: Final = frozenset(OUTPUTS)


def decode_fast(body: bytes, model: Signature) -> Query | None:
    """The query, or None where the careful way must look: an error, a null, or anything unusual."""
    if model.takes != "logits" or model.averages:
        return None
    try:
        document = PARSERS.parse(body)
        keys = tuple(document)
        return read_fast(body, document, keys, model) if are_plain(keys) else None
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RuntimeError):
        # whatever simdjson stumbled over, the careful way names it; an integer beyond 64 bits is a RuntimeError
        return None


PLAIN_KEYS: Final[set[tuple[str, ...]]] = (
    set()
)  # grows to the orders of some of KEYS; what is unusual is not remembered


def are_plain(keys: tuple[str, ...]) -> bool:
    """Whether these are keys of this way, each of them once."""
    if keys in PLAIN_KEYS:
        return True
    if len(keys) <= len(KEYS) and KEYS.issuperset(keys) and len(set(keys)) == len(keys):
        PLAIN_KEYS.add(keys)
        return True
    return False


def read_fast(body: bytes, document: Any, keys: tuple[str, ...], model: Signature) -> Query | None:
    """From a parsed document whose keys are known; raises, or returns None, for the careful way."""
    listed = document["logits"]
    n, k = 1, len(listed)
    lead: tuple[int, ...] = ()
    if isinstance(listed[0], simdjson.Array):
        n, k, lead = k, len(listed[0]), (k,)
        if n > BOUND.lists or any(len(row) != k for row in listed):  # not by index, which walks there from the first
            return None
    if k == 0 or k != (model.classes or k):
        return None
    logits = np.frombuffer(listed.as_buffer(of_type="d"), np.float64)
    lists = 1 + len(lead) * n
    mask = temperature = None
    lists_temperature = False
    options: dict[str, Any] = {}
    for key in keys:
        if key == "mask":
            mask = mask_fast(body, n, k, len(lead))
            lists += 1 + len(lead) * n
        elif key == "temperature":
            temperature = temperature_fast(document[key], n)
            lists_temperature = isinstance(document[key], simdjson.Array)
            lists += lists_temperature
        elif key != "logits":
            lists += option_fast(key, document[key], options)
    # lists deeper than they should be would show as more brackets; a bracket in a string only costs the detour
    if not has_lists(body, lists) or len(logits) != n * k:
        return None
    rows = rows_fast(logits, mask, temperature, model, lead)
    query = Query(rows, DEFAULT_OUTPUTS, lead, (k,), lists_temperature)
    for name, option in options.items():
        setattr(query, name, option)
    return query


def rows_fast(
    logits: NDArray[np.float64],
    mask: bytes | NDArray[np.bool_] | None,
    temperature: float | NDArray[np.float64] | None,
    model: Signature,
    lead: tuple[int, ...],
) -> Runnable:
    """The rows of flat logits: one that is usual as it came, others checked."""
    n = lead[0] if lead else 1
    k = len(logits) // n
    single = n == 1 and k <= WIDE_ROW and model.masks_first
    if single and not isinstance(mask, np.ndarray) and not isinstance(temperature, np.ndarray):
        row = Row.from_plain(logits, mask, temperature)
        if row is not None:
            return row
    if isinstance(mask, bytes):
        mask = np.frombuffer(mask, np.bool_).reshape(1, k)
    first = model.masks_first
    return Rows.from_logits(logits.reshape(n, k), mask, temperature, masks_first=first, came_as=(*lead, k))


def mask_fast(body: bytes, n: int, k: int, rank: int) -> bytes | NDArray[np.bool_]:
    """The mask, a byte for each class of one row, or bool `[N, K]`; raises ValueError if there is anything else.

    An unescaped `"mask"` in valid JSON is a whole string, and one before a colon is the key.
    """
    start = body.rindex(b'"mask"') + 6
    return row_fast(body, start, k, rank) if n == 1 else booleans_fast(body, start, n, k, rank)


def temperature_fast(value: Any, n: int) -> float | NDArray[np.float64]:
    """A scalar for all rows or float64 `[N, 1]`; raises ValueError for what the careful way must judge."""
    if not isinstance(value, simdjson.Array):
        return number_between(value, 0.0)
    if len(value) != n:
        raise ValueError
    if n == 1:
        return number_between(value[0], 0.0)
    column = np.frombuffer(value.as_buffer(of_type="d"), np.float64)
    if not column.min() > 0:
        raise ValueError
    return column.reshape(n, 1)


def option_fast(key: str, value: Any, options: dict[str, Any]) -> int:
    """Put an option that is not an array of numbers into `options`, and return how many lists it was."""
    if key == "outputs":
        options["outputs"] = outputs = tuple(value.as_list())
        if not 0 < len(outputs) <= len(OUTPUTS) or not NAMES.issuperset(outputs):
            raise ValueError
        return 1
    if key == "top_k":
        if type(value) is not int or value < 1:
            raise ValueError
        options["top_k"] = value
    elif key == "timeout_ms":
        options["timeout_s"] = number_between(value, 0.0, 3_600_000.0) / 1e3
    else:
        if type(value) is not str or len(value) > 256:
            raise ValueError
        options["id"] = value
    return 0


def number_between(value: Any, above: float, most: float = sys.float_info.max) -> float:
    """A JSON number above `above`, at most `most`; raises ValueError for anything else."""
    if type(value) not in (float, int) or not above < value <= most:
        raise ValueError
    return float(value)
