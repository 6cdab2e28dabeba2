"""Rows are judged before they are queued; answers are derived once."""

from array import array
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.feed import build_feed
from service.engine.rows import Rows, Runnable
from service.engine.single import Row
from service.errors import InvalidValue

BAD = [np.nan, np.inf, 3.5e38, -3.5e38, 1e300, -1e300]
floats = st.one_of(st.floats(width=32), st.floats(), st.just(-np.inf))


def checked(logits: Any, mask: Any = None, **options: Any) -> Rows:
    """Rows of lists."""
    return Rows.from_logits(np.array(logits, np.float64), None if mask is None else np.array(mask), **options)


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_number_on_an_allowed_class_is_named_by_row_and_class(bad: float) -> None:
    with pytest.raises(InvalidValue, match=r"logits\[1\]\[2\] is") as error:
        checked([[1, 2, 3], [4, 5, bad]])
    assert (error.value.row, error.value.class_, error.value.code) == (1, 2, "bad_logit")


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("masks_first", [True, False])
def test_a_bad_number_under_the_mask_is_never_read(bad: float, masks_first: bool) -> None:
    mask = [[True, True, False]]
    rows = checked([[1, 2, bad]], mask, masks_first=masks_first)
    assert not np.isnan(rows.inputs["logits"]).any()
    if masks_first:
        assert rows.mask is None
        assert rows.inputs["logits"].tolist() == [[1, 2, -np.inf]]
    else:
        assert rows.mask is not None
        assert np.isfinite(rows.inputs["logits"]).all()


def test_minus_infinity_is_a_class_without_a_score() -> None:
    rows = checked([[1, -np.inf], [-np.inf, -np.inf]])
    assert rows.inputs["logits"].tolist() == [[1, -np.inf], [-np.inf, -np.inf]]
    assert list(rows.empty) == [1]


@pytest.mark.parametrize("scale", [1, 1e38])
def test_rows_without_a_class_are_found(scale: float) -> None:
    logits = np.array([[1, 2], [3, 2], [1, -np.inf], [1, 1]]) * scale
    rows = checked(logits, [[False, False], [True, False], [False, True], [True, True]])
    assert list(rows.empty) == [0, 2]
    assert list(checked([[scale, scale]], [[False, False]]).empty) == [0]


def test_the_largest_float32_passes() -> None:
    most = float(np.finfo(np.float32).max)
    assert checked([[most, -most]]).inputs["logits"].tolist() == [[most, -most]]


@settings(max_examples=300)
@given(st.data(), st.integers(1, 4), st.integers(1, 5), st.booleans())
def test_whatever_comes_through_can_be_run(data: st.DataObject, n: int, k: int, masks_first: bool) -> None:
    logits = data.draw(st.lists(st.lists(floats, min_size=k, max_size=k), min_size=n, max_size=n))
    mask = data.draw(st.lists(st.lists(st.booleans(), min_size=k, max_size=k), min_size=n, max_size=n))
    wide, allowed = np.array(logits), np.array(mask)
    with np.errstate(over="ignore"):
        narrow = wide.astype(np.float32)
    good = np.isneginf(wide) | np.isfinite(narrow)
    if not good[allowed].all():
        with pytest.raises(InvalidValue):
            checked(logits, mask, masks_first=masks_first)
        return
    rows = checked(logits, mask, masks_first=masks_first)
    values = rows.inputs["logits"]
    assert values.dtype == np.float32
    assert not (np.isnan(values) | np.isposinf(values)).any()
    assert (values[allowed] == narrow[allowed]).all()
    assert list(rows.empty) == [i for i in range(n) if not (allowed[i] & (wide[i] > -np.inf)).any()]


@pytest.mark.parametrize(
    ("logits", "looks"),
    [
        ([[0.25, 0.75]], True),
        ([[0, 1], [1, 0]], True),
        ([[0.3333, 0.3333, 0.3333]], True),
        ([[0.25, 0.75], [1, 2]], False),
        ([[-0.5, 1.5]], False),
        ([[1]], False),
        ([[0, 0]], False),
        ([[0.5, 0.4]], False),
        ([[1, -np.inf]], False),
    ],
)
def test_logits_that_look_like_probabilities_are_noticed(logits: Any, looks: bool) -> None:
    assert checked(logits).looks_like_probabilities is looks


def test_a_part_has_its_own_rows_of_everything() -> None:
    temperature = np.array([[1.0], [2.0], [3.0]])
    mask = np.array([[True], [False], [True]])
    rows = Rows({"logits": np.array([[1.0], [2.0], [3.0]], np.float32)}, mask, temperature)
    part = rows.part(1, 3)
    assert part.n == 2
    assert part.inputs["logits"].tolist() == [[2], [3]]
    assert part.mask is not None
    assert part.temperature is not None
    assert np.array_equal(part.mask, [[False], [True]])
    assert np.array_equal(part.temperature, [[2], [3]])
    assert Rows(rows.inputs, None, 5.0).part(0, 1).temperature == 5.0


def test_a_single_row_has_no_smaller_part_than_itself() -> None:
    row = Row(array("f", [1, 2]).tobytes(), None, None, ())
    assert row.part(0, 1) is row
    for start, stop in ((0, 0), (1, 1), (0, 2)):
        with pytest.raises(AssertionError):
            row.part(start, stop)


def test_rows_of_one_shape_may_share_a_batch() -> None:
    assert checked([[1, 2]]).shape == checked([[1, 2], [3, 4]]).shape
    assert checked([[1, 2]]).shape != checked([[1, 2, 3]]).shape
    two = Rows({"a": np.zeros((1, 2)), "b": np.zeros((1, 3))})
    swapped = Rows({"a": np.zeros((1, 3)), "b": np.zeros((1, 2))})
    assert two.shape != swapped.shape


def test_a_feed_has_only_what_somebody_brought() -> None:
    assert build_feed([checked([[1, 2]]), checked([[3, 4]])], 1.0).keys() == {"logits"}
    feed = build_feed([checked([[1, 2]]), checked([[3, 4]], temperature=2.0)], 7.0)
    assert feed["temperature"].tolist() == [[7], [2]]
    assert feed["temperature"].dtype == np.float64


def test_one_request_alone_is_not_copied() -> None:
    rows = checked([[1, 2]])
    assert build_feed([rows], 1.0)["logits"] is rows.inputs["logits"]


ROW = st.tuples(st.lists(st.floats(-(2.0**90), 2.0**90, width=32), min_size=4, max_size=4), st.none() | st.binary())


@given(st.lists(ROW, min_size=1, max_size=6), st.booleans())
def test_rows_that_are_still_bytes_join_to_the_same_feed_as_checked_ones(
    drawn: list[tuple[list[float], bytes | None]], mixed: bool
) -> None:
    as_bytes: list[Runnable] = []
    plain: list[Runnable] = []
    for i, (numbers, noise) in enumerate(drawn):
        mask = None if noise is None else [bool(byte & 1) for byte in (noise + bytes(4))[:4]]
        temperature = None if i % 2 else 0.5 + i
        as_bytes.append(Row(array("f", numbers).tobytes(), None if mask is None else bytes(mask), temperature, ()))
        plain.append(checked([numbers], None if mask is None else [mask], temperature=temperature))
    if mixed:
        as_bytes.append(plain[0])
        plain.append(plain[0])
    left, right = build_feed(as_bytes, 3.0), build_feed(plain, 3.0)
    assert left.keys() == right.keys()
    for name, values in left.items():
        assert (values.dtype, values.shape) == (right[name].dtype, right[name].shape)
        assert values.tobytes() == right[name].tobytes()
