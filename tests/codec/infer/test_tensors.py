"""Tensors: data that lie in the header, flat or nested, and those that have none."""

from typing import Any

import numpy as np
import pytest

from service.codec.infer.tensors import Tensor, from_bytes, leaves_of, to_bytes
from service.errors import InvalidValue
from tests.transports.infer import unbytes


def in_json(shape: tuple[int, ...], data: Any) -> Tensor:
    """A tensor whose data lie in the header."""
    return Tensor("x", "FP32", shape, None, data)


@pytest.mark.parametrize("data", [[], [[]], [[], [], []], [[[], []]]], ids=str)
def test_a_tensor_without_elements_may_be_nested_as_it_likes(data: Any) -> None:
    assert leaves_of(in_json((3, 0), data)) == []


@pytest.mark.parametrize("data", [[1], [[], [1], []], [[[], 0]], [None]], ids=str)
def test_a_tensor_without_elements_has_none_anywhere(data: Any) -> None:
    with pytest.raises(InvalidValue) as error:
        leaves_of(in_json((3, 0), data))
    assert (str(error.value), error.value.code) == ("x has data, and the shape [3, 0], which has none", "wrong_shape")


def test_data_that_the_fast_way_has_read_are_leaves_as_well() -> None:
    assert leaves_of(in_json((2, 2), np.array([1.0, 2.0, 3.0, 4.0]))) == [1, 2, 3, 4]


def test_binary_data_that_lie_aligned_are_not_copied() -> None:
    body = bytes(8) + np.arange(4, dtype=np.float32).tobytes()
    tensor = Tensor("x", "FP32", (2, 2), 16, None)
    aligned = from_bytes(tensor, body, 8)
    assert np.shares_memory(aligned, np.frombuffer(body, np.uint8))
    shifted = from_bytes(tensor, b"!" + body, 9)
    assert not np.shares_memory(shifted, np.frombuffer(body, np.uint8))
    assert (aligned == shifted).all()


@pytest.mark.parametrize("datatype", ["FP32", "BF16", "BOOL"])
def test_a_binary_tensor_without_elements_is_read_wherever_it_lies(datatype: str) -> None:
    values = from_bytes(Tensor("x", datatype, (0, 3), 0, None), b"", 0)
    assert values.shape == (0, 3)


def test_strings_have_their_length_before_them() -> None:
    strings = ["", "a", "é", "x" * 300]
    assert unbytes(to_bytes(strings)) == strings
