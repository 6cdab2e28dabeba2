"""Files of logits and a matrix of labels, and what is refused of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from service.datasets import multilabel
from service.datasets.multilabel import MultiLabel
from service.errors import DataError

LOGITS = np.array([[2.0, -1.0, 0.5], [-3.0, 4.0, 0.25]], np.float32)
LABELS = np.array([[1, 0, 1], [0, 0, 1]])


def load_npz(folder: Path, **more: Any) -> MultiLabel:
    np.savez(folder / "rows.npz", **{"logits": LOGITS, "labels": LABELS} | more)
    return multilabel.load(folder / "rows.npz")["all"]


def test_an_npz_and_a_pair_of_npy_hold_two_matrices(tmp_path: Path) -> None:
    data = load_npz(tmp_path, classes=np.array(["a", "b", "c"]))
    assert np.array_equal(data.logits, LOGITS)
    assert data.targets.tolist() == LABELS.astype(bool).tolist()
    assert (data.class_names, data.n_rows, data.n_classes) == (("a", "b", "c"), 2, 3)
    assert data.name(1) == "class 1 (b)"
    for name, values in (("z", LOGITS), ("y", LABELS)):
        np.save(tmp_path / f"{name}.npy", values)
    pair = multilabel.load(tmp_path / "z.npy", tmp_path / "y.npy")["all"]
    assert np.array_equal(pair.targets, data.targets)
    assert pair.name(1) == "class 1"


def test_a_table_has_two_columns_a_class(tmp_path: Path) -> None:
    rows = ["label_cat,logit_dog,logit_cat,label_dog,split", "1,0.5,2,0,val", "0,,-1,0,val", "0,1,2,1,test"]
    (tmp_path / "rows.csv").write_text("\n".join(rows))
    parts = multilabel.load(tmp_path / "rows.csv")
    assert parts["val"].class_names == ("dog", "cat")
    assert parts["val"].targets.tolist() == [[False, True], [False, False]]
    assert parts["val"].allowed.tolist() == [[True, True], [False, True]]
    assert parts["test"].logits.tolist() == [[1, 2]]


def test_a_parquet_has_columns_or_lists(tmp_path: Path) -> None:
    columns = {f"logit_{k}": LOGITS[:, k] for k in range(3)} | {f"label_{k}": LABELS[:, k] for k in range(3)}
    parquet.write_table(pa.table(columns), tmp_path / "columns.parquet")
    lists = {"logits": LOGITS.tolist(), "labels": LABELS.tolist()}
    parquet.write_table(pa.table(lists), tmp_path / "lists.parquet")
    for name in ("columns", "lists"):
        data = multilabel.load(tmp_path / f"{name}.parquet")["all"]
        assert np.array_equal(data.logits, LOGITS)
        assert data.targets.tolist() == LABELS.astype(bool).tolist()


def test_probabilities_become_log_odds(tmp_path: Path) -> None:
    p = np.array([[0.9, 0.2], [0.5, 1.0]])
    np.savez(tmp_path / "p.npz", logits=p, labels=[[1, 0], [0, 1]])
    found = multilabel.load(tmp_path / "p.npz", from_probabilities=True)["all"].logits
    assert found[0] == pytest.approx(np.log(p[0] / (1 - p[0])), rel=1e-6)
    assert found[1, 0] == 0
    assert 20 < found[1, 1] < np.inf


def test_names_may_come_from_outside(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", logits=LOGITS, labels=LABELS)
    assert multilabel.load(tmp_path / "rows.npz", named=("x", "y", "z"))["all"].class_names == ("x", "y", "z")
    with pytest.raises(DataError, match="the logits have 3 classes, there are 2 names for them"):
        multilabel.load(tmp_path / "rows.npz", named=("x", "y"))


def test_what_stands_under_a_mask_is_not_read(tmp_path: Path) -> None:
    logits, mask = LOGITS.copy(), np.ones((2, 3), bool)
    logits[1, 0], mask[1, 0] = np.nan, False
    data = load_npz(tmp_path, logits=logits, mask=mask)
    assert data.allowed.tolist() == mask.tolist()
    some = data.take(np.array([1]))
    assert some.mask is not None
    assert some.mask.tolist() == [[False, True, True]]


def spoilt(array: np.ndarray, value: Any) -> np.ndarray:
    """A copy with `value` in row 1, class 2."""
    copy = array.astype(np.float64)
    copy[1, 2] = value
    return copy


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a two": ({"labels": spoilt(LABELS, 2)}, "row 1, class 2: the label is 2.0; expected 0 or 1"),
    "a half": ({"labels": spoilt(LABELS, 0.5)}, "row 1, class 2: the label is 0.5; expected 0 or 1"),
    "no label": ({"labels": spoilt(LABELS, np.nan)}, "row 1, class 2: the label is nan; expected 0 or 1"),
    "names": ({"labels": np.array([["a", "", ""]] * 2)}, "row 0, class 0: the label is a; expected 0 or 1"),
    "one a row": ({"labels": np.array([0, 1])}, "labels have the shape [2]; expected [2, 3] of 0 and 1, as the logits"),
    "narrow": ({"labels": LABELS[:, :2]}, "labels have the shape [2, 2]; expected [2, 3]"),
    "members": ({"logits": LOGITS[None]}, "logits are float32 [1, 2, 3]; expected numbers [rows, classes]"),
    "text": ({"logits": LOGITS.astype(str)}, "expected numbers [rows, classes]"),
    "NaN": ({"logits": spoilt(LOGITS, np.nan)}, "row 1, class 2: the logit is nan; expected a number or -inf"),
    "infinite": ({"logits": spoilt(LOGITS, np.inf)}, "row 1, class 2: the logit is inf; expected a number or -inf"),
    "no score": (
        {"logits": spoilt(LOGITS, -np.inf)},
        "row 1, class 2: the label is 1 and the class is without a score; expected a class that may be right",
    ),
    "masked": ({"mask": spoilt(np.ones((2, 3)), 0).astype(bool)}, "the label is 1 and the class is masked out"),
    "mask": ({"mask": np.ones((2, 2), bool)}, "the mask has the shape [2, 2]; expected [2, 3] or [3]"),
    "no labels": ({"labels": np.array(0)}, "labels have the shape []"),
    "weights": ({"weights": np.ones(2)}, "the data have weights; expected none"),
    "p": ({"logits": LOGITS * 0.1 + 0.4}, "these look like probabilities (all between 0 and 1); expected logits"),
    "classes": ({"classes": np.array(["a"])}, "there are 1 class names, the logits have 3 classes"),
}


@pytest.mark.parametrize(("more", "sentence"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_meant_is_refused_where_it_stands(tmp_path: Path, more: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError) as refusal:
        load_npz(tmp_path, **more)
    assert sentence in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "write", "sentence"),
    [
        ("rows.csv", "logit_a,label_b\n1,0\n", "expected a column logit_NAME and a column label_NAME for each class; "
         "there is no label_a"),
        ("rows.csv", "a,label\n1,0\n", "for each class; found a, label"),
        ("rows.csv", "logit_a,label_a\n1\n", "row 0: 1 cells, the header has 2"),
        ("rows.txt", "1", "expected a file .npz, .npy, .csv or .parquet"),
    ],
)  # fmt: skip
def test_a_table_that_is_none_is_refused(tmp_path: Path, name: str, write: str, sentence: str) -> None:
    (tmp_path / name).write_text(write)
    with pytest.raises(DataError, match=sentence):
        multilabel.load(tmp_path / name)


def test_a_file_without_labels_says_what_it_has(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", logits=LOGITS)
    with pytest.raises(DataError, match="labels missing, found logits"):
        multilabel.load(tmp_path / "rows.npz")
