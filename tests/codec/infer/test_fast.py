"""The fast way into `infer` reads what the careful one reads, or nothing."""

import json
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codec import arrays
from service.codec.infer.header import read_header
from service.codec.infer.tensors import Tensor, leaves_of
from service.errors import InvalidValue

pytest.importorskip("simdjson", reason="it has no wheel for this Python")

from service.codec.infer import fast as infer_fast

NUMBERS: list[Any] = [0, 1, -1, 0.5, -2.75, 1e30, 3.4e38, -0.0, 7, 123456789012345678]
ODD: list[Any] = [None, True, "1", [1.0], [], {}, "data", 10**400, 'x"data":[', "a\\b"]
# what makes a body odd: replaced in its text, once
SPOILT = [
    ('"data"', '"Data"'),
    ('"data"', '"\\u0064ata"'),
    ('"name": "mask"', '"name": "data"'),
    ('"name": "mask"', '"name": "[mask"'),
    ('"inputs"', '"inputs": [], "inputs"'),
    ('"shape"', '"shape": [1], "shape"'),
    ('"data": [', '"data": [], "data": ['),
    ('"parameters": {}', '"parameters": {"data": [1]}'),
    ('"parameters": {}', '"parameters": {"temperature": 2, "id": "\\n"}'),
    ('"parameters": {}', '"parameters": null'),
    ("true", "1"),
    ("true", "null"),
    ("false", '"f"'),
    (", ", ",\n\t "),
    ("]]", "] ]"),
    ("[", "[["),
    ("]}", "]"),
    ("1", "1e400"),
    ("0", "NaN"),
]


def tensor(draw: random.Random, name: str, datatype: str, n: int, k: int, odd: bool) -> dict[str, Any]:
    """An input, nested or flat, its keys in any order."""
    value = (lambda: draw.random() < 0.5) if datatype == "BOOL" else (lambda: draw.choice(NUMBERS))
    rows = [[value() for _ in range(k)] for _ in range(n)]
    if odd:
        rows[draw.randrange(n)][draw.randrange(k)] = draw.choice(ODD)
    data = rows if draw.random() < 0.5 else [leaf for row in rows for leaf in row]
    shape = draw.choice([[n, k], [n, k], [n * k], [n, k, 1], [k, n]])
    parts: dict[str, Any] = {"name": name, "datatype": datatype, "shape": shape, "data": data, "parameters": {}}
    return dict(draw.sample(list(parts.items()), len(parts)))


def body(seed: int) -> bytes:
    """A request, as often as not an odd one."""
    draw = random.Random(seed)
    n, k = draw.choice([1, 2, 3, 5]), draw.choice([1, 2, 3, 30])
    kinds = [("logits", draw.choice(["FP32", "FP64"])), ("mask", "BOOL")]
    if draw.random() < 0.3:
        kinds.append((draw.choice(["tokens", "mask"]), draw.choice(["INT64", "BYTES", "FP16"])))
    inputs = [tensor(draw, name, datatype, n, k, draw.random() < 0.15) for name, datatype in kinds]
    request = {"inputs": inputs, "outputs": [{"name": "probabilities"}], "parameters": {}, "id": draw.choice("xyz")}
    text = json.dumps(dict(draw.sample(list(request.items()), len(request))))
    if draw.random() < 0.3:
        text = text.replace(*draw.choice(SPOILT), 1)
    return text.encode()


def careful(tensor: Tensor) -> Any:
    """What the careful way makes of a tensor's data."""
    leaves = leaves_of(tensor)
    if tensor.datatype == "BOOL":
        return arrays.to_booleans(tensor.shape, leaves, "x")
    return arrays.to_numbers(tensor.shape, leaves, "x")


@given(st.integers(0, 2**64))
def test_it_reads_what_the_careful_way_reads_or_nothing(seed: int) -> None:
    header = body(seed)
    fast = infer_fast.read_header_fast(header)
    if fast is None:
        return
    slow = read_header(header)
    assert fast._replace(inputs=()) == slow._replace(inputs=())
    for ours, theirs in zip(fast.inputs, slow.inputs, strict=True):
        assert ours._replace(data=None) == theirs._replace(data=None)
        if isinstance(ours.data, np.ndarray):
            values = careful(theirs)
            assert (ours.data.dtype, len(ours.data)) == (values.dtype, values.size)
            assert ours.data.tobytes() == values.tobytes()
        else:
            assert ours.data == theirs.data


@pytest.mark.parametrize(
    "shape", [["a" * 10, 10**11], [[0] * 10, 10**11], [2**31] * 100_000], ids=["string", "list", "long"]
)
def test_a_shape_is_checked_before_it_is_multiplied(shape: Any) -> None:
    header = json.dumps({"inputs": [{"name": "logits", "datatype": "FP32", "shape": shape, "data": [1.0]}]}).encode()
    assert infer_fast.read_header_fast(header) is None
    with pytest.raises(InvalidValue):
        read_header(header)


def test_a_byte_order_mark_is_left_to_the_careful_way_which_refuses_it() -> None:
    header = b"\xef\xbb\xbf" + json.dumps({"inputs": [{"name": "a", "datatype": "INT64", "shape": [1]}]}).encode()
    assert infer_fast.read_header_fast(header[3:]) is not None
    assert infer_fast.read_header_fast(header) is None


def test_it_takes_the_usual_requests() -> None:
    taken = [infer_fast.read_header_fast(body(seed)) is not None for seed in range(1000)]
    assert sum(taken) > 150


@pytest.mark.parametrize(("old", "new"), SPOILT)
def test_what_is_odd_in_the_text_changes_nothing_unseen(old: str, new: str) -> None:
    spoilt = 0
    for seed in range(200):
        before = body(seed).decode()
        header = before.replace(old, new, 1).encode()
        spoilt += header != before.encode()
        fast = infer_fast.read_header_fast(header)
        if fast is not None:
            slow = read_header(header)
            assert fast._replace(inputs=()) == slow._replace(inputs=())
            for ours, theirs in zip(fast.inputs, slow.inputs, strict=True):
                if isinstance(ours.data, np.ndarray):
                    assert ours.data.tobytes() == careful(theirs).tobytes()
    assert spoilt


@pytest.mark.parametrize(
    ("k", "data"),
    [
        (1, b"[[[1,2]]]"),
        (2, b"[[[1],2]]"),
        (1, b"[[1],[2]]"),
        (2, b"[[1,2],[3]]"),
        (2, b"[1,[2,3]]"),
        (2, b"[1,2,3]"),
    ],
)
def test_data_that_do_not_fit_their_shape_are_left_to_the_careful_way(k: int, data: bytes) -> None:
    header = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,%d],"data":%s}]}' % (k, data)
    assert infer_fast.read_header_fast(header) is None
    (tensor,) = read_header(header).inputs
    with pytest.raises(InvalidValue):
        careful(tensor)
