"""The endpoints that the transports answer themselves, predict, evaluate and infer: paths, and how to read and write.

To read and to write is the codec's: `decode_predict`, `encode_predict` and so on are called from here by no other name.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from service.codec.evaluate.decode import decode_evaluate
from service.codec.evaluate.encode import encode_evaluate
from service.codec.infer.decode import decode_infer
from service.codec.infer.encode import encode_infer
from service.codec.predict.decode import decode_predict
from service.codec.predict.encode import encode_predict
from service.codec.query import Query
from service.engine.signature import Signature
from service.families import Answers

JSON: Final = b"application/json"
OCTETS: Final = b"application/octet-stream"
Headers = Iterable[tuple[bytes, bytes]]

# curl -d says form-urlencoded unless it is told otherwise; no form is ever expected here
FORM: Final = b"application/x-www-form-urlencoded"
JSON_TYPES: Final = frozenset({JSON, FORM})
MAX_REMEMBERED_PATH: Final = 256  # bytes; whoever sends longer ones shall not fill the memory


@dataclass(slots=True)
class Framing:
    """What the headers say of the bytes of a body and of the answer's, as they came; none where none came."""

    header_length: bytes | None = None
    encoding: bytes | None = None
    accepted: bytes | None = None


PLAIN: Final = Framing()


@dataclass(slots=True)
class Endpoint:
    """One way to ask for what a head answers.

    Attributes:
        verb: what a request does, for a sentence.
        media_types: what a body may be; one without a media type is taken, too.
        framed: its framing counts: the body may be compressed, and may be binary behind a header.
        decode: a body, and its `Inference-Header-Content-Length`, to the query that it is; raises a RequestError.
        encode: the query and what the head computed to a body, and how much of that is a JSON header before binary
            data; none where there are no such data.
    """

    verb: str
    media_types: frozenset[bytes]
    framed: bool
    decode: Callable[[Any, bytes | None, Signature], Query]
    encode: Callable[[Any, Answers, Signature], tuple[bytes, int | None]]


@dataclass(slots=True)
class Target:
    """Whom a path means, and how it is asked; no model is the default one, no version the highest."""

    endpoint: Endpoint
    model: str | None
    version: str | None


PREDICT: Final = Endpoint("predict", JSON_TYPES, False, decode_predict, encode_predict)
EVALUATE: Final = Endpoint("evaluate", JSON_TYPES, False, decode_evaluate, encode_evaluate)
INFER: Final = Endpoint("infer", JSON_TYPES | {OCTETS}, True, decode_infer, encode_infer)
PATHS: Final = (
    (re.compile(r"/v1/(?:models/(?P<model>[^/]+)/(?:versions/(?P<version>[^/]+)/)?)?predict"), PREDICT),
    (re.compile(r"/v1/(?:models/(?P<model>[^/]+)/(?:versions/(?P<version>[^/]+)/)?)?evaluate"), EVALUATE),
    (re.compile(r"/v2/models/(?P<model>[^/]+)/(?:versions/(?P<version>[^/]+)/)?infer"), INFER),
)


def find_target(raw_path: bytes) -> Target | None:
    """The target of a percent-encoded path, if it is one of these endpoints'."""
    return remembered_target(raw_path) if len(raw_path) <= MAX_REMEMBERED_PATH else parse_target(raw_path)


def parse_target(raw_path: bytes) -> Target | None:
    path = unquote_to_bytes(raw_path).decode("utf-8", "replace")
    for pattern, endpoint in PATHS:
        if match := pattern.fullmatch(path):
            return Target(endpoint, match["model"], match["version"])
    return None


remembered_target = lru_cache(maxsize=4096)(parse_target)


def read_framing(headers: Headers) -> Framing:
    """What the headers say of the bytes."""
    length = encoding = accept = None
    for name, value in headers:
        if name == b"inference-header-content-length":
            length = value
        elif name == b"accept-encoding":
            accept = value
        elif name == b"content-encoding":
            encoding = value
    return Framing(length, encoding, accept)
