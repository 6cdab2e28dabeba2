"""A table as the arrays that an .npz would have.

It has a column `label`, optionally `weight` and one of groups, and a column for each class, called as the class, with
`logit_` before it perhaps, or a column `logits` of lists; which they are stands in `columns`.
"""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.datasets.columns import Choice, choose_columns
from service.errors import DataError

Arrays = Mapping[str, NDArray[Any]]

PIECE_ROWS: Final = 2**14
SAMPLE_ROWS: Final = 1000
COLUMNS: Final = {
    "label": "labels",
    "labels": "labels",
    "weight": "weights",
    "group": "groups",
    "split": "split",
}


def read_table_columns(path: Path) -> dict[str, NDArray[Any]]:
    """The columns of a table by name, cells of a .csv as text."""
    need_pyarrow()
    from service.datasets.tables import open_table

    opened = open_table(path)
    pieces = list(opened.pieces(PIECE_ROWS))
    return {name: join([to_numpy(piece, name) for piece in pieces]) for name in opened.names}


def read_table(
    path: Path,
    group: str | None,
    *,
    logits: str | None = None,
    named: tuple[str, ...] | None = None,
    binary: bool = False,
) -> dict[str, NDArray[Any]]:
    """What a table has under the names of arrays; the logits as numbers, NaN where one is missing."""
    need_pyarrow()
    from service.datasets.arrow import read_columns, read_lists
    from service.datasets.tables import open_table

    opened = open_table(path)
    names = COLUMNS if group is None else COLUMNS | {group: group}
    if group is not None and group not in opened.names:
        raise DataError(f"there is no array or column {group!r}, found {', '.join(opened.names)}")
    others = [name for name in opened.names if name in names]

    def sample() -> Arrays:
        first = next(opened.pieces(SAMPLE_ROWS), None)
        return {name: np.empty(0) if first is None else to_numpy(first, name) for name in opened.names}

    wanted = None if binary and named is not None else named
    chosen = choose_columns(opened.names, sample, wanted=logits, classes=wanted, others=others)
    found: dict[str, list[NDArray[Any]]] = {names[name]: [] for name in others}
    values, start = [], 0
    for piece in opened.pieces(PIECE_ROWS) if chosen.columns else ():
        lists = chosen.classes is None
        values.append(read_lists(piece, chosen.columns[0]) if lists else read_columns(piece, chosen.columns, start))
        for name in others:
            found[names[name]].append(to_numpy(piece, name))
        start += len(piece)
    arrays = {name: join(columns) for name, columns in found.items()}
    if values:
        arrays["logits"] = np.concatenate(values)
        arrays |= {} if chosen.classes is None or binary else {"classes": np.array(chosen.classes)}
    if "labels" in arrays:
        check_numbered(arrays["labels"], opened.names, chosen)
    if "weights" in arrays:
        arrays["weights"] = numbers("weight", arrays["weights"])
    return arrays


def two_classes(values: NDArray[Any]) -> NDArray[Any]:
    """Log-odds of the second of two classes, `[n]` or `[n,1]`, as logits `[n,2]` with 0 for the first."""
    if values.ndim != 1 and values.shape[1:] != (1,):
        raise DataError(f"logits are {list(values.shape)}; expected one number a row for --binary")
    column = values.reshape(-1)
    return np.stack([np.zeros_like(column), column], axis=1)


def check_numbered(labels: NDArray[Any], names: Sequence[str], chosen: Choice) -> None:
    """Refuse labels that count classes where the columns are in another order than those."""
    words = {*map(str, labels)}
    shuffled = [name for name in names if name in chosen.columns] != [*chosen.columns]
    if shuffled and all(word.isdecimal() for word in words) and not words <= {*(chosen.classes or ())}:
        raise DataError(
            "the labels are numbers, and the columns not in the order of the classes; expected names as labels"
        )


def need_pyarrow() -> None:
    if find_spec("pyarrow") is None:
        raise DataError("reading tables needs pyarrow: pip install 'calibrant[tables]'")


def to_numpy(piece: Any, name: str) -> NDArray[Any]:
    return np.asarray(piece.column(name).to_numpy(zero_copy_only=False))


def join(columns: list[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(columns) if columns else np.empty(0)


def numbers(name: str, column: NDArray[Any]) -> NDArray[Any]:
    if column.dtype.kind in "fiub":
        return column.astype(np.float64)
    values = np.empty(len(column))
    for row, cell in enumerate(column):
        try:
            values[row] = float(cell) if cell not in ("", None) else np.nan
        except ValueError as error:
            raise DataError(f"row {row}, column {name}: {str(cell)!r} is not a number", row=row) from error
        if str(cell).strip().lower() == "nan":
            raise DataError(f"row {row}, column {name}: the number is NaN; expected one that is", row=row)
    return values
