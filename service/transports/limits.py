"""What a client may ask of a connection: bytes, headers, seconds. Knows no transport."""

from typing import Final, NamedTuple

from service.errors import (
    AnsweredError,
    HeadersTooLarge,
    InvalidHost,
    RequestTimeout,
    URLTooLong,
)
from service.settings import Settings

FRAMING: Final = 4  # bytes of a header beside its name and value: colon, blank and line end
SURPLUS_S: Final = 2.0  # for a connection beyond the bound to ask
# what one of those is answered all the same: a process that is busy shall not be ended for it
LIVENESS: Final = frozenset({b"/healthz", b"/v2/health/live"})
WINDOW_S: Final = 5.0  # how often the rate of a body or of an answer is looked at
CLOCK_S: Final = 0.001  # the loop's clock counts milliseconds, and a difference of two of its times is rounded
CHUNKED_COST: Final = 8  # bytes on the wire a byte of a chunked body: one alone takes six


class Limits(NamedTuple):
    """The settings of the same names; 0 is no limit for those that may be 0."""

    max_header_bytes: int
    max_headers: int
    max_url_bytes: int
    header_timeout_s: float
    body_timeout_s: float
    min_bytes_per_s: int
    max_connections: int
    max_connections_per_address: int
    max_requests_per_connection: int

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """Those of the settings."""
        return cls(**{name: getattr(settings, name) for name in cls._fields})

    def check_section(self, url: bytes, headers: list[tuple[bytes, bytes]], version: str) -> int:
        """Pass a header section that came whole; `version` is that of HTTP. The bytes that it announces, 0 for unknown.

        Raises:
            URLTooLong, HeadersTooLarge, InvalidHost: what is wrong with it.
        """
        self.check_url(url)
        if len(headers) > self.max_headers:
            raise self.header_count_error(len(headers))
        n_bytes = n_hosts = n_announced = 0
        for name, value in headers:
            n_bytes += len(name) + len(value) + FRAMING
            if name == b"host":
                n_hosts += 1
            elif name == b"content-length" and value.isdigit():
                n_announced = int(value[:18])
        self.check_header_bytes(n_bytes)
        if n_hosts != 1 and (version == "1.1" or n_hosts):
            raise InvalidHost(f"the request has {n_hosts} Host headers; expected one")
        return n_announced

    def check_url(self, url: bytes) -> None:
        """Pass a URL that came whole, or as far as it came."""
        if len(url) > self.max_url_bytes:
            raise URLTooLong(f"the URL is too long; expected at most {self.max_url_bytes} bytes (--max-url-bytes)")

    def check_header_bytes(self, n_bytes: int) -> None:
        """Pass headers of so many bytes."""
        if n_bytes > self.max_header_bytes:
            raise HeadersTooLarge(
                f"the headers are too large; expected at most {self.max_header_bytes} bytes (--max-header-bytes)"
            )

    def check_body_framing(self, n_bytes: int, n_body: int) -> None:
        """Pass a body of `n_body` bytes that took `n_bytes` on the wire: chunks, their extensions and trailers."""
        if n_bytes > CHUNKED_COST * n_body + self.max_header_bytes:
            raise HeadersTooLarge(
                f"the chunks bring too much beside the body; expected at most {self.max_header_bytes} bytes"
                " (--max-header-bytes)"
            )

    def header_count_error(self, n: int) -> AnsweredError:
        """The error of so many headers."""
        return HeadersTooLarge(f"the request has {n} headers; expected at most {self.max_headers} (--max-headers)")

    def header_error(self) -> AnsweredError:
        """The error of headers that came too slowly."""
        return RequestTimeout(f"the headers did not arrive within {self.header_timeout_s:g} s (--header-timeout-s)")

    def body_error(self, n_bytes: int, took_s: float) -> AnsweredError | None:
        """The error of a body of which `n_bytes` came in `took_s`, unless it may go on."""
        if took_s > self.body_timeout_s - CLOCK_S:
            return RequestTimeout(f"the body did not arrive within {self.body_timeout_s:g} s (--body-timeout-s)")
        if n_bytes < self.min_bytes_per_s * took_s:
            return RequestTimeout(
                f"the body arrives too slowly; expected {self.min_bytes_per_s} bytes a second (--min-bytes-per-s)"
            )
        return None
