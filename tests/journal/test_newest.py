"""The newest answers: as many as there is room for, and what they say of the classes."""

import numpy as np
import pytest

from service.journal.newest import MOST_NUMBERS, ROWS, Newest
from service.live.reference import Reference


def test_the_newest_rows_count_and_older_ones_go() -> None:
    newest = Newest()
    for i in range(50):
        newest.add(np.full((100, 2), i / 50, np.float32))
    assert ROWS <= newest.n < ROWS + 100
    assert newest.parts[0][0, 0] == pytest.approx(30 / 50)
    newest.add(np.zeros((10_000, 2), np.float32))
    assert newest.n == ROWS
    assert len(newest.parts) == 1


@pytest.mark.parametrize("k", [1000, MOST_NUMBERS + 1])
def test_of_wide_rows_fewer_are_kept(k: int) -> None:
    newest = Newest()
    for _ in range(9):
        newest.add(np.zeros((100, k), np.float32))
    assert newest.n * k < MOST_NUMBERS + 100 * k
    assert (newest.n == 0) == (k > MOST_NUMBERS)


def test_rows_of_another_width_begin_anew() -> None:
    newest = Newest()
    newest.add(np.zeros((5, 2), np.float32))
    newest.add(np.zeros((3, 4), np.float32))
    assert repr(newest) == "<Newest 3 rows>"


def test_the_shares_of_the_classes_are_those_of_the_rows() -> None:
    newest = Newest()
    newest.add(np.tile(np.array([[0.9, 0.1]], np.float32), (375, 1)))
    assert not newest.is_new  # too few yet
    newest.add(np.tile(np.array([[0.2, 0.8]], np.float32), (125, 1)))
    assert newest.is_new
    found = newest.shares(Reference(prior=np.array([0.5, 0.5])))
    assert not newest.is_new
    assert found["expected_accuracy"] == pytest.approx(0.875)
    assert found["em"][0] > 0.8
