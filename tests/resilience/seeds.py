"""Bytes that are right, for every reader of what a client sends."""

import json
from typing import Final

from service.api import examples
from tests.rpc.calls import request as message
from tests.transports.infer import binary, tensor


def request(path: str, body: bytes, *headers: str) -> bytes:
    """A whole request on the wire."""
    lines = [f"POST {path} HTTP/1.1", "host: x", *headers, f"content-length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def documents(given: dict[str, examples.Example]) -> tuple[bytes, ...]:
    """The examples of the OpenAPI page."""
    return tuple(json.dumps(example.value).encode() for example in given.values())


INFERS: Final = (
    {"inputs": [tensor("logits", "FP32", [1, 3], data=[3.25, 1.5, 0.75])]},
    {
        "id": "a",
        "inputs": [
            tensor("logits", "FP64", [2, 3], data=[[1, 2, 3], [4, 5, 6.5]]),
            tensor("mask", "BOOL", [2, 3], data=[[True, False, True]] * 2),
            tensor("temperature", "FP32", [2], data=[1.5, 2]),
        ],
        "outputs": [{"name": "probabilities", "parameters": {"classification": 2}}, {"name": "entropy"}],
        "parameters": {"timeout": 1000, "binary_data_output": True},
    },
    {"inputs": [tensor("text", "BYTES", [1, 1], data=["a"]), tensor("age", "FP32", [1, 1], data=[4])]},
)
FRAMED: Final = json.dumps({"inputs": [binary("logits", "FP16", [2, 3], 12)]}).encode()
LABELS: Final = (
    b'{"labels":[{"id":"a","row":1,"label":2,"at":1700000000.5},{"id":"b","label":"cat","replace":true}]}',
    b'{"id":"a","label":2}\n{"id":"b","row":3,"label":"dog"}\n',
)
HEADERS: Final = (
    b"/v1/predict\r\ncontent-type: application/json\r\ncontent-length: 12\r\nauthorization: Bearer first",
    b"/v2/models/a%20b/versions/1/infer\r\nx-request-id: abc\r\nauthorization: bearer second-key \r\n"
    b"content-encoding: gzip",
    b"/v1/models/digits/evaluate\r\ncontent-type: application/json; charset=utf-8\r\nx-request-id: \xff",
)
ROWS: Final = ("logits", "FP32", [[3.25, 1.5, 0.75], [1, 2, 3]])
MASK: Final = ("mask", "BOOL", [[True, False, True]] * 2)
MESSAGES: Final = tuple(
    one.SerializeToString()
    for one in (
        message(ROWS, MASK, id="a", parameters={"temperature": {"double_param": 2.0}}),
        message(ROWS, MASK, typed=True, outputs=["entropy", "probabilities"]),
        message(("text", "BYTES", [[b"a"]]), ("age", "FP32", [[4]]), typed=True),
    )
)
WIRE: Final = (
    *(request("/v1/predict", body) for body in documents(examples.PREDICT)[:4]),
    request("/v1/models/digits/evaluate", b'{"logits":[1,2,3,4,5,6,7,8,9,10],"labels":3}'),
    request("/v2/models/softmax/infer", FRAMED + bytes(12), f"inference-header-content-length: {len(FRAMED)}"),
    *(request("/v2/models/softmax/infer", json.dumps(one).encode()) for one in INFERS[:2]),
    b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    b'10\r\n{"logits":[1,2]}\r\n0\r\nx: y\r\n\r\n',
    *(
        b"GET %s HTTP/1.1\r\nhost: x\r\n\r\n" % path
        for path in (
            b"/healthz",
            b"/v1/models",
            b"/v2/models/softmax",
            b"/v1/models/digits/versions/1/report",
            b"/metrics",
        )
    ),
)
