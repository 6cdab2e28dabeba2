"""Arrow's columns as numpy has them."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from service.datasets.arrow import read_columns, read_lists
from service.errors import DataError


def piece(**columns: Any) -> Any:
    return pa.RecordBatch.from_pydict(columns)


def test_numbers_of_any_kind_become_floats_and_what_is_missing_nan() -> None:
    rows = piece(a=pa.array([1, None, 3]), b=pa.array([0.5, 1, 2], pa.float32()), c=pa.array(["1e-3", "", " -inf "]))
    found = read_columns(rows, ("c", "a", "b"), 0)
    assert found.dtype == np.float64
    assert np.array_equal(found, [[1e-3, 1, 0.5], [np.nan, np.nan, 1], [-np.inf, 3, 2]], equal_nan=True)


def test_float32_stays_float32() -> None:
    rows = piece(a=pa.array([0.1], pa.float32()), b=pa.array([np.float16(0.25)]))
    assert read_columns(rows, ("a", "b"), 0).dtype == np.float32


def test_a_cell_that_is_no_number_is_named_with_its_row() -> None:
    with pytest.raises(DataError, match="row 101, column a: 'x' is not a number") as error:
        read_columns(piece(a=["1", "x"]), ("a",), 100)
    assert error.value.row == 101
    with pytest.raises(DataError, match="the column a is bool; expected numbers"):
        read_columns(piece(a=[True, False]), ("a",), 0)


def test_lists_become_rows() -> None:
    assert read_lists(piece(a=[[1.0, 2.0], [3.0, None]]), "a").shape == (2, 2)
    assert read_lists(piece(a=pa.array([[1, 2], [3, 4]], pa.list_(pa.float32(), 2))), "a").tolist() == [[1, 2], [3, 4]]
    members = [[[1.0, 2], [3, 4], [5, 6]]] * 4
    assert read_lists(piece(a=members), "a").tolist() == members
    mask = read_lists(piece(a=[[True, False]]), "a")
    assert mask.tolist() == [[True, False]]
    assert mask.dtype == np.bool_


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([[1.0, 2.0], [3.0]], "the column a has lists of 1 to 2 values; expected one length"),
        ([[1.0, 2.0], None], "the column a has a row without a list; expected one in every row"),
        ([1.0, 2.0], "the column a is double; expected numbers, or lists of them"),
    ],
)
def test_lists_of_different_lengths_are_refused(values: Any, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        read_lists(piece(a=values), "a")
