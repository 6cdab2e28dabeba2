"""The shortest way in, for the usual body: `logits`, `mask` and `temperature` of a head that masks first.

For speed alone. `read_usual` has two forms: `speedups.c`, in wheels that were built with it, reads bodies of any size;
the one here reads short ones, whose Python floats are there before numpy has set up an array.

It takes a body only when it can prove that the careful way would read the same.
"""

from array import array
from typing import Any, Final

import numpy as np
import orjson

from service.codec.query import DEFAULT_OUTPUTS, Query
from service.engine.rows import Rows
from service.engine.signature import Signature
from service.engine.single import WIDE_ROW, Row

KEYS: Final = frozenset({"logits", "mask", "temperature"})
NUMBERS: Final = frozenset({float, int})
BOOLEANS: Final = frozenset({bool})
LARGEST: Final = 1e38  # within float32, whatever its last digits are
MINUS_INFINITY: Final = float("-inf")

# float32 [N, K] as bytes, -inf where a mask says no, at least one class left in each row; K; the temperature of all
# rows, or float64 [N] as bytes; whether that came as a list; whether the rows came in a list
Usual = tuple[bytes, int, float | bytes | None, bool, bool]


def read_usual(body: Any) -> Usual | None:
    """What a usual body holds, here one of one row; None where another way must look."""
    try:
        document = orjson.loads(body)
        # orjson keeps the last of two equal keys; but every key has a colon, and a colon in a string is one more
        if not document.keys() <= KEYS or body.count(b":") != len(document):
            return None
        row = document["logits"]
        nested = type(row[0]) is list
        if nested:
            (row,) = row
        if not is_plain(row):
            return None
        k = len(row)
        if "mask" in document:
            mask = document["mask"]
            if nested:
                (mask,) = mask
            apply_mask(row, mask)
        temperature, listed = None, False
        if "temperature" in document:
            temperature, listed = read_temperature(document["temperature"])
        return array("f", row).tobytes(), k, temperature, listed, nested
    except (ValueError, TypeError, LookupError, AttributeError):
        return None


def is_plain(row: Any) -> bool:
    """Whether a row is numbers that float32 holds, and no probabilities, which want a closer look."""
    if not NUMBERS.issuperset(map(type, row)):
        return False
    low = min(row)
    return bool(low > -LARGEST and max(row) < LARGEST and (low < 0 or sum(row) > 2))


def apply_mask(row: list[float], mask: Any) -> None:
    """Write -inf where a mask says no; raises ValueError where another way must look."""
    if len(mask) != len(row) or not BOOLEANS.issuperset(map(type, mask)) or True not in mask:
        raise ValueError
    for i, allowed in enumerate(mask):  # in place: a third of what a new list takes
        if not allowed:
            row[i] = MINUS_INFINITY


def read_temperature(given: Any) -> tuple[float, bool]:
    """The temperature, and whether it came as a list; raises ValueError where another way must look."""
    listed = type(given) is list
    if listed:
        (given,) = given
    if type(given) not in NUMBERS or not 0 < given < LARGEST:
        raise ValueError
    return float(given), listed


def usual_query(found: Usual, model: Signature) -> Query | None:
    """The query of what was read; None where the model wants it otherwise."""
    numbers, k, temperature, listed, nested = found
    if model.takes != "logits" or not model.masks_first or model.averages or k != (model.classes or k):
        return None
    n = len(numbers) // (4 * k)
    lead = (n,) if nested else ()
    if n == 1 and k <= WIDE_ROW and not isinstance(temperature, bytes):
        return Query(Row(numbers, None, temperature, ()), DEFAULT_OUTPUTS, lead, (k,), listed, plain=True)
    each = np.frombuffer(temperature).reshape(n, 1) if isinstance(temperature, bytes) else temperature
    rows = Rows({"logits": np.frombuffer(numbers, np.float32).reshape(n, k)}, None, each)
    return Query(rows, DEFAULT_OUTPUTS, lead, (k,), listed)
