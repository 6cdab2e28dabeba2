"""What every face has in common: the answer, and the gate that looks at the headers before the body is read."""

import hmac
import itertools
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from service.codec.errors import encode_error
from service.codec.query import Query, Served
from service.errors import AnsweredError, BodyTooLarge, InvalidValue, Unauthorized, UnsupportedMediaType
from service.repository import Model

Headers = Iterable[tuple[bytes, bytes]]

JSON: Final = b"application/json"
OCTETS: Final = b"application/octet-stream"
# curl -d says form-urlencoded unless it is told otherwise; no form is ever expected here
FORM: Final = b"application/x-www-form-urlencoded"
JSON_TYPES: Final = frozenset({JSON, FORM})
GOOD_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}").fullmatch
ID_PREFIX: Final = secrets.token_hex(6).encode()
OF_ONE_REQUEST: Final = frozenset({b"x-request-id", b"traceparent"})
MAX_REMEMBERED: Final = 1024  # bytes of a head
N_REMEMBERED: Final = 1024  # heads
COUNTER: Final = itertools.count(1)


@dataclass(slots=True)
class Answer:
    """What goes back, whichever way: a transport adds the length, the request id and whatever it must."""

    status: int
    body: bytes
    timing: bytes = b"decode;dur=0"
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


Reply = Callable[[Answer], None]


class Framing(NamedTuple):
    """What the headers say of the bytes of a body and of the answer's, as they came; none where none came."""

    header_length: bytes | None = None
    encoding: bytes | None = None
    accepted: bytes | None = None


class Face(NamedTuple):
    """One way to ask for a prediction.

    Attributes:
        verb: what a request does, for a sentence.
        media_types: what a body may be; one without a media type is taken, too.
        framed: its framing counts: the body may be compressed, and may be binary behind a header.
    """

    verb: str
    media_types: frozenset[bytes]
    framed: bool
    decode: Callable[[bytes, Framing, Served], Query]
    encode: Callable[[Any, Any, Model], Answer]


class Target(NamedTuple):
    """Whom a path means, and how it is asked; no model is the default one, no version the highest."""

    face: Face
    model: str | None
    version: str | None


class Passed(NamedTuple):
    """A head that has passed the gate, and the length of the body behind it."""

    to: Target
    url: bytes
    headers: list[tuple[bytes, bytes]]
    n_bytes: int


def refusal(error: AnsweredError, timing: bytes = b"decode;dur=0") -> Answer:
    """The answer that an error is."""
    headers = tuple((name.encode(), value.encode()) for name, value in error.headers.items())
    return Answer(error.status, encode_error(error), timing, headers=headers)


def new_request_id() -> bytes:
    """A request id that no other process and no other request has."""
    return b"%s-%x" % (ID_PREFIX, next(COUNTER))


@dataclass(slots=True)
class Gate:
    """The checks that need no body: key, size, media type."""

    keys: tuple[bytes, ...]
    max_body_bytes: int
    passed: dict[bytes, Passed] = field(default_factory=dict)  # by the bytes of the head

    def remember(self, above: bytes, passed: Passed) -> None:
        """Keep a head that will come again; one with an id or a trace of its own will not."""
        if len(above) <= MAX_REMEMBERED and OF_ONE_REQUEST.isdisjoint(dict(passed.headers)):
            if len(self.passed) == N_REMEMBERED:
                self.passed.clear()
            self.passed[above] = passed

    def check(self, headers: Headers, face: Face) -> tuple[bytes, AnsweredError | None]:
        """The request's id, the client's where that is a good one, and what is wrong with it, if anything is."""
        request_id = key = None
        error: AnsweredError | None = None
        for name, value in headers:
            if name == b"content-type":
                if value not in face.media_types:
                    error = error or wrong_type(value, face)
            elif name == b"content-length":
                if not value.isdigit() or len(value) > 18 or int(value) > self.max_body_bytes:
                    error = error or self.wrong_length(value)
            elif name == b"x-request-id":
                request_id = value
            elif name == b"authorization":
                key = value
            elif name == b"content-encoding" and not face.framed and value.lower() != b"identity":
                error = error or UnsupportedMediaType("the body is compressed; plain JSON was expected")
        if self.keys and not self.known(key):
            error = Unauthorized("the key is missing or wrong; `Authorization: Bearer KEY` was expected")
        return request_id if request_id is not None and GOOD_ID(request_id) else new_request_id(), error

    def wrong_length(self, value: bytes) -> AnsweredError:
        """The error for a `Content-Length`."""
        return self.too_large() if value.isdigit() else InvalidValue("the Content-Length is no number of bytes")

    def too_large(self) -> BodyTooLarge:
        """The error for a body that is larger than it may be."""
        return BodyTooLarge(f"the body is larger than {self.max_body_bytes} bytes, the most that is read")

    def known(self, authorization: bytes | None) -> bool:
        """Whether the header carries one of the keys; takes the same time wherever they differ."""
        if authorization is None or authorization[:7].lower() != b"bearer ":
            return False
        given = authorization[7:].strip()
        return sum(hmac.compare_digest(given, key) for key in self.keys) > 0


def wrong_type(value: bytes, face: Face) -> AnsweredError | None:
    """The error for a `Content-Type`, if it is one."""
    media_type = value.partition(b";")[0].strip().lower()
    if media_type in face.media_types or media_type.endswith(b"+json"):
        return None
    expected = " or ".join(sorted(kind.decode() for kind in face.media_types - {FORM}))
    return UnsupportedMediaType(f"the body is of another media type; {expected} was expected")
