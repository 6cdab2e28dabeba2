"""Protocol requests that are wrong: each gets its documented status and a string, and none is logged as an error."""

import gzip
import json
import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.api.bodies import refused
from tests.conftest import Running, serving
from tests.transports.infer import OCTETS, PATH, binary, tensor, wanted

DATA = np.zeros((2, 3), np.float32).tobytes()
LOGITS = tensor("logits", "FP32", [2, 3], data=[0, 1, 2, 3, 4, 5])
BINARY = binary("logits", "FP32", [2, 3], 24)


class Wrong(NamedTuple):
    """A request and what it gets; `length` is its Inference-Header-Content-Length, true unless given."""

    status: int
    code: str
    sentence: str
    header: Any
    data: bytes = b""
    length: str | None = None
    headers: Mapping[str, str] = MappingProxyType({})
    path: str = PATH


def asks(*inputs: Any, **more: Any) -> dict[str, Any]:
    """A request object."""
    return {"inputs": list(inputs), **more}


WRONG = {
    # the framing
    "an empty body": Wrong(400, "not_json", "is empty", b""),
    "no JSON": Wrong(400, "not_json", "is not JSON", b"{"),
    "NaN in JSON": Wrong(400, "not_json", "is not JSON", b'{"inputs":[NaN]}'),
    "not UTF-8": Wrong(400, "not_json", "is not JSON", b'{"id":"\xff"}'),
    "header length garbage": Wrong(400, "bad_header_length", "is not a number of bytes", asks(BINARY), DATA, "many"),
    "header length negative": Wrong(400, "bad_header_length", "is not a number of bytes", asks(BINARY), DATA, "-1"),
    "header length empty": Wrong(400, "bad_header_length", "is not a number of bytes", asks(BINARY), DATA, ""),
    "header length too long": Wrong(
        400, "bad_header_length", "100000 bytes; the body has", asks(BINARY), DATA, "100000"
    ),
    "header length huge": Wrong(400, "bad_header_length", "the body has", asks(BINARY), DATA, "9" * 400),
    "header length short": Wrong(400, "not_json", "is not JSON", asks(BINARY), DATA, "10"),
    "header length equal to the body": Wrong(400, "not_json", "is not JSON", asks(BINARY), DATA, "whole"),
    "header length 0 and a body of no whole floats": Wrong(400, "bad_binary_size", "raw FP32", b"", b"12345", "0"),
    "binary data without a header length": Wrong(400, "bad_binary_size", "0 bytes of binary data", asks(BINARY)),
    "too few binary data": Wrong(
        400, "bad_binary_size", "20 bytes of binary data came behind the header; expected 24", asks(BINARY), DATA[4:]
    ),
    "too many binary data": Wrong(400, "bad_binary_size", "25 bytes", asks(BINARY), DATA + b"!"),
    "gzip that is none": Wrong(400, "bad_encoding", "is not gzip", asks(LOGITS), headers={"content-encoding": "gzip"}),
    "deflate that is none": Wrong(
        400, "bad_encoding", "is not deflate", asks(LOGITS), headers={"content-encoding": "deflate"}
    ),
    "another coding": Wrong(
        415, "unsupported_media_type", "gzip or deflate", asks(LOGITS), headers={"content-encoding": "br"}
    ),
    "another media type": Wrong(
        415, "unsupported_media_type", "octet-stream", asks(LOGITS), headers={"content-type": "text/csv"}
    ),
    # the request
    "a list": Wrong(422, "wrong_request", "is a list; expected an object", []),
    "no inputs": Wrong(422, "wrong_request", "inputs is missing", {}),
    "inputs no list": Wrong(422, "wrong_request", "inputs is an object", {"inputs": LOGITS}),
    "no input in the list": Wrong(422, "missing_logits", "expected that input", asks()),
    "an input that is none": Wrong(422, "wrong_request", "inputs[0] is a number", asks(1)),
    "an input without a name": Wrong(422, "wrong_request", "the name of inputs[0] is missing", asks({})),
    "an input twice": Wrong(422, "duplicate_key", "is repeated; it may appear once", asks(LOGITS, LOGITS)),
    "an unknown input": Wrong(
        422, "unknown_input", "there is no input scores", asks(LOGITS, {**LOGITS, "name": "scores"})
    ),
    "id a number": Wrong(422, "wrong_request", "id is a number", asks(LOGITS, id=5)),
    "id too long": Wrong(422, "invalid_value", "id has 300 characters", asks(LOGITS, id="x" * 300)),
    "parameters a list": Wrong(
        422, "wrong_request", "parameters of the request is a list", asks(LOGITS, parameters=[])
    ),
    # a tensor
    "no datatype": Wrong(
        422, "wrong_request", "the datatype of logits is missing", asks({"name": "logits", "shape": [1]})
    ),
    "an unknown datatype": Wrong(422, "bad_datatype", "FP128", asks({**LOGITS, "datatype": "FP128"})),
    "a datatype that is no float": Wrong(422, "bad_datatype", "logits is INT64", asks({**LOGITS, "datatype": "INT64"})),
    "BYTES for logits": Wrong(
        422, "bad_datatype", "logits is BYTES", asks(binary("logits", "BYTES", [1], 8)), b"\4\0\0\0abcd"
    ),
    "FP16 in JSON": Wrong(422, "invalid_value", "which has no JSON form", asks({**LOGITS, "datatype": "FP16"})),
    "BF16 in JSON": Wrong(422, "invalid_value", "which has no JSON form", asks({**LOGITS, "datatype": "BF16"})),
    "no shape": Wrong(
        422, "wrong_request", "the shape of logits is missing", asks({"name": "logits", "datatype": "FP32"})
    ),
    "an axis below zero": Wrong(422, "wrong_shape", "the shape of logits", asks({**LOGITS, "shape": [-1, 3]})),
    "an axis that is no integer": Wrong(422, "wrong_shape", "the shape of logits", asks({**LOGITS, "shape": [2.0, 3]})),
    "a huge axis": Wrong(422, "wrong_shape", "the shape of logits", asks({**LOGITS, "shape": [2**63, 3]})),
    "huge axes and no row": Wrong(
        422, "wrong_shape", "larger than any memory", asks({**LOGITS, "shape": [0, *[2**31 - 1] * 5]})
    ),
    "no axis": Wrong(422, "wrong_shape", "the shape of logits", asks({**LOGITS, "shape": []})),
    "no class": Wrong(422, "wrong_shape", "at least one class", asks(tensor("logits", "FP32", [2, 0], data=[]))),
    "three axes": Wrong(422, "wrong_shape", "[K] or [N, K]", asks({**LOGITS, "shape": [1, 2, 3]})),
    "too few values": Wrong(422, "wrong_shape", "5 values; expected 6", asks({**LOGITS, "data": [0] * 5})),
    "no data": Wrong(422, "wrong_shape", "has no data", asks({**LOGITS, "data": None})),
    "data a string": Wrong(422, "wrong_shape", "a string", asks({**LOGITS, "data": "0,1,2,3,4,5"})),
    "a string among the data": Wrong(422, "bad_logit", "a string", asks({**LOGITS, "data": [0, 1, "2", 3, 4, 5]})),
    "ragged data": Wrong(422, "ragged_rows", "has 2 values", asks({**LOGITS, "data": [[0, 1, 2], [3, 4]]})),
    "data nested otherwise": Wrong(
        422, "wrong_shape", "nested as [3, 2]", asks({**LOGITS, "data": [[0, 1], [2, 3], [4, 5]]})
    ),
    "data deeper than flat": Wrong(422, "bad_logit", "a list", asks({**LOGITS, "data": [0, 1, 2, 3, 4, [5]]})),
    "data and binary data": Wrong(
        422, "invalid_value", "both data and binary", asks({**LOGITS, "parameters": {"binary_data_size": 24}})
    ),
    "a binary size that is no number": Wrong(
        422, "bad_binary_size", "is not a number of bytes", asks(binary("logits", "FP32", [2, 3], "24")), DATA
    ),
    "a binary size below zero": Wrong(
        422, "bad_binary_size", "is not a number of bytes", asks(binary("logits", "FP32", [2, 3], -24)), DATA
    ),
    **{
        f"a binary temperature of {value} in {datatype}": Wrong(
            422,
            "bad_temperature",
            f"temperature[0] is {value}; expected a finite number above 0",
            asks(LOGITS, binary("temperature", datatype, [1], np.dtype(dtype).itemsize)),
            np.array([value], dtype).tobytes(),
        )
        for datatype, dtype in (("FP32", np.float32), ("FP64", np.float64))
        for value in ("0", "-1", "nan", "inf", "-inf")
    },
    "a binary size that does not fit": Wrong(
        422,
        "bad_binary_size",
        "20 bytes; FP32 of the shape [2, 3] has 24",
        asks(binary("logits", "FP32", [2, 3], 20)),
        DATA[4:],
    ),
    "shared memory": Wrong(
        422, "no_shared_memory", "shared memory", asks({**LOGITS, "parameters": {"shared_memory_region": "r"}})
    ),
    "a NaN": Wrong(422, "bad_logit", "logits[1][2] is not a number", asks(BINARY), DATA[4:] + b"\0\0\xc0\x7f"),
    # mask and temperature
    "a mask of numbers": Wrong(422, "bad_datatype", "mask is FP32", asks(LOGITS, {**LOGITS, "name": "mask"})),
    "a mask of 0 and 1 in JSON": Wrong(
        422, "bad_mask", "true or false", asks(LOGITS, tensor("mask", "BOOL", [3], data=[1, 0, 1]))
    ),
    "a mask of other bytes": Wrong(
        422, "bad_mask", "the byte 2", asks(LOGITS, binary("mask", "BOOL", [3], 3)), b"\1\0\2"
    ),
    "a mask of another shape": Wrong(
        422, "wrong_shape", "mask has the shape [2]", asks(LOGITS, tensor("mask", "BOOL", [2], data=[True, True]))
    ),
    "a temperature of 0": Wrong(
        422, "bad_temperature", "temperature[1] is 0", asks(LOGITS, tensor("temperature", "FP32", [2], data=[1, 0]))
    ),
    "temperatures for other rows": Wrong(
        422, "wrong_shape", "for 2 rows", asks(LOGITS, tensor("temperature", "FP32", [3], data=[1, 1, 1]))
    ),
    "a temperature of another type": Wrong(
        422, "bad_datatype", "temperature is INT32", asks(LOGITS, tensor("temperature", "INT32", [1], data=[1]))
    ),
    "a temperature beyond float32": Wrong(
        422, "bad_temperature", "inf", asks(LOGITS, tensor("temperature", "FP32", [1], data=[1e300]))
    ),
    "two temperatures": Wrong(
        422,
        "invalid_value",
        "as an input and as a parameter",
        asks(LOGITS, tensor("temperature", "FP32", [1], data=[1]), parameters={"temperature": 1}),
    ),
    "a parameter that is no temperature": Wrong(
        422, "bad_temperature", "a finite number", asks(LOGITS, parameters={"temperature": "warm"})
    ),
    "a parameter temperature that is a boolean": Wrong(
        422, "bad_temperature", "a boolean", asks(LOGITS, parameters={"temperature": True})
    ),
    "a timeout that is none": Wrong(422, "invalid_value", "microseconds", asks(LOGITS, parameters={"timeout": "soon"})),
    "a group where there are none": Wrong(
        422, "no_groups", "one temperature for all", asks(LOGITS, parameters={"group": "a"})
    ),
    "a group that is no string": Wrong(
        422, "wrong_request", "the parameter group is a number", asks(LOGITS, parameters={"group": 1})
    ),
    "a misspelt parameter": Wrong(
        422,
        "unknown_parameter",
        "the parameter temprature of the request is unknown; temperature, group",
        asks(LOGITS, parameters={"temprature": 2}),
    ),
    "an unknown parameter of an input": Wrong(
        422,
        "unknown_parameter",
        "the parameter scale of logits is unknown; binary_data_size",
        asks({**LOGITS, "parameters": {"scale": 2}}),
    ),
    "an unknown parameter of an output": Wrong(
        422,
        "unknown_parameter",
        "the parameter classify of probabilities is unknown; binary_data, classification",
        asks(LOGITS, outputs=wanted("probabilities", classify=2)),
    ),
    "an alpha beyond 1": Wrong(422, "invalid_value", "above 0 and below 1", asks(LOGITS, parameters={"alpha": 1.0})),
    "an alpha that is a boolean": Wrong(422, "invalid_value", "alpha", asks(LOGITS, parameters={"alpha": True})),
    "an alpha of a head without sets": Wrong(
        422, "no_conformal", "not fitted", asks(LOGITS, parameters={"alpha": 0.1})
    ),
    "a top_k of 0": Wrong(422, "invalid_value", "1 or more", asks(LOGITS, parameters={"top_k": 0})),
    "a top_k that is not whole": Wrong(422, "invalid_value", "1 or more", asks(LOGITS, parameters={"top_k": "1.5"})),
    # outputs
    "an unknown output": Wrong(
        422, "unknown_output", "there is no output softmax", asks(LOGITS, outputs=wanted("softmax"))
    ),
    "an output twice": Wrong(
        422, "duplicate_key", "is repeated; it may appear once", asks(LOGITS, outputs=wanted("entropy", "entropy"))
    ),
    "binary_data no boolean": Wrong(
        422,
        "wrong_request",
        "binary_data of entropy is a number",
        asks(LOGITS, outputs=wanted("entropy", binary_data=1)),
    ),
    "classification of entropy": Wrong(
        422, "bad_classification", "no classes", asks(LOGITS, outputs=wanted("entropy", classification=1))
    ),
    "classification no number": Wrong(
        422,
        "bad_classification",
        "not a number of classes",
        asks(LOGITS, outputs=wanted("probabilities", classification="2")),
    ),
    # where to
    "an unknown model": Wrong(
        404, "unknown_model", "no model of that name", asks(LOGITS), path="/v2/models/nobody/infer"
    ),
    "an unknown version": Wrong(
        404, "unknown_version", "no such version", asks(LOGITS), path="/v2/models/softmax/versions/9/infer"
    ),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_with_its_status(running: Running, wrong: Wrong) -> None:
    head = wrong.header if isinstance(wrong.header, bytes) else json.dumps(wrong.header).encode()
    body = head + wrong.data
    headers = {"content-type": OCTETS if wrong.data else "application/json", **wrong.headers}
    if wrong.data or wrong.length is not None:
        length = str(len(head)) if wrong.length is None else wrong.length
        headers["inference-header-content-length"] = str(len(body)) if length == "whole" else length
    response = running.client.post(wrong.path, content=body, headers=headers)
    said = refused(response, wrong.status, wrong.code, wrong.sentence)
    assert isinstance(said["error"], str)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_body_that_unpacks_beyond_the_bound_is_refused(coding: str) -> None:
    pack = gzip.compress if coding == "gzip" else zlib.compress
    with serving(max_body_bytes=10_000) as running:
        packed = pack(b" " * 10_001)
        assert len(packed) < 200
        response = running.client.post(PATH, content=packed, headers={"content-encoding": coding})
        refused(response, 413, "body_too_large", "unpacks to more than 10000 bytes")
        fits = pack(json.dumps(asks(LOGITS)).encode().ljust(10_000))
        assert running.client.post(PATH, content=fits, headers={"content-encoding": coding}).status_code == 200


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_packed_body_that_breaks_off_is_refused(running: Running, coding: str) -> None:
    packed = (gzip.compress if coding == "gzip" else zlib.compress)(json.dumps(asks(LOGITS)).encode())[:-6]
    response = running.client.post(PATH, content=packed, headers={"content-encoding": coding})
    refused(response, 400, "bad_encoding", "breaks off")


def test_only_post_infers(running: Running) -> None:
    response = running.client.get(PATH)
    refused(response, 405, "method_not_allowed", "POST does")
    assert response.headers["allow"] == "POST"
