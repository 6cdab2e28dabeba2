"""The kinds of files, and that large ones are mapped, not read."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from service.datasets import files
from service.errors import CannotStart, DataError
from tests.calibration.conftest import drawn
from tests.scoring.files import save


def write(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def test_a_stored_npz_is_memory_mapped(tmp_path: Path) -> None:
    data = drawn(100)
    path = write(tmp_path / "rows.npz", logits=data.logits, labels=data.labels)
    read = files.load(path)["all"]
    assert isinstance(read.logits, np.memmap)
    assert (read.logits == data.logits).all()
    assert (read.labels == data.labels).all()


def test_a_compressed_npz_reads_the_same(tmp_path: Path) -> None:
    data = drawn(100)
    np.savez_compressed(tmp_path / "rows.npz", logits=data.logits, labels=data.labels)
    assert (files.load(tmp_path / "rows.npz")["all"].logits == data.logits).all()


def test_a_fortran_ordered_member_is_mapped_in_its_order(tmp_path: Path) -> None:
    data = drawn(50)
    path = write(tmp_path / "rows.npz", logits=np.asfortranarray(data.logits), labels=data.labels)
    assert (files.load(path)["all"].logits == data.logits).all()


def test_prefixes_make_two_parts(tmp_path: Path) -> None:
    a, b = drawn(30), drawn(20, seed=1)
    path = write(
        tmp_path / "rows.npz",
        val_logits=a.logits, val_labels=a.labels, test_logits=b.logits, test_labels=b.labels,
    )  # fmt: skip
    parts = files.load(path)
    assert [part.n_rows for part in parts.values()] == [30, 20]
    assert list(parts) == ["val", "test"]


def test_features_and_a_linear_head_make_logits(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    features, head = random.standard_normal((9, 4)).astype(np.float16), random.standard_normal((3, 4))
    path = write(tmp_path / "f.npz", features=features, head_W=head, head_b=np.ones(3), labels=np.zeros(9, int))
    expected = features.astype(np.float32) @ head.astype(np.float32).T + 1
    assert np.allclose(files.load(path)["all"].logits, expected)


def test_a_pair_of_npy_is_mapped(tmp_path: Path) -> None:
    data = drawn(40)
    np.save(tmp_path / "z.npy", data.logits)
    np.save(tmp_path / "y.npy", data.labels)
    read = files.load(tmp_path / "z.npy", tmp_path / "y.npy")["all"]
    assert isinstance(read.logits, np.memmap)
    assert (read.labels == data.labels).all()


def test_a_single_npy_asks_for_the_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "z.npy", np.zeros((3, 3)))
    with pytest.raises(DataError, match="--labels"):
        files.load(tmp_path / "z.npy")


def test_a_csv_has_a_column_for_each_class(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("label,logit_cat,logit_dog,weight,group\ncat,1.5,-2,1,a\ndog,0,3e0,2,b\n")
    data = files.load(tmp_path / "t.csv", group="group")["all"]
    assert data.class_names == ("cat", "dog")
    assert data.labels.tolist() == [0, 1]
    assert data.logits.tolist() == [[1.5, -2], [0, 3]]
    assert data.weights is not None
    assert data.weights.tolist() == [1, 2]
    assert data.group_names == ("a", "b")


def test_an_empty_cell_is_a_masked_class_where_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("label,a,b,c\n0,1,,2\n2,1,0,2\n")
    data = files.load(tmp_path / "t.csv", missing_is_masked=True)["all"]
    assert data.mask is not None
    assert data.mask.tolist() == [[True, False, True], [True, True, True]]


def test_a_cell_that_is_no_number_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("label,a,b\n0,1,2\n1,x,2\n")
    with pytest.raises(DataError, match="row 1, column a: 'x' is not a number"):
        files.load(tmp_path / "t.csv")


def test_a_parquet_reads_as_its_csv(tmp_path: Path) -> None:
    table = pa.table({"label": ["a", "b"], "a": [1.0, 0.0], "b": [0.5, 2.0]})
    for suffix in ("parquet", "csv"):
        data = files.load(save(tmp_path / f"t.{suffix}", table))["all"]
        assert data.logits.tolist() == [[1, 0.5], [0, 2]]
        assert data.labels.tolist() == [0, 1]


@pytest.fixture
def parquet(tmp_path: Path) -> Callable[..., Path]:
    """Make a .parquet of some columns."""

    def make(**columns: Any) -> Path:
        save(tmp_path / "t.parquet", pa.table(columns))
        return tmp_path / "t.parquet"

    return make


def test_a_parquet_has_a_column_for_each_class_as_a_csv_has(parquet: Callable[..., Path]) -> None:
    columns = {"logit_cat": [1.5, None], "logit_dog": [2, 3], "weight": [1, 2]}
    data = files.load(parquet(label=["dog", "dog"], **columns), missing_is_masked=True)["all"]
    assert data.class_names == ("cat", "dog")
    assert data.labels.tolist() == [1, 1]
    assert data.logits[:, 1].tolist() == [2, 3]
    assert data.mask is not None
    assert data.mask.tolist() == [[True, True], [False, True]]
    assert data.weights is not None
    assert data.weights.tolist() == [1, 2]


def test_a_parquet_may_have_the_logits_as_one_column_of_lists(parquet: Callable[..., Path]) -> None:
    logits = pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32()))
    path = parquet(logits=logits, label=[0, 1], tenant=["a", "b"])
    data = files.load(path, group="tenant")["all"]
    assert data.logits.tolist() == [[1, 2], [3, 4]]
    assert data.logits.dtype == np.float32
    assert data.labels.tolist() == [0, 1]
    assert data.group_names == ("a", "b")


def test_without_pyarrow_a_parquet_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"reading tables needs pyarrow: pip install 'calibrant\[tables\]'"):
        files.load(tmp_path / "t.parquet")


@pytest.mark.parametrize(("logits", "labels"), [("nowhere.npz", None), ("z.npy", "nowhere.npy")])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, logits: str, labels: str | None) -> None:
    np.save(tmp_path / "z.npy", np.zeros((3, 3)))
    with pytest.raises(CannotStart, match=r"there is no file .*nowhere"):
        files.load(tmp_path / logits, None if labels is None else tmp_path / labels)


def test_another_kind_of_file_is_refused_with_those_that_are_read(tmp_path: Path) -> None:
    (tmp_path / "rows.xlsx").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"rows\.xlsx: expected a file \.npz, \.npy, \.csv or \.parquet"):
        files.load(tmp_path / "rows.xlsx")


def test_a_file_that_is_no_npy_says_so(tmp_path: Path) -> None:
    np.save(tmp_path / "z.npy", np.zeros((3, 3)))
    (tmp_path / "y.npy").write_bytes(b"0 1 2")
    with pytest.raises(DataError, match=r"y\.npy does not read as \.npy"):
        files.load(tmp_path / "z.npy", tmp_path / "y.npy")


def test_a_row_of_another_length_than_the_header_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("label,a,b\n0,1,2\n1,1\n0,1\n")
    with pytest.raises(DataError, match="row 1: 2 cells, the header has 3") as error:
        files.load(tmp_path / "t.csv")
    assert error.value.row == 1


@pytest.mark.parametrize(
    ("text", "missing"), [("label\n0\n", "logits missing, found labels"), ("", "labels and logits missing")]
)
def test_a_csv_without_a_class_has_no_logits(tmp_path: Path, text: str, missing: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=missing):
        files.load(tmp_path / "t.csv")


@pytest.mark.parametrize("cell", ["nan", "NaN", " NAN ", "", "  "])
def test_a_missing_number_is_named_with_its_row_and_its_column(tmp_path: Path, cell: str) -> None:
    (tmp_path / "t.csv").write_text(f"label,a,b\n0,1,2\n1,{cell},2\n")
    sentence = r"row 1, class 0 \(a\): the logit is missing or NaN; expected a number or -inf, or --missing-is-masked"
    with pytest.raises(DataError, match=sentence) as error:
        files.load(tmp_path / "t.csv")
    assert error.value.row == 1


def test_a_column_split_makes_two_parts_of_the_same_classes(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("label,split,cat,dog\ncat,val,1,2\ndog,test,3,4\ncat,val,5,6\n")
    parts = files.load(tmp_path / "t.csv")
    assert list(parts) == ["val", "test"]
    assert [part.logits.tolist() for part in parts.values()] == [[[1, 2], [5, 6]], [[3, 4]]]
    assert [part.labels.tolist() for part in parts.values()] == [[0, 0], [1]]
    assert all(part.class_names == ("cat", "dog") for part in parts.values())


@pytest.mark.parametrize("words", [("val", "val"), ("val", "train"), ("", "")], ids=str)
def test_a_column_split_holds_both_parts_and_nothing_else(tmp_path: Path, words: tuple[str, str]) -> None:
    (tmp_path / "t.csv").write_text("label,split,a,b\n" + "".join(f"0,{word},1,2\n" for word in words))
    with pytest.raises(DataError, match=r"the column split holds .*expected val and test"):
        files.load(tmp_path / "t.csv")


def test_integers_are_logits_too(tmp_path: Path) -> None:
    path = write(tmp_path / "x.npz", logits=np.array([[3, -1], [0, 7]]), labels=np.array([0, 1]))
    data = files.load(path)["all"]
    assert (data.logits.dtype.name, data.logits.tolist()) == ("float32", [[3, -1], [0, 7]])


@pytest.mark.parametrize("bad", [-0.25, 1.25, np.nan])
def test_a_number_that_is_no_probability_is_named_with_its_row(tmp_path: Path, bad: float) -> None:
    p = np.array([[0.25, 0.75], [0.5, bad]], np.float32)
    path = write(tmp_path / "p.npz", logits=p, labels=np.array([0, 1]))
    with pytest.raises(DataError, match=f"row 1: {bad} is not a probability") as error:
        files.load(path, from_probabilities=True)
    assert error.value.row == 1


def test_probabilities_are_refused_with_advice(tmp_path: Path) -> None:
    p = np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)
    path = write(tmp_path / "p.npz", logits=p, labels=np.array([0, 1]))
    with pytest.raises(DataError, match="--from-probabilities"):
        files.load(path)


def test_from_probabilities_takes_their_logarithm(tmp_path: Path) -> None:
    p = np.array([[0.25, 0.75], [1.0, 0.0]], np.float32)
    path = write(tmp_path / "p.npz", logits=p, labels=np.array([0, 1]))
    logits = files.load(path, from_probabilities=True)["all"].logits
    assert np.allclose(np.exp(logits), p)
    assert np.isfinite(logits).all()


def test_a_file_that_is_no_npz_says_so(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"PK no")
    with pytest.raises(DataError, match=r"does not read as \.npz"):
        files.load(tmp_path / "x.npz")


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.npz", logits=np.zeros((2, 2)), labels=np.array(["a", 1], dtype=object))
    with pytest.raises(DataError, match="does not read"):
        files.load(path)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "x.npz", scores=np.zeros((2, 2)))
    with pytest.raises(DataError, match="labels and logits missing, found scores"):
        files.load(path)


def test_a_group_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("label,a,b\n0,1,2\n1,1,2\n")
    for path in (tmp_path / "t.csv", write(tmp_path / "x.npz", logits=np.eye(2) * 4, labels=np.array([0, 1]))):
        with pytest.raises(DataError, match="no array or column 'tenant'"):
            files.load(path, group="tenant")


NAMED = ("cat", "dog", "3")


@pytest.mark.parametrize(
    ("columns", "labels", "expected"),
    [
        ("logit_0,logit_1,logit_2", ["dog", "3", "cat"], [1, 2, 0]),
        ("logit_0,logit_1,logit_2", ["2", "0", "1"], [2, 0, 1]),
        ("logit_0,logit_1,logit_2", ["3", "3", "3"], [2, 2, 2]),
        ("a,b,c", ["b", "dog", "3"], [1, 1, 2]),
        ("cat,dog,3", ["dog", "3", "cat"], [1, 2, 0]),
    ],
    ids=str,
)
def test_labels_may_be_of_the_names_that_are_given(
    tmp_path: Path, columns: str, labels: list[str], expected: list[int]
) -> None:
    lines = [f"label,{columns}", *(f"{label},1,2,4" for label in labels)]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    data = files.load(tmp_path / "t.csv", named=NAMED)["all"]
    assert data.labels.tolist() == expected
    assert data.class_names == NAMED


def test_a_pair_of_npy_may_have_labels_of_the_names_that_are_given(tmp_path: Path) -> None:
    np.save(tmp_path / "z.npy", np.eye(3, dtype=np.float32) * 4)
    for words in (np.array(["3", "cat", "dog"]), np.array([b"3", b"cat", b"dog"])):
        np.save(tmp_path / "y.npy", words)
        read = files.load(tmp_path / "z.npy", tmp_path / "y.npy", named=NAMED)["all"]
        assert read.labels.tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("labels", "named", "sentence"),
    [
        (["dog", "fox", "3"], NAMED, "row 1: the label is 'fox'; expected one of cat, dog, 3"),
        (["0", "1", "4"], NAMED, "row 2: the label is '4'; expected an index from 0 to 2"),
        (["0", "9" * 30, "1"], NAMED, "expected an index from 0 to 2"),
        (["dog", "cat", "3"], None, "row 0: the label is 'dog'; expected an index from 0 to 2, or a name: such as"),
        ([0, 1, 2], NAMED[:2], "the logits have 3 classes, there are 2 names for them"),
    ],
    ids=str,
)
def test_an_unknown_label_is_named_with_its_row(
    tmp_path: Path, labels: list[str] | list[int], named: tuple[str, ...] | None, sentence: str
) -> None:
    path = write(tmp_path / "x.npz", logits=np.eye(3, dtype=np.float32) * 4, labels=np.array(labels))
    with pytest.raises(DataError, match=sentence):
        files.load(path, named=named)


def test_columns_are_put_into_the_order_of_the_names_that_are_given(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("label,cat,dog,eel\ncat,1,2,4\neel,1,2,4\n")
    data = files.load(tmp_path / "t.csv", named=("cat", "eel", "dog"))["all"]
    assert data.logits.tolist() == [[1, 4, 2], [1, 4, 2]]
    assert data.labels.tolist() == [0, 1]
    (tmp_path / "t.csv").write_text("label,cat,dog,eel\n0,1,2,4\n1,1,2,4\n")
    with pytest.raises(DataError, match="the labels are numbers, and the columns not in the order of the classes"):
        files.load(tmp_path / "t.csv", named=("cat", "eel", "dog"))


def test_names_in_another_order_than_the_data_s_own_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.npz", logits=np.eye(3) * 4, labels=np.arange(3), classes=np.array(["cat", "dog", "eel"]))
    with pytest.raises(DataError, match="class 1 is dog in the data, but eel in the names given"):
        files.load(path, named=("cat", "eel", "dog"))
