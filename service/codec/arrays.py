"""Nested JSON lists to numpy arrays, strictly: no string for a number, no number for a boolean, no ragged rows.

The careful way in, for whatever the fast one passes on, and the one that knows how to complain.
"""

import math
import re
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidValue, count

MAX_LEVELS: Final = 32  # of lists; numpy has 64 axes


class MinusInfinity(float):
    """The bare constant -Infinity of a body: among logits as good as null, anywhere else a number out of range."""


LEAVES: Final[Mapping[str, set[type]]] = {"b": {bool}, "f": {int, float}, "O": {str}}  # of JSON, by the kind of dtype
SURROGATE: Final = re.compile("[\ud800-\udfff]")
MISSING: Final = frozenset({type(None), MinusInfinity})  # a class without a score
SPOKEN = {
    bool: "a boolean",
    str: "a string",
    dict: "an object",
    list: "a list",
    type(None): "null",
    int: "a number",
    float: "a number",
    MinusInfinity: "-Infinity",
}


def json_type(value: Any) -> str:
    """What kind of JSON a value is, for a sentence."""
    return SPOKEN.get(type(value), type(value).__name__)


def flatten(value: Any, name: str) -> tuple[tuple[int, ...], list[Any]]:
    """The shape and the leaves, in row-major order, of nested lists.

    Raises:
        InvalidValue: no list, an empty one, too many levels, lists of different lengths, or lists beside leaves.
    """
    if not isinstance(value, list):
        raise InvalidValue(f"{name} is {json_type(value)}; expected a list", code="wrong_shape")
    level: list[Any] = value
    shape: tuple[int, ...] = (len(value),)
    while level and isinstance(level[0], list):
        n = len(level[0])
        for i, item in enumerate(level):
            if not isinstance(item, list):
                where = f"{name}{place(i, shape)}"
                raise InvalidValue(f"{where} is {json_type(item)}; expected a list of {n}", code="wrong_shape")
            if len(item) != n:
                raise InvalidValue(
                    f"{name}{place(i, shape)} has {count(len(item), 'value')}; expected {n}, as in "
                    f"{name}{place(0, shape)}",
                    code="ragged_rows",
                    row=i if len(shape) == 1 else None,
                )
        if len(shape) == MAX_LEVELS:
            raise InvalidValue(f"{name} has more than {MAX_LEVELS} levels of lists; expected fewer", code="wrong_shape")
        level = list(chain.from_iterable(level))
        shape = (*shape, n)
    if not level:
        raise InvalidValue(f"{name} is empty; expected at least one row of at least one class", code="wrong_shape")
    return shape, level


def place(flat_index: int, shape: tuple[int, ...]) -> str:
    """`[i][j]` for the index of a leaf."""
    return "".join(f"[{i}]" for i in np.unravel_index(flat_index, shape))


def leaf_error(name: str, i: int, shape: tuple[int, ...], leaf: Any, expected: str, code: str) -> InvalidValue:
    """The error for leaf number `i`; the last axis is the class, the first of several is the row."""
    at = [int(j) for j in np.unravel_index(i, shape)]
    return InvalidValue(
        f"{name}{place(i, shape)} is {json_type(leaf)}; expected {expected}",
        code=code,
        row=at[0] if len(at) > 1 else 0,
        class_=at[-1] if len(at) <= 2 else None,
    )


def read_numbers(value: Any, name: str = "logits") -> NDArray[np.float64]:
    """Nested lists of numbers as float64 of the same shape; `null` is -inf, an integer beyond float64 is inf.

    Raises:
        InvalidValue: there is anything else.
    """
    shape, leaves = flatten(value, name)
    return to_numbers(shape, leaves, name)


def to_numbers(shape: tuple[int, ...], leaves: list[Any], name: str) -> NDArray[np.float64]:
    """As `read_numbers`, from a shape and its leaves."""
    kinds = set(map(type, leaves))
    if not kinds <= {int, float, *MISSING}:
        i = next(i for i, leaf in enumerate(leaves) if type(leaf) not in {int, float, *MISSING})
        raise leaf_error(name, i, shape, leaves[i], "a number or null", "bad_logit")
    # -inf can only be a number such as -1e400 here: out of range, and inf is refused where it is read
    if missing := kinds & MISSING:
        leaves = [-math.inf if type(leaf) in MISSING else math.inf if leaf == -math.inf else leaf for leaf in leaves]
    try:
        values = np.array(leaves, np.float64)
    except OverflowError:
        values = np.array([to_float(leaf) for leaf in leaves], np.float64)
    if not missing:
        values[np.isneginf(values)] = np.inf
    return values.reshape(shape)


def to_float(leaf: float) -> float:
    """An integer too long for float64 is out of range."""
    try:
        return float(leaf)
    except OverflowError:
        return math.inf


def read_tensor(
    value: Any, name: str, dtype: type[np.generic], shape: tuple[int | None, ...]
) -> tuple[NDArray[Any], tuple[int, ...]]:
    """A classifier's input from nested lists: `[N, *shape]` of `dtype`, and its lead; one row needs no batch axis.

    Raises:
        InvalidValue: wrong shape, not finite, or outside the dtype.
    """
    given, leaves = flatten(value, name)
    values = to_dtype(given, leaves, name, dtype)
    single = len(given) == len(shape)
    full = (1, *given) if single else given
    if len(full) != len(shape) + 1 or any(size not in (None, got) for size, got in zip(shape, full[1:], strict=True)):
        expected = ["N", *("any" if size is None else size for size in shape)]
        raise InvalidValue(f"{name} has the shape {list(given)}; expected {expected}", code="wrong_shape")
    return values.reshape(full), () if single else full[:1]


def to_dtype(shape: tuple[int, ...], leaves: list[Any], name: str, dtype: type[np.generic]) -> NDArray[Any]:
    """Leaves as `dtype`, in the `shape` that they came in.

    Raises:
        InvalidValue: not finite, outside the dtype, or no JSON of its kind.
    """
    kinds = LEAVES.get(np.dtype(dtype).kind, {int})
    if not set(map(type, leaves)) <= kinds:
        i = next(i for i, leaf in enumerate(leaves) if type(leaf) not in kinds)
        expected = "a string" if dtype is np.object_ else np.dtype(dtype).name
        raise leaf_error(name, i, shape, leaves[i], expected, "bad_input")
    if dtype is np.object_:
        return to_strings(shape, leaves, name)
    try:
        with np.errstate(over="raise"):
            values = np.array(leaves, dtype)
    except (OverflowError, FloatingPointError):
        raise InvalidValue(f"{name} has a number beyond {np.dtype(dtype).name}", code="bad_input") from None
    if np.issubdtype(dtype, np.floating) and not np.isfinite(values).all():
        raise InvalidValue(f"{name} has a number beyond {np.dtype(dtype).name}", code="bad_input")
    return values.reshape(shape)


def to_strings(shape: tuple[int, ...], leaves: list[str], name: str) -> NDArray[np.object_]:
    """Strings in the `shape` that they came in.

    Raises:
        InvalidValue: half a surrogate pair, which JSON can spell and UTF-8 cannot.
    """
    if SURROGATE.search("".join(leaves)):
        at = place(next(i for i, leaf in enumerate(leaves) if SURROGATE.search(leaf)), shape)
        raise InvalidValue(f"{name}{at} has half a surrogate pair; expected Unicode", code="bad_input")
    return np.array(leaves, object).reshape(shape)


def read_booleans(value: Any, name: str = "mask") -> NDArray[np.bool_]:
    """Nested lists of JSON booleans as bool of the same shape.

    Raises:
        InvalidValue: there is anything else, 0 and 1 included.
    """
    shape, leaves = flatten(value, name)
    return to_booleans(shape, leaves, name)


def to_booleans(shape: tuple[int, ...], leaves: list[Any], name: str) -> NDArray[np.bool_]:
    """As `read_booleans`, from a shape and its leaves."""
    if not set(map(type, leaves)) <= {bool}:
        i = next(i for i, leaf in enumerate(leaves) if type(leaf) is not bool)
        raise leaf_error(name, i, shape, leaves[i], "true or false", "bad_mask")
    return np.array(leaves, np.bool_).reshape(shape)


def fit_mask(mask: NDArray[np.bool_], shape: tuple[int, ...], n_class_axes: int) -> NDArray[np.bool_]:
    """A mask of the logits' `shape`, from one of that shape or of its class axes alone.

    Raises:
        InvalidValue: it has neither.
    """
    if mask.shape == shape:
        return mask
    if mask.shape == shape[-n_class_axes:]:
        return np.broadcast_to(mask, shape)
    for_all = f", or {list(shape[-n_class_axes:])} for all rows" if len(shape) > n_class_axes else ""
    raise InvalidValue(
        f"mask has the shape {list(mask.shape)}; expected {list(shape)} as the logits have{for_all}", code="wrong_shape"
    )


def allowed_mask(value: Any, n: int, k: int, labels: Sequence[str] | None) -> NDArray[np.bool_]:
    """bool `[N, K]` from lists of class indices or labels: one for all rows, or one a row.

    Raises:
        InvalidValue: another number of lists, an index outside K, a label that the model does not have.
    """
    if not isinstance(value, list):
        raise InvalidValue(
            f"allowed is {json_type(value)}; expected a list of class indices or labels", code="bad_allowed"
        )
    per_row = any(isinstance(item, list) for item in value)
    if per_row and len(value) != n:
        raise InvalidValue(
            f"allowed has {count(len(value), 'list')}; expected one for each of {count(n, 'row')}", code="wrong_shape"
        )
    index = {label: i for i, label in enumerate(labels or ())}
    mask = np.zeros((n, k), np.bool_)
    for row, classes in enumerate(value if per_row else [value]):
        if not isinstance(classes, list):
            raise InvalidValue(f"allowed[{row}] is {json_type(classes)}; expected a list", code="bad_allowed", row=row)
        name = f"allowed[{row}]" if per_row else "allowed"
        indices = [class_index(item, f"{name}[{i}]", row, k, index) for i, item in enumerate(classes)]
        mask[row if per_row else slice(None), indices] = True
    return mask


def class_index(item: Any, name: str, row: int, k: int, index: dict[str, int]) -> int:
    """The index of one allowed class, given as index or label; `name` is what the client calls it."""
    if type(item) is int and 0 <= item < k:
        return item
    if type(item) is str and item in index:
        return index[item]
    what = (
        "not a label of this model"
        if type(item) is str
        else f"not one of {count(k, 'class', 'classes')}"
        if type(item) is int
        else json_type(item)
    )
    expected = f"an index from 0 to {k - 1}" + (", or a label" if index else "")
    raise InvalidValue(f"{name} is {what}; expected {expected}", code="bad_allowed", row=row)


def read_temperatures(value: Any, n: int) -> float | NDArray[np.float64]:
    """One temperature, or float64 `[N, 1]`.

    Raises:
        InvalidValue: not finite, not positive, no number, or another number of them than rows.
    """
    if not isinstance(value, list):
        return read_temperature(value, "temperature", None)
    if len(value) != n:
        raise InvalidValue(
            f"temperature has {count(len(value), 'value')}; expected one, or one for each of {count(n, 'row')}",
            code="wrong_shape",
        )
    return np.array([[read_temperature(v, f"temperature[{i}]", i)] for i, v in enumerate(value)])


def read_temperature(value: Any, name: str, row: int | None) -> float:
    """One finite number above 0."""
    if type(value) in (int, float) and 0 < value < math.inf:
        number = to_float(value)
        if number < math.inf:
            return number
    found = f"{value:g}" if isinstance(value, float) else str(value)[:40] if type(value) is int else json_type(value)
    raise InvalidValue(f"{name} is {found}; expected a finite number above 0", code="bad_temperature", row=row)


def class_axes(axis: int | list[int], rank: int, *, members: bool = False) -> int:
    """How many trailing axes of logits of `rank` are classes; before them stands an axis of `members` if there are any.

    Raises:
        InvalidValue: not trailing, or the rank is neither that (one row) nor one more.
    """
    axes = [axis] if isinstance(axis, int) else axis
    n = len(axes)
    if sorted(axes) != list(range(-n, 0)) or n == 0:
        found = str(axis) if len(str(axis)) <= 40 else "out of range"
        raise InvalidValue(f"axis is {found}; expected -1, or trailing axes such as [-2, -1]", code="bad_axis")
    one = n + members
    if rank not in (one, one + 1):
        few = "[M][K] or [N][M][K]" if members else "[K] or [N][K]"
        ranks = few if n == 1 else f"{one} or {one + 1} levels of lists"
        raise InvalidValue(f"logits have {count(rank, 'level')} of lists; expected {ranks}", code="wrong_shape")
    return n
