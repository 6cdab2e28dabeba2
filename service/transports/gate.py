"""The gate: the checks that need no body, on every transport, and the id of a request."""

import re
import secrets
from typing import Final

from service.errors import (
    AnsweredError,
    BodyTooLarge,
    Forbidden,
    InvalidValue,
    Unauthorized,
    UnsupportedMediaType,
)
from service.transports.endpoints import FORM, Endpoint, Headers
from service.transports.keys import Key, Keys
from service.transports.scopes import PREDICT_SCOPE

WRONG_KEY: Final = "the key is missing or wrong; expected `Authorization: Bearer KEY`"
GOOD_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}").fullmatch


class RequestIds:
    """Request ids that no other process and no other request has. Use it from one event loop."""

    def __init__(self) -> None:
        self.prefix = secrets.token_hex(6).encode()
        self.n = 0

    def new(self) -> bytes:
        """One more."""
        self.n += 1
        return b"%s-%x" % (self.prefix, self.n)


REQUEST_IDS: Final = RequestIds()


class Gate:
    """The checks that need no body: key, size, media type."""

    __slots__ = ("keys", "max_body_bytes")

    def __init__(self, keys: Keys, max_body_bytes: int) -> None:
        self.keys = keys
        self.max_body_bytes = max_body_bytes

    def check(
        self, headers: Headers, endpoint: Endpoint, scope: str | None
    ) -> tuple[bytes, Key | None, AnsweredError | None]:
        """The request's id, the client's where that is a good one, its key, and what is wrong with it, if anything.

        `scope` is what a key needs for its path; none is a path that needs no key.
        """
        request_id = authorization = key = None
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
                authorization = value
            elif name == b"content-encoding" and not endpoint.framed and value.lower() != b"identity":
                error = error or UnsupportedMediaType("the body is compressed; expected plain JSON")
        if scope is not None and self.keys.guarded:
            key = self.keys.find(authorization)
            error = key_error(key, scope) or error
        return request_id if request_id is not None and GOOD_ID(request_id) else REQUEST_IDS.new(), key, error

    def length_error(self, value: bytes) -> AnsweredError:
        """The error for a `Content-Length`."""
        return self.too_large() if value.isdigit() else InvalidValue("the Content-Length is not a number of bytes")

    def too_large(self) -> BodyTooLarge:
        """The error for a body that is larger than it may be."""
        return BodyTooLarge(
            f"the body is larger than {self.max_body_bytes} bytes, the most that is read (--max-body-bytes)"
        )


def key_error(key: Key | None, scope: str) -> AnsweredError | None:
    """The error for no key that is accepted, for one without the scope, or for one that asks for too many rows."""
    if key is None or key.revoked:
        return Unauthorized(WRONG_KEY)
    if scope not in key.scopes:
        scopes = ", ".join(sorted(key.scopes))
        return Forbidden(f"the key {key.name} is for {scopes}; expected one with the scope {scope}")
    return key.rate.error() if key.rate is not None and scope == PREDICT_SCOPE else None


def check_revoked(key: Key | None) -> None:
    """Pass a key that was accepted with its headers once the body is there, too: who sends slowly keeps no key alive.

    Raises:
        Unauthorized: it was revoked meanwhile.
    """
    if key is not None and key.revoked:
        raise Unauthorized(WRONG_KEY)


def media_type_error(value: bytes, endpoint: Endpoint) -> AnsweredError | None:
    """The error for a `Content-Type`, if it is one."""
    media_type = value.partition(b";")[0].strip().lower()
    if media_type in endpoint.media_types or media_type.endswith(b"+json"):
        return None
    expected = " or ".join(sorted(name.decode() for name in endpoint.media_types - {FORM}))
    return UnsupportedMediaType(f"the media type of the body is not supported; expected {expected}")
