"""The header section of an answer on the wire, as uvicorn would write it."""

from typing import Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from service.transports.response import Response

SECTION: Final = b"%s%scontent-type: %s\r\ncontent-length: %d\r\nx-request-id: %s\r\nserver-timing: %s\r\n%s\r\n"


def write_headers(response: Response, dated: bytes, request_id: bytes, keep_alive: bool) -> bytes:
    """Status line and headers, in the order in which uvicorn has them."""
    extra = b"" if keep_alive else b"connection: close\r\n"
    if response.headers:
        extra = b"".join(b"%s: %s\r\n" % header for header in response.headers) + extra
    return SECTION % (
        STATUS_LINE[response.status],
        dated,
        response.content_type,
        len(response.body),
        request_id,
        response.timing,
        extra,
    )
