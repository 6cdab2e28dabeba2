"""What a dataset must be, and what it says when it is not."""

import re
from typing import Any

import numpy as np
import pytest

from service.datasets.dataset import Dataset
from service.errors import DataError
from tests.calibration.conftest import drawn


def rows(n: int = 6, k: int = 3) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(n * k, dtype=np.float32).reshape(n, k), np.arange(n) % k


@pytest.mark.parametrize(
    ("what", "at", "value", "sentence"),
    [
        ("logits", (4, 1), np.nan, "row 4, class 1: the logit is missing or NaN"),
        ("logits", (2, 0), np.inf, r"row 2, class 0: the logit is \+inf"),
        ("logits", (5, 2), -np.inf, "row 5: the label 2 has the logit -inf"),
        ("labels", 3, 3, "row 3: the label is 3; expected an index from 0 to 2"),
        ("labels", 1, -1, "row 1: the label is -1"),
        ("mask", (4, 1), False, "row 4: the label 1 is masked out"),
    ],
)
def test_an_error_names_the_row(what: str, at: Any, value: Any, sentence: str) -> None:
    logits, labels = rows()
    arrays: dict[str, Any] = {"logits": logits, "labels": labels, "mask": np.ones(logits.shape, bool)}
    arrays[what][at] = value
    with pytest.raises(DataError, match=sentence) as caught:
        Dataset.from_arrays(**arrays)
    assert caught.value.row == int(re.findall(r"row (\d)", sentence)[0])


def test_rows_are_counted_across_chunks() -> None:
    logits, labels = rows(10_000)
    logits[9_000, 2] = np.nan
    with pytest.raises(DataError, match="row 9000, class 2"):
        Dataset.from_arrays(logits, labels)


def test_what_stands_under_the_mask_is_never_read() -> None:
    logits, labels = rows()
    mask = np.ones(logits.shape, bool)
    logits[0, 2], mask[0, 2] = np.nan, False
    assert Dataset.from_arrays(logits, labels, mask).n_rows == 6


def test_labels_may_be_names() -> None:
    logits, labels = rows()
    names = ("cat", "dog", "eel")
    data = Dataset.from_arrays(logits, np.array(names)[labels], class_names=names)
    assert data.labels.tolist() == labels.tolist()


def test_an_unknown_name_is_an_error_that_names_the_row() -> None:
    logits, labels = rows()
    words = np.array(["cat", "dog", "eel"])[labels]
    words[4] = "fox"
    with pytest.raises(DataError, match="row 4: the label is 'fox'"):
        Dataset.from_arrays(logits, words, class_names=("cat", "dog", "eel"))


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf])
def test_a_weight_is_a_number_from_0_up(weight: float) -> None:
    logits, labels = rows()
    weights = np.ones(6)
    weights[3] = weight
    with pytest.raises(DataError, match="row 3: the weight"):
        Dataset.from_arrays(logits, labels, weights=weights)


@pytest.mark.parametrize("shape", [(6,), (6, 1), (0, 3), (2, 0, 4), (2, 3, 4, 5)])
def test_logits_are_rows_and_at_least_two_classes(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="expected"):
        Dataset.from_arrays(np.zeros(shape, np.float32), np.zeros(shape[0], int))


def test_one_mask_may_serve_all_rows() -> None:
    logits, _ = rows()
    data = Dataset.from_arrays(logits, np.zeros(6, int), np.array([True, True, False]))
    assert data.mask is not None
    assert data.mask.shape == (6, 3)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"class_names": ("cat", "dog")}, "there are 2 class names, the logits have 3 classes"),
        ({"labels": np.zeros(5, int)}, r"labels have the shape \[5\]; expected \[6\], one per row"),
        ({"labels": np.zeros((6, 2), int)}, r"labels have the shape \[6, 2\]; expected \[6\]"),
        ({"weights": np.ones(7)}, r"weights have the shape \[7\]; expected \[6\]"),
        ({"groups": np.zeros(1)}, r"groups have the shape \[1\]; expected \[6\]"),
        ({"labels": np.zeros(6, complex)}, "labels are complex128; expected class indices or names"),
        ({"mask": np.ones((6, 3))}, "the mask is float64; expected booleans"),
        ({"mask": np.full((6, 3), 2)}, "the mask is int64; expected booleans"),
        ({"mask": np.ones((5, 3), bool)}, r"the mask has the shape \[5, 3\]; expected \[6, 3\] or \[3\]"),
        ({"weights": np.zeros(6)}, "every weight is 0; expected at least one row that counts"),
    ],
)
def test_an_array_that_does_not_fit_says_what_does(arrays: dict[str, Any], sentence: str) -> None:
    logits, labels = rows()
    with pytest.raises(DataError, match=sentence):
        Dataset.from_arrays(**{"logits": logits, "labels": labels, **arrays})


def test_labels_may_be_a_column_of_their_own() -> None:
    logits, labels = rows()
    assert Dataset.from_arrays(logits, labels[:, np.newaxis]).labels.tolist() == labels.tolist()


def test_a_mask_of_zeros_and_ones_is_one_of_booleans() -> None:
    logits, _ = rows()
    data = Dataset.from_arrays(logits, np.zeros(6, int), np.array([1, 0, 1]))
    assert data.mask is not None
    assert data.mask.tolist() == [[True, False, True]] * 6


def test_chunks_cover_every_row_once() -> None:
    data = drawn(10_000, 3)
    found = np.concatenate([chunk.labels for chunk in data.chunks(999)])
    assert (found == data.labels).all()
