"""ModelInfer requests that are wrong: each gets its status and its sentence, and none is logged as an error."""

import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

import grpc
import numpy as np
import pytest

from service.rpc.messages import INFERENCE, ModelInferRequest
from tests.rpc.calls import Caller, Given, calling, request

ROWS = np.arange(6, dtype=np.float32).reshape(2, 3)
LOGITS: Given = ("logits", "FP32", ROWS)
TENSOR = {"name": "logits", "datatype": "FP32", "shape": [2, 3]}
INVALID = grpc.StatusCode.INVALID_ARGUMENT
UNKNOWN = grpc.StatusCode.NOT_FOUND


class Wrong(NamedTuple):
    """A message and what it gets."""

    code: str
    sentence: str
    message: Any
    status: grpc.StatusCode = INVALID


def asks(*tensors: Any, raw: Any = (), **more: Any) -> Any:
    """A message by hand."""
    return ModelInferRequest(**{"model_name": "softmax", **more}, inputs=tensors, raw_input_contents=raw)


def typed(datatype: str = "FP32", shape: Any = (2, 3), name: str = "logits", **contents: Any) -> Any:
    """A tensor with contents."""
    return {"name": name, "datatype": datatype, "shape": shape, "contents": contents}


def wants(name: str, **parameters: Any) -> Any:
    """A message that asks for one output."""
    return request(LOGITS, outputs=[{"name": name, "parameters": parameters}])


def says(**parameters: Any) -> Any:
    """A message with parameters."""
    return request(LOGITS, parameters=parameters)


RAW = ROWS.tobytes()
SIX = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
MASK: Given = ("mask", "BOOL", np.ones((2, 3), bool))
WRONG = {
    # bytes
    "no message": Wrong("bad_message", "the bytes are not a message inference.ModelInferRequest", b"\xff\xff"),
    "a message that breaks off": Wrong("bad_message", "the bytes are no", request(LOGITS).SerializeToString()[:-1]),
    "JSON": Wrong("bad_message", "the bytes are no", b'{"inputs":[]}'),
    "not UTF-8": Wrong("bad_message", "the bytes are no", b"\x0a\x01\xff"),
    "nothing": Wrong("wrong_request", "model_name is missing", b""),
    # the request
    "no model": Wrong("wrong_request", "model_name is missing", request(LOGITS, model_name="")),
    "an unknown model": Wrong("unknown_model", "no model of that name", request(LOGITS, model_name="nobody"), UNKNOWN),
    "an unknown version": Wrong(
        "unknown_version", "has no such version; it has 1", request(LOGITS, model_version="7"), UNKNOWN
    ),
    "a version that is none": Wrong("unknown_version", "no such version", request(LOGITS, model_version="x"), UNKNOWN),
    "no inputs": Wrong("missing_logits", "expected that input", asks()),
    "an unknown input": Wrong("unknown_input", "there is no input scores", request(LOGITS, ("scores", "FP32", ROWS))),
    "an input without a name": Wrong("unknown_input", "there is no input ''", request(("", "FP32", ROWS))),
    "an input twice": Wrong("duplicate_key", "logits is repeated", request(LOGITS, LOGITS)),
    "a mask alone": Wrong("missing_logits", "takes logits", request(MASK)),
    "an id too long": Wrong("invalid_value", "id has 300 characters", request(LOGITS, id="x" * 300)),
    # raw contents
    "too few raw contents": Wrong(
        "bad_binary_size", "2 inputs and 1 raw_input_contents", asks(TENSOR, TENSOR, raw=[RAW])
    ),
    "too many raw contents": Wrong("bad_binary_size", "1 inputs and 2 raw", asks(TENSOR, raw=[RAW, RAW])),
    "raw contents of no input": Wrong("bad_binary_size", "0 inputs and 1 raw", asks(raw=[RAW])),
    "raw contents too short": Wrong(
        "bad_binary_size", "are 20 bytes; FP32 of the shape [2, 3] has 24", asks(TENSOR, raw=[RAW[4:]])
    ),
    "raw contents too long": Wrong("bad_binary_size", "are 25 bytes", asks(TENSOR, raw=[RAW + b"!"])),
    "raw contents empty": Wrong("bad_binary_size", "are 0 bytes", asks(TENSOR, raw=[b""])),
    "raw and typed contents": Wrong(
        "wrong_request", "has both contents and raw_input_contents", asks(typed(fp32_contents=SIX), raw=[RAW])
    ),
    "a raw NaN": Wrong("bad_logit", "logits[1][2] is not a number", asks(TENSOR, raw=[RAW[4:] + b"\0\0\xc0\x7f"])),
    "a raw infinity": Wrong("bad_logit", "logits[0][1]", request(("logits", "FP32", [[0, np.inf]]))),
    "a raw FP64 beyond FP32": Wrong("bad_logit", "logits[0][1]", request(("logits", "FP64", [[0, 1e300]]))),
    # typed contents
    "neither raw nor typed contents": Wrong("wrong_shape", "has 0 values; expected 6", asks(TENSOR)),
    "too few typed contents": Wrong(
        "wrong_shape", "logits has 5 values; expected 6 for its shape [2, 3]", asks(typed(fp32_contents=SIX[1:]))
    ),
    "too many typed contents": Wrong("wrong_shape", "has 7 values", asks(typed(fp32_contents=[*SIX, 6]))),
    "contents of another type": Wrong(
        "bad_datatype", "is FP32 and comes in fp64_contents; expected fp32_contents", asks(typed(fp64_contents=SIX))
    ),
    "contents of two types": Wrong(
        "bad_datatype", "fp32_contents and fp64_contents", asks(typed(fp32_contents=SIX, fp64_contents=SIX))
    ),
    "typed FP16": Wrong("invalid_value", "which has no JSON form", asks(typed("FP16", fp32_contents=SIX))),
    "typed BF16": Wrong("invalid_value", "which has no JSON form", asks(typed("BF16", fp32_contents=SIX))),
    "a typed NaN": Wrong("bad_logit", "logits[0][0] is not a number", asks(typed(fp32_contents=[np.nan, *SIX[1:]]))),
    "BYTES for logits": Wrong("bad_datatype", "logits is BYTES", asks(typed("BYTES", (1,), bytes_contents=[b"x"]))),
    # a tensor
    "no datatype": Wrong("bad_datatype", "logits has the datatype ''", asks({**TENSOR, "datatype": ""}, raw=[RAW])),
    "an unknown datatype": Wrong("bad_datatype", "FP128", asks(typed("FP128", fp32_contents=SIX))),
    "a datatype that is no float": Wrong("bad_datatype", "logits is INT64", request(("logits", "INT64", ROWS))),
    "no shape": Wrong("wrong_shape", "the shape of logits", asks({**TENSOR, "shape": []}, raw=[RAW])),
    "no shape, typed": Wrong("wrong_shape", "the shape of logits", asks(typed(shape=[], fp32_contents=SIX))),
    "an axis below zero": Wrong("wrong_shape", "the shape of logits", asks({**TENSOR, "shape": [-1, 3]}, raw=[RAW])),
    "an axis below zero, typed": Wrong(
        "wrong_shape", "the shape of logits", asks(typed(shape=[-2, -3], fp32_contents=SIX))
    ),
    "a huge axis": Wrong("wrong_shape", "the shape of logits", asks({**TENSOR, "shape": [2**62, 3]}, raw=[RAW])),
    "huge axes and no row": Wrong(
        "wrong_shape", "larger than any memory", asks({**TENSOR, "shape": [0, *[2**31 - 1] * 5]}, raw=[b""])
    ),
    "no class": Wrong("wrong_shape", "at least one class", request(("logits", "FP32", np.zeros((2, 0))))),
    "three axes": Wrong("wrong_shape", "[K] or [N, K]", request(("logits", "FP32", ROWS.reshape(1, 2, 3)))),
    "shared memory": Wrong(
        "no_shared_memory",
        "shared memory",
        asks({**TENSOR, "parameters": {"shared_memory_region": {"string_param": "r"}}}),
    ),
    "another number of classes": Wrong(
        "wrong_classes", "rows have 3 logits, the model has 10 classes", request(LOGITS, model_name="digits")
    ),
    "more rows than can be queued": Wrong(
        "too_many_rows", "9000 rows came in one request", request(("logits", "FP32", np.zeros((9000, 1))))
    ),
    # mask and temperature
    "a mask of numbers": Wrong("bad_datatype", "mask is FP32", request(LOGITS, ("mask", "FP32", ROWS))),
    "a mask of other bytes": Wrong(
        "bad_mask", "the byte 2", asks(TENSOR, {"name": "mask", "datatype": "BOOL", "shape": [3]}, raw=[RAW, b"\1\0\2"])
    ),
    "a mask of another shape": Wrong(
        "wrong_shape", "mask has the shape [2]", request(LOGITS, ("mask", "BOOL", [True] * 2))
    ),
    "a temperature of 0": Wrong(
        "bad_temperature", "temperature[1] is 0", request(LOGITS, ("temperature", "FP32", [1, 0]))
    ),
    "temperatures for other rows": Wrong(
        "wrong_shape", "for 2 rows", request(LOGITS, ("temperature", "FP32", [1] * 3))
    ),
    "a temperature of another type": Wrong(
        "bad_datatype", "temperature is INT32", request(LOGITS, ("temperature", "INT32", [1]))
    ),
    "two temperatures": Wrong(
        "invalid_value",
        "as an input and as a parameter",
        request(LOGITS, ("temperature", "FP32", [1]), parameters={"temperature": {"double_param": 1}}),
    ),
    "a parameter that is no temperature": Wrong(
        "bad_temperature", "a finite number", says(temperature={"string_param": "warm"})
    ),
    "a parameter temperature that is a boolean": Wrong(
        "bad_temperature", "a boolean", says(temperature={"bool_param": True})
    ),
    "a parameter temperature below zero": Wrong("bad_temperature", "is -2", says(temperature={"int64_param": -2})),
    "a timeout that is none": Wrong("invalid_value", "microseconds", says(timeout={"string_param": "soon"})),
    "a group where there are none": Wrong("no_groups", "one temperature for all", says(group={"string_param": "a"})),
    "a group that is no string": Wrong("wrong_request", "group is a number", says(group={"int64_param": 1})),
    "a misspelt parameter": Wrong(
        "unknown_parameter", "the parameter temprature of the request", says(temprature={"double_param": 2})
    ),
    "an unknown parameter of an output": Wrong(
        "unknown_parameter", "classify of probabilities", wants("probabilities", classify={"int64_param": 1})
    ),
    "an alpha of a head without sets": Wrong("no_conformal", "not fitted", says(alpha={"double_param": 0.1})),
    # outputs
    "an unknown output": Wrong("unknown_output", "there is no output softmax", wants("softmax")),
    "an output twice": Wrong(
        "duplicate_key", "is repeated; it may appear once", request(LOGITS, outputs=["entropy", "entropy"])
    ),
    "classification of entropy": Wrong(
        "bad_classification", "no classes", wants("entropy", classification={"int64_param": 1})
    ),
    "classification no number": Wrong(
        "bad_classification", "not a number of classes", wants("probabilities", classification={"string_param": "2"})
    ),
    "an output in shared memory": Wrong(
        "no_shared_memory", "shared memory", wants("entropy", shared_memory_region={"string_param": "r"})
    ),
}


@pytest.fixture(scope="module")
def caller() -> Iterator[Caller]:
    """The shipped models."""
    with calling() as found:
        yield found


def refused(caller: Caller, body: bytes, method: str = "ModelInfer", **options: Any) -> Any:
    """The error that bytes get."""
    with pytest.raises(grpc.RpcError) as raised:
        caller.channel.unary_unary(f"/{INFERENCE}/{method}")(body, timeout=30, **options)
    return raised.value


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_with_its_status(caller: Caller, wrong: Wrong, caplog: pytest.LogCaptureFixture) -> None:
    body = wrong.message if isinstance(wrong.message, bytes) else wrong.message.SerializeToString()
    error = refused(caller, body)
    assert wrong.sentence in error.details()
    assert error.code() == wrong.status
    trailing = dict(error.trailing_metadata())
    assert trailing["error-code"] == wrong.code
    assert trailing["x-request-id"]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_message_beyond_the_bound_is_refused_packed_or_not(caplog: pytest.LogCaptureFixture) -> None:
    message = request(("logits", "FP32", np.zeros((1, 300_000)))).SerializeToString()
    with calling(max_body_bytes=1_000_000) as caller:
        for coding in grpc.Compression:
            error = refused(caller, message, compression=coding)
            assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "larger than max" in error.details()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_method_that_is_not_there_is_unimplemented(caller: Caller) -> None:
    assert refused(caller, b"", "SystemSharedMemoryStatus").code() == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("method", ["ModelMetadata", "ModelConfig", "ModelStatistics"])
@pytest.mark.parametrize(("name", "version"), [("nobody", ""), ("softmax", "7")])
def test_an_unknown_model_or_version_is_not_found(caller: Caller, method: str, name: str, version: str) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        caller.call(method, name=name, version=version)
    assert raised.value.code() == UNKNOWN
    assert "there is no model" in raised.value.details() or "no such version" in raised.value.details()


def test_an_operation_s_message_that_is_none_is_refused(caller: Caller) -> None:
    error = refused(caller, b"\xff", "ModelMetadata")
    assert error.code() == INVALID
    assert "inference.ModelMetadataRequest" in error.details()
