"""A body of infer to its rows: the inputs of a classifier, and raw bodies; what logits are is tested over HTTP."""

import json
import re
import subprocess
import sys
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from service.codec.infer.decode import Inference, decode_infer
from service.codec.infer.header import REMEMBERED_BYTES
from service.codec.infer.tensors import to_bytes
from service.engine.rows import Rows
from service.engine.signature import Signature
from service.errors import InvalidValue, Malformed, RequestError
from tests.codec.served import ANY, CLASSIFIER, TEXTS, THREE
from tests.conftest import ROOT
from tests.transports.infer import binary, framed, tensor

PIXELS = np.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], np.float32)
OWN = {
    "pixels": tensor("pixels", "FP32", [2, 2, 2], data=PIXELS.tolist()),
    "ids": tensor("ids", "INT64", [2, 3], data=[7, 8, 9, 1, 2, 3]),
    "flag": tensor("flag", "BOOL", [2, 1], data=[True, False]),
}
ONE_INPUT = Signature("stub", "1", classes=3, takes="inputs", inputs={"x": (np.float32, (4,))})
OPEN_CLASSES = Signature("stub", "1", takes="inputs", inputs={"x": (np.float32, (4,))})
OPEN_INPUT = Signature("stub", "1", classes=3, takes="inputs", inputs={"x": (np.float32, (None,))})
X = tensor("x", "FP32", [2, 4], data=[1, 2, 3, 4, 5, 6, 7, 8])


def decoded(model: Signature, *inputs: dict[str, Any], data: bytes = b"") -> Inference:
    """The query that these inputs are, with binary data behind their header."""
    body, headers = framed({"inputs": list(inputs)}, data)
    return decode_infer(body, headers["inference-header-content-length"].encode(), model)


def refused(model: Signature, *inputs: dict[str, Any], data: bytes = b"") -> InvalidValue:
    """The error for these inputs."""
    with pytest.raises(InvalidValue) as error:
        decoded(model, *inputs, data=data)
    return error.value


# --- one row of logits


@hypothesis.given(st.integers(1, 12), st.sampled_from(["<f2", "<f4", "<f8"]), st.booleans(), st.data())
def test_one_row_is_the_same_in_bytes_as_in_arrays(k: int, dtype: str, masked: bool, data: st.DataObject) -> None:
    numbers = st.one_of(st.floats(-20, 20), st.sampled_from([0.0, -0.0, 1.0, 6e4, -np.inf, np.nan]))
    logits = np.array(data.draw(st.lists(numbers, min_size=k, max_size=k)), dtype).reshape(1, k)
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=k, max_size=k))).reshape(1, k) if masked else None
    inputs, sent = [binary("logits", f"FP{8 * logits.itemsize}", [1, k], logits.nbytes)], logits.tobytes()
    if mask is not None:
        inputs, sent = [*inputs, binary("mask", "BOOL", [1, k], k)], sent + mask.tobytes()
    wide = logits.astype(np.float32) if dtype == "<f2" else logits
    try:
        expected = Rows.from_logits(wide, mask)
    except InvalidValue as error:
        with pytest.raises(InvalidValue, match=re.escape(str(error))):
            decoded(ANY, *inputs, data=sent)
        return
    rows = decoded(ANY, *inputs, data=sent).rows
    assert rows.inputs["logits"].tobytes() == expected.inputs["logits"].tobytes()
    assert list(rows.empty) == list(expected.empty)
    assert rows.looks_like_probabilities == expected.looks_like_probabilities


# --- the inputs of a classifier


def test_a_classifier_gets_its_inputs_in_their_own_types_and_order() -> None:
    query = decoded(CLASSIFIER, OWN["flag"], OWN["pixels"], OWN["ids"])
    assert list(query.rows.inputs) == ["pixels", "ids", "flag"]
    assert {name: (values.dtype.name, values.shape) for name, values in query.rows.inputs.items()} == {
        "pixels": ("float32", (2, 2, 2)),
        "ids": ("int64", (2, 3)),
        "flag": ("bool", (2, 1)),
    }
    assert (query.rows.n, query.lead, query.classes) == (2, (2,), (3,))
    assert query.rows.inputs["ids"].tolist() == [[7, 8, 9], [1, 2, 3]]


def test_binary_inputs_are_read_as_those_in_json() -> None:
    inputs = [binary("pixels", "FP32", [2, 2, 2], 32), OWN["ids"], binary("flag", "BOOL", [2, 1], 2)]
    query = decoded(CLASSIFIER, *inputs, data=PIXELS.tobytes() + b"\1\0")
    as_json = decoded(CLASSIFIER, *OWN.values())
    for name, values in as_json.rows.inputs.items():
        assert (query.rows.inputs[name] == values).all()


def test_a_mask_goes_to_the_classes_of_a_classifier() -> None:
    query = decoded(ONE_INPUT, X, tensor("mask", "BOOL", [2, 3], data=[True, False, True, False, False, False]))
    assert query.rows.mask is not None
    assert query.rows.mask.tolist() == [[True, False, True], [False, False, False]]
    assert list(query.rows.empty) == [1]
    one_for_all = decoded(ONE_INPUT, X, tensor("mask", "BOOL", [3], data=[True, False, True]))
    assert one_for_all.rows.mask is not None
    assert one_for_all.rows.mask.tolist() == [[True, False, True]] * 2


@pytest.mark.parametrize(
    ("model", "inputs", "sentence", "code"),
    [
        (CLASSIFIER, (OWN["pixels"],), "the input flag, ids is missing", "missing_inputs"),
        (CLASSIFIER, (), "the input flag, ids, pixels is missing", "missing_inputs"),
        (
            CLASSIFIER,
            (OWN["pixels"], OWN["ids"], tensor("flag", "BOOL", [1, 1], data=[True])),
            "the inputs have different numbers of rows; expected the same",
            "wrong_shape",
        ),
        (
            CLASSIFIER,
            (tensor("pixels", "FP32", [2, 4], data=[0] * 8),),
            "pixels has the shape [2, 4]; expected ['N', 2, 2]",
            "wrong_shape",
        ),
        (
            CLASSIFIER,
            (tensor("ids", "INT64", [2], data=[0, 1]),),
            "ids has the shape [2]; expected ['N', 'any']",
            "wrong_shape",
        ),
        (CLASSIFIER, (tensor("ids", "INT32", [2, 3], data=[0] * 6),), "ids is INT32; expected INT64", "bad_datatype"),
        (
            CLASSIFIER,
            (tensor("ids", "INT64", [1, 2], data=[0, 0.5]),),
            "ids[0][1] is a number; expected int64",
            "bad_input",
        ),
        (
            OPEN_CLASSES,
            (X, tensor("mask", "BOOL", [3], data=[True] * 3)),
            "the model's number of classes is open; it takes no mask",
            "bad_mask",
        ),
        (
            ONE_INPUT,
            (X, tensor("logits", "FP32", [2, 3], data=[0] * 6)),
            "there is no input logits; x, mask, temperature are known",
            "unknown_input",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_inputs_is_said(model: Signature, inputs: Any, sentence: str, code: str) -> None:
    error = refused(model, *inputs)
    assert (str(error), error.code) == (sentence, code)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_binary_input_is_finite_as_one_in_json_is(bad: float) -> None:
    data = np.array([[1, 2, bad, 4]], np.float32).tobytes()
    error = refused(ONE_INPUT, binary("x", "FP32", [1, 4], 16), data=data)
    assert (str(error), error.code) == ("x has a number that is not finite", "bad_input")


AGES = tensor("age", "FP32", [2, 1], data=[1, 2])
WORDS = ["a\x00b", "Zürich 🙂"]


@pytest.mark.parametrize("data", [WORDS, [[word] for word in WORDS]], ids=["flat", "nested"])
def test_strings_come_in_json_or_behind_their_lengths(data: Any) -> None:
    packed = to_bytes(WORDS)
    for given, behind in (
        (tensor("text", "BYTES", [2, 1], data=data), b""),
        (binary("text", "BYTES", [2, 1], len(packed)), packed),
    ):
        rows = decoded(TEXTS, given, AGES, data=behind).rows
        assert rows.inputs["text"].tolist() == [[word] for word in WORDS]


BROKEN = {
    "fewer than the shape has": to_bytes(["a"]),
    "more": to_bytes(["a", "b", "c"]),
    "a length cut": to_bytes(["a", "b"])[:7],
    "an element cut": to_bytes(["a", "bc"])[:-1],
    "a length beyond all": b"\xff\xff\xff\xffa",
    "none": b"",
}


@pytest.mark.parametrize("packed", BROKEN.values(), ids=BROKEN)
def test_binary_strings_are_as_many_and_as_long_as_they_say(packed: bytes) -> None:
    error = refused(TEXTS, binary("text", "BYTES", [2, 1], len(packed)), AGES, data=packed)
    assert str(error) == (
        f"the binary data of text are {len(packed)} bytes; expected 2 elements, each behind its length in four bytes"
    )


def test_a_binary_string_is_utf_8() -> None:
    packed = to_bytes(["a"]) + b"\1\0\0\0\xff"
    error = refused(TEXTS, binary("text", "BYTES", [2, 1], len(packed)), AGES, data=packed)
    assert str(error) == "text has an element that is not UTF-8, number 1; expected UTF-8"


# --- bodies without a header


@pytest.mark.parametrize(
    ("model", "values", "rows"),
    [
        (ANY, [1, 2, 3], [[1, 2, 3]]),
        (THREE, [1, 2, 3], [[1, 2, 3]]),
        (THREE, [1, 2, 3, 4, 5, 6], [[1, 2, 3], [4, 5, 6]]),
        (ONE_INPUT, [1, 2, 3, 4, 5, 6, 7, 8], [[1, 2, 3, 4], [5, 6, 7, 8]]),
        (OPEN_INPUT, [1, 2, 3], [[1, 2, 3]]),
    ],
    ids=["any number of classes", "one row", "two rows", "two rows of a classifier", "one open row of a classifier"],
)
def test_a_raw_body_has_as_many_rows_as_the_model_s_sizes_say(
    model: Signature, values: list[float], rows: list[list[float]]
) -> None:
    query = decode_infer(np.array(values, np.float32).tobytes(), b"0", model)
    (given,) = query.rows.inputs.values()
    assert given.tolist() == rows
    assert query.binary


@pytest.mark.parametrize(
    ("model", "n_bytes", "sentence", "code"),
    [
        (CLASSIFIER, 16, "which only a model with one input of numbers takes; stub has 3", "bad_header_length"),
        (
            Signature("stub", "1", classes=3, takes="inputs", inputs={"text": (np.object_, (1,))}),
            5,
            "which only a model with one input of numbers takes; stub has strings",
            "bad_header_length",
        ),
        (THREE, 16, "the body has 16 bytes; expected a raw FP32 tensor of [-1, 3]", "bad_binary_size"),
        (ONE_INPUT, 20, "the body has 20 bytes; expected a raw FP32 tensor of [-1, 4]", "bad_binary_size"),
        (ONE_INPUT, 15, "the body has 15 bytes; expected a raw FP32 tensor of [-1, 4]", "bad_binary_size"),
    ],
)
def test_a_raw_body_that_does_not_fit_is_refused(model: Signature, n_bytes: int, sentence: str, code: str) -> None:
    with pytest.raises(Malformed) as error:
        decode_infer(bytes(n_bytes), b"0", model)
    assert str(error.value).endswith(sentence)
    assert error.value.code == code


def test_a_raw_body_for_a_model_with_two_open_sizes_is_refused() -> None:
    model = Signature("stub", "1", classes=3, takes="inputs", inputs={"x": (np.float32, (None, None))})
    with pytest.raises(RequestError, match=r"expected a raw FP32 tensor of \[1, -1, -1\]"):
        decode_infer(bytes(16), b"0", model)


# --- without simdjson

WITHOUT_SIMDJSON = """
import sys
if sys.argv[1] == "without":
    sys.modules["simdjson"] = None  # as where it has no wheel
import json
from service.codec.infer.decode import decode_infer
from service.codec.predict.decode import decode_predict
from tests.codec.served import ANY
for line in sys.stdin.buffer:
    body = line.strip()
    decode = decode_infer if b'"inputs"' in body else decode_predict
    rows = decode(body, None, ANY).rows
    print(rows.n, rows.inputs["logits"].tobytes().hex(), rows.temperature)
print("service.codec.predict.fast" in sys.modules, "service.codec.infer.fast" in sys.modules)
"""


def test_without_simdjson_the_careful_way_reads_the_same() -> None:
    logits = [[0.1 * i, -2.5, 1e-3] for i in range(200)]
    flat = [number for row in logits for number in row]
    bodies = [
        {"logits": logits, "mask": [[True, False, True]] * 200},
        {"logits": logits[0], "temperature": 0.5},
        {"inputs": [tensor("logits", "FP32", [200, 3], data=flat)]},
    ]
    sent = b"\n".join(json.dumps(body).encode() for body in bodies)
    assert all(len(json.dumps(body)) > REMEMBERED_BYTES for body in (bodies[0], bodies[2]))
    answers = []
    for way in ("with", "without"):
        command = [sys.executable, "-c", WITHOUT_SIMDJSON, way]
        done = subprocess.run(command, input=sent, cwd=ROOT, capture_output=True, timeout=60, check=True)
        *rows, loaded = done.stdout.decode().splitlines()
        answers.append(rows)
        if way == "without":
            assert loaded == "False False"
    assert len(answers[0]) == len(bodies)
    assert answers[0] == answers[1]
