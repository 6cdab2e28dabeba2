"""What pydantic finds wrong, in the service's own words: what was given, and what was expected.

Messages never echo a client's string; they may echo a number.
"""

from typing import Any, Final

from pydantic import ValidationError

from service.codec import arrays
from service.errors import count
from service.families.outputs import OUTPUTS

NAMES: Final = ", ".join(OUTPUTS)
EXPECTED: Final = {
    "inputs": "an object of lists by the names of the inputs",
    "outputs": f"a list of 1 to {len(OUTPUTS)} of {NAMES}",
    "outputs[]": f"one of {NAMES}",
    "top_k": "a whole number of classes, 1 or more",
    "alpha": "a number above 0 and below 1",
    "prior": "an object of new, old and strength",
    "abstain_below": "a number from 0 to 1",
    "group": "a string, or a list of strings, one a row",
    "group[]": "a string",
    "label_smoothing": "a number from 0 to below 1",
    "of": "probabilities or log_probabilities",
    "axis": "-1, or a list of trailing axes such as [-2, -1]",
    "axis[]": "a whole number below 0",
    "timeout_ms": "a number of milliseconds above 0, 3600000 at most",
    "id": "a string of Unicode, 256 characters at most",
    "by": "a name of 1 to 256 characters",
    "force": "true or false",
    "ready": "true or false",
    "parameters": "an object",
}
NAMED: Final = frozenset({"outputs[]", "of"})  # whose values are names
COUNTED: Final = frozenset({"too_long", "too_short", "string_too_long", "string_too_short"})
MAX_SHOWN: Final = 40  # digits


def sentence(error: ValidationError) -> str:
    """The sentence for the first key that is wrong; within it, for the item that pydantic came furthest to."""
    errors = error.errors(include_url=False)
    key = errors[0]["loc"][0]
    furthest = max((one for one in errors if one["loc"][0] == key), key=lambda one: len(indices(one["loc"])))
    place = indices(furthest["loc"])
    kind = f"{key}{'[]' if place else ''}"
    expected = EXPECTED[kind]
    if furthest["type"] == "missing":
        return f"{key} is missing; expected {expected}"
    value = furthest["input"]
    if kind in NAMED and type(value) is str:
        found = "is an unknown name"
    else:
        found = length_text(value) if furthest["type"] in COUNTED else value_text(value)
    return f"{key}{''.join(f'[{i}]' for i in place)} {found}; expected {expected}"


def indices(location: tuple[int | str, ...]) -> list[int]:
    """The indices in a place; the other words are pydantic's names of the branches of a union."""
    return [part for part in location if isinstance(part, int)]


def length_text(value: Any) -> str:
    """How long something is."""
    return f"has {count(len(value), 'character' if isinstance(value, str) else 'item')}"


def value_text(value: Any) -> str:
    """What something is: a number itself, anything else by its kind."""
    if type(value) not in (int, float):
        return f"is {arrays.json_type(value)}"
    digits = str(value)
    return f"is {digits if len(digits) <= MAX_SHOWN else 'out of range'}"
