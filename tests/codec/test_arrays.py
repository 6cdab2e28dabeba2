"""Nested lists to arrays: numbers that no float has."""

import math
from typing import Any

import pytest

from service.codec.arrays import read_numbers
from service.codec.predict.careful import decode_careful
from service.errors import InvalidValue
from tests.codec.served import ANY


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([1, 10**350], [1, math.inf]),
        ([-(10**350), None, 0.5], [math.inf, -math.inf, 0.5]),  # -inf is for null alone
        ([[10**308], [10**309]], [[1e308], [math.inf]]),
    ],
    ids=["among others", "beside null", "in rows"],
)
def test_an_integer_beyond_every_float_is_out_of_range_on_either_side(numbers: Any, expected: Any) -> None:
    assert read_numbers(numbers).tolist() == expected


@pytest.mark.parametrize("digits", [b"1" + b"0" * 350, b"-1" + b"0" * 350, b"1" + b"0" * 500])
def test_a_body_with_such_an_integer_is_refused_by_its_place(digits: bytes) -> None:
    with pytest.raises(InvalidValue, match=r"logits\[0\]\[1\] is .*; expected a finite number within float32") as error:
        decode_careful(b'{"logits":[[1,%s]]}' % digits, ANY)
    assert (error.value.code, error.value.row) == ("bad_logit", 0)
