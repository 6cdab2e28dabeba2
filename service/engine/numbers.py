"""Numbers and names that a file's metadata bring, checked before anything is computed with them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.conformal import SCORES, Conformal, Table
from service.errors import HeadError, count

MAX_NAME: Final = 256  # characters of what stands in answers, row by row
EMPTY: Final = Table(0, np.zeros(0, np.int64), np.zeros(0))
MOST_SCORES: Final = 2**53  # that float64 tells apart
FLOAT32: Final = float(np.finfo(np.float32).max)


class Range(NamedTuple):
    """Which numbers will do, and the words for it."""

    holds: Callable[[float], bool]
    expected: str


POSITIVE: Final = Range(lambda value: 0 < value < math.inf, "a finite number above 0")
NOT_NEGATIVE: Final = Range(lambda value: 0 <= value < math.inf, "a finite number of 0 or more")
SHARE: Final = Range(lambda value: 0 <= value <= 1, "a number from 0 to 1")
WEIGHT: Final = Range(lambda value: 0 <= value < 1, "a number from 0 to below 1")
FINITE: Final = Range(lambda value: abs(value) <= FLOAT32, "a finite number that float32 holds")


def check_number(value: object, what: str, allowed: Range, of: str = "") -> float:
    """A number of the metadata, such as its temperature; `of` says of what, where that is not the head.

    Raises:
        HeadError: it is none, or out of its range.
    """
    try:
        if isinstance(value, int | float) and allowed.holds(number := float(value)):
            return number
    except OverflowError:  # an integer of hundreds of digits
        pass
    raise HeadError(f"has the {what} {repr(value)[:40]}{of} in its metadata; expected {allowed.expected}")


def check_vector(values: object, what: str, classes: int | None, allowed: Range) -> NDArray[np.float64]:
    """A number for each class, float64 `[K]`.

    Raises:
        HeadError: there are more or fewer, or one is out of its range.
    """
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise HeadError(f"has a {what} in its metadata that is no list; expected one number for each class")
    if len(values) != classes:
        there = "any number of classes" if classes is None else count(classes, "class", "classes")
        raise HeadError(
            f"has {what} for {count(len(values), 'class', 'classes')} in its metadata, and serves {there}; expected "
            "one number for each class"
        )
    return np.array([check_number(value, what, allowed, f" of class {i}") for i, value in enumerate(values)])


def check_names(names: Sequence[str], what: str) -> None:
    """Refuse names that would make answers long.

    Raises:
        HeadError: one is longer than `MAX_NAME`.
    """
    for name in names:
        if len(name) > MAX_NAME:
            raise HeadError(
                f"has the {what} {name[:40]!r}... of {len(name)} characters in its metadata; expected at most "
                f"{MAX_NAME}"
            )


def check_temperatures(calibrator: Mapping[str, Any]) -> dict[str, float]:
    """The temperatures of the groups by their names; all must be finite and above 0, that of the head too.

    Raises:
        HeadError: one is not.
    """
    by_group = calibrator.get("group_temperatures", {})
    if not isinstance(by_group, dict):
        raise HeadError("has group_temperatures in its metadata that are no object; expected one of names and numbers")
    check_number(calibrator.get("temperature", 1.0), "temperature", POSITIVE)
    check_names(list(by_group), "group")
    for name, value in by_group.items():
        check_number(value, "temperature", POSITIVE, f" of the group {name[:40]}")
    return by_group


def check_conformal(found: Conformal, classes: int | None, n_groups: int) -> Conformal:
    """The scores, with a table for each group: one of which the fit kept no row has a set that is full.

    Raises:
        HeadError: they are none.
    """
    if found.score not in SCORES or found.by not in ("all", "class", "group"):
        raise HeadError("has conformal scores of another kind; expected lac, aps or raps, by all, class or group")
    check_number(found.temperature, "temperature", POSITIVE, " of its conformal scores")
    check_number(found.penalty, "penalty", NOT_NEGATIVE, " of its conformal scores")
    check_number(found.free_ranks, "free_ranks", NOT_NEGATIVE, " of its conformal scores")
    if found.by == "group":
        found = replace(found, tables=(*found.tables, *[EMPTY] * (n_groups - len(found.tables))))
    wanted = {"all": 1, "class": classes}.get(found.by, n_groups)
    if len(found.tables) != wanted:
        raise HeadError(
            f"has {count(len(found.tables), 'table')} of conformal scores in its metadata; expected {wanted}"
        )
    for table in found.tables:
        ranks, values = table.ranks, table.values
        good = ranks.ndim == values.ndim == 1 and len(ranks) == len(values) and (values > -np.inf).all()
        ascends = good and (values[1:] >= values[:-1]).all() and (np.diff(ranks) > 0).all()
        if not ascends or (len(ranks) and not (ranks[0] >= 1 and ranks[-1] <= table.n <= MOST_SCORES)):
            raise HeadError(
                "has conformal scores that are no numbers or not in order; expected them ascending, by rank"
            )
    return found
