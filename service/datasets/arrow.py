"""Arrow's columns to numpy: numbers, text that says numbers, and lists of numbers; NaN for a number that is missing."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from service.datasets.tables import Piece
from service.errors import DataError


def read_columns(piece: Piece, names: tuple[str, ...], start: int) -> NDArray[Any]:
    """The numbers of some columns, `[m,K]`, NaN where one is missing: float32 if they all are, else float64."""
    columns = [to_numbers(piece.column(name), name, start) for name in names]
    narrow = all(column.dtype in (np.float16, np.float32) for column in columns)
    return np.stack(columns, axis=1, dtype=np.float32 if narrow else np.float64)


def to_numbers(column: Any, name: str, start: int) -> NDArray[Any]:
    """A column of numbers, or of text that says numbers."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = parse_text(column, name, start)
    elif not is_number(column.type):
        raise DataError(f"the column {name} is {column.type}; expected numbers")
    return np.asarray(column.to_numpy(zero_copy_only=False))


def parse_text(column: Any, name: str, start: int) -> Any:
    """Text as float64, null for what is empty.

    Raises:
        DataError: a cell that is no number, with its row.
    """
    text = pc.utf8_trim_whitespace(column)
    text = pc.if_else(pc.equal(text, ""), None, text)
    try:
        return text.cast(pa.float64())
    except pa.ArrowInvalid:
        for row, cell in enumerate(text.to_pylist(), start=start):
            if cell is not None and not is_float(cell):
                raise DataError(f"row {row}, column {name}: {cell!r} is not a number", row=row) from None
        raise


def is_float(cell: str) -> bool:
    try:
        pa.scalar(cell).cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def is_number(kind: Any) -> bool:
    return bool(
        pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind) or pa.types.is_string(kind)
    )


def read_lists(piece: Piece, name: str) -> Any:
    """A column of lists, `[m,K]`, or `[m,M,K]` of lists of lists.

    Raises:
        DataError: they are not of one length.
    """
    values, shape = piece.column(name), [len(piece)]
    while is_list(values.type):
        if values.null_count:
            raise DataError(f"the column {name} has a row without a list; expected one in every row")
        flat = values.flatten()
        shape.append(len(flat) // max(1, len(values)))
        lengths = set(pc.list_value_length(values).unique().to_pylist())
        if len(lengths) > 1:
            raise DataError(
                f"the column {name} has lists of {min(lengths)} to {max(lengths)} values; expected one length"
            )
        values = flat
    if len(shape) == 1:
        raise DataError(f"the column {name} is {values.type}; expected numbers, or lists of them")
    return as_floats(np.asarray(values.to_numpy(zero_copy_only=False))).reshape(shape)


def is_list(kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def as_floats(values: NDArray[Any]) -> NDArray[Any]:
    """Numbers as they can be run; booleans stay."""
    if values.dtype in (np.float32, np.float64, np.bool_):
        return values
    return values.astype(np.float32 if values.dtype == np.float16 else np.float64)
