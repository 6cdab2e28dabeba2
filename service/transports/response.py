"""What goes back, whichever transport carries it."""

from collections.abc import Callable
from typing import Any, Final

from service.codec.errors import encode_error
from service.errors import AnsweredError
from service.transports.endpoints import JSON, OCTETS

TIMING: Final = b"decode;dur=%.3f, queue;dur=%.3f, run;dur=%.3f, encode;dur=%.3f"
WRITTEN: Final = TIMING.replace(b"%.3f", b"%b")
BELOW_1_MS: Final = [b"%.3f" % (us / 1000) for us in range(1000)]  # as most phases are: found sooner than written


class Response:
    """An answer or an error as bytes; a transport adds the length, the request id and whatever it must.

    Attributes:
        timing: the value of `Server-Timing`.
        request: the exchange that it ends, for the access log.
    """

    __slots__ = ("body", "content_type", "headers", "request", "status", "timing")

    def __init__(
        self,
        status: int,
        body: bytes,
        timing: bytes = b"decode;dur=0",
        content_type: bytes = JSON,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        self.status = status
        self.body = body
        self.timing = timing
        self.content_type = content_type
        self.headers = headers
        self.request: Any = None


Reply = Callable[[Response], None]


def answer_response(body: bytes, n_header: int | None, timing: bytes) -> Response:
    """The response that an encoded answer is; `n_header` bytes of JSON stand before binary data, if there are any."""
    if n_header is None:
        return Response(200, body, timing)
    length = (b"inference-header-content-length", b"%d" % n_header)
    return Response(200, body, timing, OCTETS, (length,))


def error_response(error: AnsweredError, timing: bytes = b"decode;dur=0") -> Response:
    """The response that an error is.

    Its traceback goes: the frames in it hold what was read, and who keeps the error is in one of them, which would be a
    cycle that lives until the garbage collector finds it.
    """
    error.__traceback__ = None
    headers = tuple((name.encode(), value.encode()) for name, value in error.headers.items())
    return Response(error.status, encode_error(error), timing, headers=headers)


def server_timing(decode_s: float, queue_s: float, run_s: float, encode_s: float) -> bytes:
    """The value of `Server-Timing`, durations in milliseconds."""
    try:
        return WRITTEN % (
            BELOW_1_MS[int(1e6 * decode_s + 0.5)],
            BELOW_1_MS[int(1e6 * queue_s + 0.5)],
            BELOW_1_MS[int(1e6 * run_s + 0.5)],
            BELOW_1_MS[int(1e6 * encode_s + 0.5)],
        )
    except IndexError:
        return TIMING % (1e3 * decode_s, 1e3 * queue_s, 1e3 * run_s, 1e3 * encode_s)
