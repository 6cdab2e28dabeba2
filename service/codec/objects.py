"""A body to a JSON object, strictly: UTF-8, no key twice, no number that is none."""

import gc
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from service.codec import arrays
from service.codec.depth import check_depth
from service.errors import InvalidValue, NotJSON

CONSTANTS: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": arrays.MinusInfinity("-inf")}


MAX_DIGITS: Final = 400  # more than any float64 has
COLLECTION_FROM: Final = 2**15  # bytes; while less is parsed, there is little to collect
Text = TypeVar("Text", str, bytes)


def parse_object(body: bytes, of: str = "an object with logits") -> dict[str, Any]:
    """The JSON object of a body; NaN and Infinity are read as what they name, for the error's sake."""
    if not body.strip():
        raise NotJSON("the body is empty; expected a JSON object")
    check_depth(body)
    try:
        document = without_collection(parse_text, body.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise NotJSON(f"the body is not UTF-8 at byte {error.start}; expected JSON in UTF-8") from None
    except json.JSONDecodeError as error:
        raise NotJSON(f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidValue(f"the body is {arrays.json_type(document)}; expected {of}")
    return document


def parse_text(text: str) -> Any:
    """JSON with no key twice."""
    return json.loads(text, object_pairs_hook=unique_keys, parse_constant=CONSTANTS.get, parse_int=parse_integer)


def without_collection(parse: Callable[[Text], Any], text: Text) -> Any:
    """Parse without collecting garbage, of which parsing makes none.

    The collector looks at all lists again and again while there are ever more: nine tenths of the time of a million.
    """
    if len(text) < COLLECTION_FROM or not gc.isenabled():
        return parse(text)
    gc.disable()
    try:
        return parse(text)
    finally:
        gc.enable()


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys differ."""
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = first_repeated([key for key, _ in pairs])
        raise InvalidValue(f"the key {twice[:40]!r} is repeated; it may appear once", code="duplicate_key")
    return found


def first_repeated(names: Sequence[str]) -> str:
    """The first name that comes again, of names of which one does; in time that goes by how many there are."""
    times = Counter(names)
    return next(name for name in names if times[name] > 1)


def parse_integer(digits: str) -> float:
    """An integer; one with hundreds of digits is beyond every bound, and infinity is as well."""
    return int(digits) if len(digits) < MAX_DIGITS else float(digits)
