"""Rows of a classifier's own inputs, from arrays and from tables."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.datasets import inputs
from service.engine.rows import Input
from service.errors import CannotStart, DataError

TEXT: Mapping[str, Input] = {"text": (np.object_, (1,)), "age": (np.float32, ())}
WIDE: Mapping[str, Input] = {"x": (np.float64, (None,))}


def loaded(path: Path, own: Mapping[str, Input], content: str, group: str | None = None) -> dict[str, Any]:
    path.write_text(content, encoding="utf-8")
    (part,) = inputs.load(path, own, group).values()
    return dict(part)


def test_a_column_for_each_input_and_what_stands_beside_them(tmp_path: Path) -> None:
    content = "text,age,label,weight,tenant\nZürich,41,1,2,a\n7,0.5,0,1,b\n"
    found = loaded(tmp_path / "rows.csv", TEXT, content, "tenant")
    assert found["text"].dtype == object
    assert found["text"].tolist() == [["Zürich"], ["7"]]
    assert (found["age"].dtype, found["age"].tolist()) == (np.float32, [41, 0.5])
    assert found["labels"].tolist() == ["1", "0"]
    assert (found["weights"].tolist(), found["tenant"].tolist()) == ([2, 1], ["a", "b"])


@pytest.mark.parametrize("names", ["x_0,x_1,x_2", "sepal,petal,height"], ids=["numbered", "of any name"])
def test_the_only_input_may_be_all_columns_that_are_nothing_else(tmp_path: Path, names: str) -> None:
    found = loaded(tmp_path / "rows.csv", WIDE, f"{names},label\n1,2,3,0\n4,5,6,1\n")
    assert found["x"].tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    ("own", "content", "sentence"),
    [
        (
            TEXT,
            "text,label\na,0\n",
            "the input age takes 1 columns, found 0: expected a column age, or age_0 and so on",
        ),
        ({"x": (np.float32, (3,))}, "x_0,x_1,label\n1,2,0\n", "the input x takes 3 columns, found 2"),
        (WIDE, "label\n0\n", "the input x takes some columns, found 0"),
        ({"x": (np.float32, (2, 2))}, "x_0,label\n1,0\n", "expected"),
    ],
)
def test_a_table_without_an_inputs_columns_is_refused(
    tmp_path: Path, own: Mapping[str, Input], content: str, sentence: str
) -> None:
    with pytest.raises(DataError, match=sentence):
        loaded(tmp_path / "rows.csv", own, content)


def test_other_files_and_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="there is no file"):
        inputs.load(tmp_path / "rows.npz", WIDE)
    (tmp_path / "rows.txt").write_text("1")
    with pytest.raises(DataError, match=r"rows.txt: expected inputs in a file .npz, .csv or .parquet"):
        inputs.load(tmp_path / "rows.txt", WIDE)


def test_inputs_of_different_numbers_of_rows_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", text=np.array(["a", "b"]), age=np.array([1.0]))
    with pytest.raises(DataError, match="different numbers of rows: text 2, age 1; expected the same"):
        inputs.load(tmp_path / "rows.npz", TEXT)


def test_batches_are_the_rows_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "MOST_NUMBERS", 12)
    feed = {"x": np.arange(40).reshape(10, 4), "mask": np.ones((10, 2), bool)}
    parts = list(inputs.batches(feed))
    assert [start for _, start in parts] == [0, 2, 4, 6, 8]
    assert np.concatenate([part["x"] for part, _ in parts]).tolist() == feed["x"].tolist()
    assert inputs.n_batches(feed) == 5
