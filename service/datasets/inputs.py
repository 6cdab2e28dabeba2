"""Rows of a classifier's own inputs with labels, from files: .npz with an array for each input, or a table.

In a table an input of one number or string a row is the column of its name; a wider one is the columns NAME_0, NAME_1
and so on, or, where it is the only one, all columns that are nothing else, in their order. Columns label_NAME are a
matrix of labels.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.datasets import files, npz, table_arrays
from service.datasets.multilabel import LABEL
from service.datasets.table_arrays import Arrays
from service.engine.rows import Input
from service.errors import CannotStart, DataError

MOST_ROWS: Final = 1024  # of a batch
MOST_NUMBERS: Final = 2**20  # of its inputs


def load(path: Path, inputs: Mapping[str, Input], group: str | None = None) -> dict[str, Arrays]:
    """The parts of a file as in `files.load`, each with the inputs by name, `[n, *shape]` of their dtype, and the rest.

    Raises:
        CannotStart: it is not there.
        DataError: not readable, or without an input; with the row where it can be named.
    """
    if not path.is_file():
        raise CannotStart(f"there is no file {path}")
    match path.suffix:
        case ".npz":
            arrays: Arrays = npz.arrays(path)
        case ".csv" | ".parquet":
            arrays = from_columns(table_arrays.read_table_columns(path), inputs, group)
        case _:
            raise DataError(f"{path.name}: expected inputs in a file .npz, .csv or .parquet")
    return {name: checked(part, inputs) for name, part in files.split_parts(arrays).items()}


def from_columns(columns: Arrays, inputs: Mapping[str, Input], group: str | None) -> dict[str, NDArray[Any]]:
    """The inputs out of a table's columns, and what else it has under the names of arrays."""
    names = table_arrays.COLUMNS if group is None else table_arrays.COLUMNS | {group: group}
    found = {names[name]: column for name, column in columns.items() if name in names}
    targets = [name for name in columns if name.startswith(LABEL) and name not in inputs]
    if targets:
        found["labels"] = np.stack([table_arrays.numbers(name, columns[name]) for name in targets], axis=1)
        found["classes"] = np.array([name.removeprefix(LABEL) for name in targets])
    free = [name for name in columns if name not in names and name not in targets]
    for name, (dtype, shape) in inputs.items():
        width = shape[0] if len(shape) == 1 else 1 if not shape else None
        mine = [name] if name in columns else [one for one in free if is_numbered(one, name)]
        if not mine and len(inputs) == 1:
            mine = free
        if len(mine) != (width or len(mine)) or not mine:
            raise DataError(
                f"the input {name} takes {width or 'some'} columns, found {len(mine)}: expected a column {name}, or "
                f"{name}_0 and so on"
            )
        read = [
            columns[one].astype(object) if dtype is np.object_ else table_arrays.numbers(one, columns[one])
            for one in mine
        ]
        found[name] = np.stack(read, axis=1) if shape else read[0]
    if "weights" in found:
        found["weights"] = table_arrays.numbers("weight", found["weights"])
    return found


def is_numbered(column: str, name: str) -> bool:
    """Whether it is called as the input, an underscore, and a number."""
    return column.startswith(f"{name}_") and column[len(name) + 1 :].isdecimal()


def checked(arrays: Arrays, inputs: Mapping[str, Input]) -> dict[str, NDArray[Any]]:
    """The arrays with the inputs as a classifier takes them."""
    counts = {}
    found = dict(arrays)
    for name, (dtype, shape) in inputs.items():
        if name not in arrays:
            raise DataError(f"the input {name} is missing, found {', '.join(arrays) or 'nothing'}")
        found[name] = as_input(name, arrays[name], dtype, shape)
        counts[name] = len(found[name])
    if len(set(counts.values())) > 1:
        what = ", ".join(f"{name} {n}" for name, n in counts.items())
        raise DataError(f"the inputs have different numbers of rows: {what}; expected the same")
    return found


def as_input(name: str, values: NDArray[Any], dtype: type[np.generic], shape: tuple[int | None, ...]) -> NDArray[Any]:
    """Rows of one input, `[n, *shape]` of its dtype.

    Raises:
        DataError: of another shape, or not of its kind.
    """
    if values.ndim == 1 and shape == (1,):
        values = values[:, None]
    sizes = values.shape[1:]
    if values.ndim != len(shape) + 1 or any(one not in (None, size) for one, size in zip(shape, sizes, strict=True)):
        expected = ["n", *("any" if one is None else one for one in shape)]
        raise DataError(f"the input {name} has the shape {list(values.shape)}; expected {expected}")
    if dtype is np.object_:
        return values.astype(str).astype(object)
    try:
        return np.asarray(values, dtype)
    except ValueError as error:
        raise DataError(f"the input {name} is {values.dtype}; expected {np.dtype(dtype).name}") from error


def batches(feed: Arrays) -> Iterator[tuple[dict[str, NDArray[Any]], int]]:
    """Neighbouring rows that run at once, and the number of the first of them."""
    n = len(next(iter(feed.values())))
    a_row = max(1, sum(values.size for values in feed.values()) // max(1, n))
    step = max(1, min(MOST_ROWS, MOST_NUMBERS // a_row))
    for start in range(0, n, step):
        yield {name: values[start : start + step] for name, values in feed.items()}, start


def n_batches(feed: Arrays) -> int:
    """How many `batches` there are."""
    return sum(1 for _ in batches(feed))
