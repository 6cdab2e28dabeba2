"""The gate: the checks that need no body, on every transport, and the id of a request."""

import hmac
import itertools
import re
import secrets
from typing import Final

from service.errors import AnsweredError, BodyTooLarge, InvalidValue, Unauthorized, UnsupportedMediaType
from service.transports.endpoints import FORM, Endpoint, Headers

GOOD_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}").fullmatch
ID_PREFIX: Final = secrets.token_hex(6).encode()
COUNTER: Final = itertools.count(1)


def new_request_id() -> bytes:
    """A request id that no other process and no other request has."""
    return b"%s-%x" % (ID_PREFIX, next(COUNTER))


class Gate:
    """The checks that need no body: key, size, media type."""

    __slots__ = ("keys", "max_body_bytes")

    def __init__(self, keys: tuple[bytes, ...], max_body_bytes: int) -> None:
        self.keys = keys
        self.max_body_bytes = max_body_bytes

    def check(self, headers: Headers, endpoint: Endpoint) -> tuple[bytes, AnsweredError | None]:
        """The request's id, the client's where that is a good one, and what is wrong with it, if anything is."""
        request_id = key = None
        error: AnsweredError | None = None
        for name, value in headers:
            if name == b"content-type":
                if value not in endpoint.media_types:
                    error = error or media_type_error(value, endpoint)
            elif name == b"content-length":
                if not value.isdigit() or len(value) > 18 or int(value) > self.max_body_bytes:
                    error = error or self.length_error(value)
            elif name == b"x-request-id":
                request_id = value
            elif name == b"authorization":
                key = value
            elif name == b"content-encoding" and not endpoint.framed and value.lower() != b"identity":
                error = error or UnsupportedMediaType("the body is compressed; expected plain JSON")
        if self.keys and not self.knows(key):
            error = Unauthorized("the key is missing or wrong; expected `Authorization: Bearer KEY`")
        return request_id if request_id is not None and GOOD_ID(request_id) else new_request_id(), error

    def length_error(self, value: bytes) -> AnsweredError:
        """The error for a `Content-Length`."""
        return self.too_large() if value.isdigit() else InvalidValue("the Content-Length is not a number of bytes")

    def too_large(self) -> BodyTooLarge:
        """The error for a body that is larger than it may be."""
        return BodyTooLarge(
            f"the body is larger than {self.max_body_bytes} bytes, the most that is read (--max-body-bytes)"
        )

    def knows(self, authorization: bytes | None) -> bool:
        """Whether the header carries one of the keys; takes the same time wherever they differ."""
        if authorization is None or authorization[:7].lower() != b"bearer ":
            return False
        given = authorization[7:].strip()
        return sum(hmac.compare_digest(given, key) for key in self.keys) > 0


def media_type_error(value: bytes, endpoint: Endpoint) -> AnsweredError | None:
    """The error for a `Content-Type`, if it is one."""
    media_type = value.partition(b";")[0].strip().lower()
    if media_type in endpoint.media_types or media_type.endswith(b"+json"):
        return None
    expected = " or ".join(sorted(name.decode() for name in endpoint.media_types - {FORM}))
    return UnsupportedMediaType(f"the media type of the body is not supported; expected {expected}")
