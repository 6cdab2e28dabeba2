"""What every face has in common: the answer, and the gate that looks at the headers before the body is read."""

import hmac
import itertools
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from service.codec.encode import encode_error
from service.errors import AnsweredError, BodyTooLarge, InvalidValue, Unauthorized, UnsupportedMediaType

Headers = Iterable[tuple[bytes, bytes]]

JSON: Final = b"application/json"
# curl -d says form-urlencoded unless it is told otherwise; no form is ever expected here
JSON_TYPES: Final = frozenset({JSON, b"application/x-www-form-urlencoded"})
GOOD_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}").fullmatch
ID_PREFIX: Final = secrets.token_hex(6).encode()
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

    def check(self, headers: Headers) -> tuple[bytes, AnsweredError | None]:
        """The request's id, the client's where that is a good one, and what is wrong with it, if anything is."""
        request_id = key = None
        error: AnsweredError | None = None
        for name, value in headers:
            if name == b"content-type":
                if value not in JSON_TYPES:
                    error = error or wrong_type(value)
            elif name == b"content-length":
                if not value.isdigit() or len(value) > 18 or int(value) > self.max_body_bytes:
                    error = error or self.wrong_length(value)
            elif name == b"x-request-id":
                request_id = value
            elif name == b"authorization":
                key = value
            elif name == b"content-encoding" and value.lower() != b"identity":
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


def wrong_type(value: bytes) -> AnsweredError | None:
    """The error for a `Content-Type`, if it is one."""
    media_type = value.partition(b";")[0].strip().lower()
    if media_type in JSON_TYPES or media_type.endswith(b"+json"):
        return None
    return UnsupportedMediaType("the body is of another media type; application/json was expected")
