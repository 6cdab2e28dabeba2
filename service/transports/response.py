"""What goes back, whichever transport carries it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from service.codec.errors import encode_error
from service.errors import AnsweredError
from service.transports.endpoints import JSON, OCTETS


@dataclass(slots=True)
class Response:
    """An answer or an error as bytes; a transport adds the length, the request id and whatever it must."""

    status: int
    body: bytes
    timing: bytes = b"decode;dur=0"
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()
    request: Any = None  # the exchange that it ends, for the access log


Reply = Callable[[Response], None]


def answer_response(body: bytes, n_header: int | None, timing: bytes) -> Response:
    """The response that an encoded answer is; `n_header` bytes of JSON stand before binary data, if there are any."""
    if n_header is None:
        return Response(200, body, timing)
    length = (b"inference-header-content-length", b"%d" % n_header)
    return Response(200, body, timing, OCTETS, (length,))


def error_response(error: AnsweredError, timing: bytes = b"decode;dur=0") -> Response:
    """The response that an error is."""
    headers = tuple((name.encode(), value.encode()) for name, value in error.headers.items())
    return Response(error.status, encode_error(error), timing, headers=headers)


def server_timing(decode_s: float, queue_s: float, run_s: float, encode_s: float) -> bytes:
    """The value of `Server-Timing`, durations in milliseconds."""
    return b"decode;dur=%.3f, queue;dur=%.3f, run;dur=%.3f, encode;dur=%.3f" % (
        1e3 * decode_s,
        1e3 * queue_s,
        1e3 * run_s,
        1e3 * encode_s,
    )
