"""Which columns of a table are the logits: said, or plain from the names of the classes, or refused.

A column that could be a class or not, such as an index, an `id`, a `fold` or a date, is never taken for one.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.errors import DataError

LOGITS: Final = "logits"  # a column of lists
PREFIX: Final = "logit_"
LABELS: Final = ("label", "labels")  # columns; a class that they name is one
HINT: Final = "expected the logits named: --logits A,B,C, or --logits 'PREFIX*'"
NO_CLASS: Final = re.compile(r"|(.*[_ ])?(id|idx|index|fold|row|date|time|timestamp)|unnamed.*", re.IGNORECASE)
MOST_NAMES: Final = 5

Sample = Mapping[str, NDArray[Any]]  # the first rows by column, numbers or text


class Choice(NamedTuple):
    """The columns of the logits in the order of the classes, and the classes' names by them; `logits` has none."""

    columns: tuple[str, ...]
    classes: tuple[str, ...] | None


def choose_columns(
    names: Sequence[str],
    sample: Callable[[], Sample],
    *,
    wanted: str | None = None,
    classes: Sequence[str] | None = None,
    others: Collection[str] = (),
) -> Choice:
    """The columns of `names` that hold the logits.

    Args:
        names: of all columns.
        sample: reads the first rows, for the case that the names do not say enough; the labels do, if they are names.
        wanted: what `--logits` says: names between commas, or a prefix and an asterisk.
        classes: the classes' names in their order, if they are known.
        others: columns that are known to be something else.

    Raises:
        DataError: a column is not there, or could be either; the sentence says which, and what to do.
    """
    if wanted is not None:
        return choose_wanted(names, wanted, classes)
    if LOGITS in names:
        return Choice((LOGITS,), None)
    free = [name for name in names if name not in others]
    if classes is not None and (found := by_class(free, classes)) is not None:
        return found
    prefixed = [name for name in free if name.startswith(PREFIX)]
    if prefixed:
        return in_order(prefixed, PREFIX)
    if sorted(free) == sorted(map(str, range(len(free)))):
        return in_order(free, "")
    rows = sample()
    certain = {str(label) for name in LABELS if name in others and name in rows for label in rows[name]}
    check_plain(free, rows, certain)
    return Choice(tuple(free), tuple(free))


def choose_wanted(names: Sequence[str], wanted: str, classes: Sequence[str] | None) -> Choice:
    """The columns that `--logits` names."""
    if wanted.endswith("*"):
        prefix = wanted[:-1]
        found = [name for name in names if name.startswith(prefix)]
        if not found:
            raise DataError(f"no column begins with {prefix!r}, found {shown(names)}; expected another --logits")
        own = [name.removeprefix(prefix) for name in found]
        if classes is not None and sorted(own) == sorted(classes):
            return Choice(tuple(prefix + name for name in classes), tuple(classes))
        return in_order(found, prefix)
    columns = tuple(wanted.split(","))
    if missing := [name for name in columns if name not in names]:
        raise DataError(f"--logits: there is no column {missing[0]!r}, found {shown(names)}")
    if columns == (LOGITS,):
        return Choice(columns, None)
    return Choice(columns, tuple(name.removeprefix(PREFIX) for name in columns))


def by_class(free: Sequence[str], classes: Sequence[str]) -> Choice | None:
    """The column of each class, called as the class or with `logit_` before it; none where there is none of them."""
    for prefix in (PREFIX, ""):
        columns = tuple(prefix + name for name in classes)
        there = {name for name in columns if name in free}
        if len(there) == len(columns):
            return Choice(columns, tuple(classes))
        if there:
            missing = next(name for name in columns if name not in there)
            raise DataError(f"there is no column {missing!r}, but {shown(sorted(there))}: {HINT}")
    return None


def in_order(columns: Sequence[str], prefix: str) -> Choice:
    """By number where they are called 0 to K-1 behind the prefix, else as they stand."""
    own = [name.removeprefix(prefix) for name in columns]
    if sorted(own) == sorted(map(str, range(len(own)))):
        own = [str(i) for i in range(len(own))]
    return Choice(tuple(prefix + name for name in own), tuple(own))


def check_plain(free: Sequence[str], sample: Sample, certain: Collection[str]) -> None:
    """Refuse columns one of which could be something else than a class; `certain` are none of those.

    Raises:
        DataError: it has such a name, or is a count of the rows, or is whole where others are not, or is not numbers.
    """
    whole = []
    for name in free:
        if NO_CLASS.fullmatch(name) and name not in certain:
            raise unclear(name, "by its name it could be something else than a class")
        values = as_numbers(name, sample[name])
        known = values[np.isfinite(values)]
        if len(known) > 2 and (np.diff(known) == 1).all() and name not in certain:
            raise unclear(name, "it counts the rows, as an index does")
        if len(known) and (known == np.floor(known)).all():
            whole.append(name)
    unsure = [name for name in whole if name not in certain]
    if unsure and len(whole) < len(free):
        raise unclear(unsure[0], "it holds whole numbers, others do not")


def as_numbers(name: str, values: NDArray[Any]) -> NDArray[np.float64]:
    """The numbers of a column, NaN for an empty cell."""
    if values.dtype.kind in "fiub":
        return values.astype(np.float64)
    found = np.full(len(values), np.nan)
    for row, cell in enumerate(values):
        try:
            if cell is not None and str(cell).strip():
                found[row] = float(cell)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"row {row}, column {name}: {str(cell)!r} is not a number; where the column is no class, {HINT}",
                row=row,
            ) from error
    return found


def unclear(name: str, why: str) -> DataError:
    return DataError(f"the column {name!r} could be a logit or not: {why}; {HINT}")


def shown(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_NAMES]) + (", ..." if len(names) > MOST_NAMES else "")
