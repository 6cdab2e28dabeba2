"""The parameters of an Open Inference Protocol request, of its inputs and of its outputs.

Numbers may come as strings, since some clients have no other parameters. The protocol leaves parameters open; one that
nobody knows here is refused all the same, as a misspelt `temperature` would be answered without it.
"""

import math
from collections.abc import Container
from typing import Any, Final

from service.codec.arrays import json_type
from service.codec.infer.tensors import MAX_AXIS
from service.errors import InvalidValue

REQUEST: Final = "the request"
OF_REQUEST: Final = (
    "temperature",
    "group",
    "prior",
    "abstain_below",
    "alpha",
    "top_k",
    "timeout",
    "priority",
    "binary_data_output",
    "content_type",
)
OF_INPUT: Final = ("binary_data_size", "content_type")
OF_OUTPUT: Final = ("binary_data", "classification", "content_type")
"""`priority` and `content_type` are taken, and change nothing."""
SETS: Final = "prediction_set"
TOP: Final = ("top_classes", "top_probabilities")
"""The outputs that come with `alpha` and with `top_k`."""
CLASSIFIED: Final = frozenset({"probabilities", "log_probabilities"})
MAX_TIMEOUT_US: Final = 3_600_000_000


def parameters_of(given: dict[str, Any], of: str, known: tuple[str, ...]) -> dict[str, Any]:
    """The parameters of something, all of them among `known`; raises InvalidValue."""
    value = given.get("parameters")
    if value is None:
        return {}
    parameters: dict[str, Any] = check_type(value, dict, f"parameters of {of}", "an object")
    if not parameters.keys() <= set(known):
        if of != REQUEST:
            refuse_shared_memory(parameters, of)
        unknown = next(key for key in parameters if key not in known)
        raise InvalidValue(
            f"the parameter {quote(unknown)} of {of} is unknown; {', '.join(known)} are known", code="unknown_parameter"
        )
    return parameters


def read_flag(parameters: dict[str, Any], key: str, of: str, default: bool = False) -> bool:
    value = parameters.get(key)
    return default if value is None else check_type(value, bool, f"{key} of {of}", "true or false")


def refuse_shared_memory(parameters: Container[str], name: str) -> None:
    """Tensors come and go in the body here."""
    if "shared_memory_region" in parameters:
        raise InvalidValue(
            f"{name} lies in shared memory, which is not served; expected data in the body",
            code="no_shared_memory",
        )


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


def read_alpha(value: Any) -> float | None:
    """The parameter `alpha`: a number above 0 and below 1, or a string of one."""
    if value is None:
        return None
    number = to_number(value)
    if not 0 < number < 1:
        raise InvalidValue("the parameter alpha is not a number above 0 and below 1; expected one")
    return number


def read_top(value: Any) -> int | None:
    """The parameter `top_k`: a whole number of classes, 1 or more, or a string of one."""
    if value is None:
        return None
    number = to_number(value)
    if not 1 <= number <= MAX_AXIS or number != int(number):
        raise InvalidValue("the parameter top_k is not a whole number of classes, 1 or more; expected one")
    return int(number)


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


def check_type(value: Any, kind: type, name: str, expected: str) -> Any:
    """`value`, if it is of its kind."""
    if type(value) is not kind:
        found = "missing" if value is None else json_type(value)
        raise InvalidValue(f"{name} is {found}; expected {expected}", code="wrong_request")
    return value


def quote(name: str) -> str:
    """A client's word in a sentence, cut and harmless."""
    return name if name.isidentifier() and len(name) <= 40 else repr(name[:40])
