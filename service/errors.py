"""Everything that can go wrong, and whose fault it is. Imports nothing.

CalibrantError
├── RequestError            the client's: answered with `status` and `code`
│   ├── NotJSON             400
│   ├── Malformed           400  the binary framing or the compression of a protocol request
│   ├── InvalidHost         400  HTTP/1.1 without one Host header
│   ├── Unauthorized        401  no key, or a wrong one
│   ├── Forbidden           403  a key without the scope that is needed
│   ├── ForeignOrigin       403  a change that a page of another origin asks for
│   ├── NotFound            404  UnknownModel, UnknownVersion, NoReport, UnknownGroup
│   ├── MethodNotAllowed    405  with Allow
│   ├── RequestTimeout      408  headers or a body that came too slowly
│   ├── Conflict            409  a refit that must not be promoted, or runs already
│   ├── StaleTag            412  If-Match has an ETag that is no longer the one of what is there
│   ├── BodyTooLarge        413  more bytes than `max_body_bytes`
│   ├── URLTooLong          414  more bytes than `max_url_bytes`
│   ├── UnsupportedMediaType 415  a body that says that it is not JSON, or is compressed
│   ├── InvalidValue        422  with the row and the class where they are known
│   ├── PreconditionRequired 428  there is no If-Match where one is needed
│   ├── RateExceeded        429  a key that asks for more rows than it may, with Retry-After
│   └── HeadersTooLarge     431  more bytes than `max_header_bytes`, or more headers than `max_headers`
├── ServiceError            ours: answered with `status` and `code`
│   ├── RunFailed           500  OutOfMemory 503
│   ├── Unavailable         with Retry-After
│   │   ├── QueueFull       429  more rows wait than `max_queue_rows`
│   │   ├── NotReady        503
│   │   └── TooManyConnections 503  more than `max_connections`, or `max_connections_per_address`
│   └── DeadlinePassed      504  the answer would have come after it
└── CommandError            the command line's: one sentence and an exit code
    ├── UsedWrongly         2  DataError: a file that cannot be fitted on, with its row
    ├── FitError            1  labels that say nothing, a fit that runs away
    ├── CannotStart         3  HeadError: a file that is not a head; InvalidKeys: one that is none of API keys
    └── RequirementFailed   4  a metric that is not what was required

Every message says what was wrong and what was expected. What the tree says of a class is not said there again.
"""

from typing import ClassVar, Final

RETRY_AFTER: Final = {"retry-after": "1"}


def count(n: int, what: str, many: str = "", *, form: str = "") -> str:
    """`1 row`, `2 rows`; `many` where the plural is not made by an s, `form` as in a format string."""
    return f"{n:{form}} {what if n == 1 else many or f'{what}s'}"


class CalibrantError(Exception):
    """The root; `str(error)` is one sentence for a person."""


class AnsweredError(CalibrantError):
    """An error that has an HTTP answer: `status`, a snake_case `code`, and where in the request it sits."""

    status: ClassVar[int] = 500
    code: str = "internal_error"

    def __init__(
        self, message: str, *, code: str | None = None, row: int | None = None, class_: int | None = None
    ) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
        self.row = row
        self.class_ = class_

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers that belong to this error."""
        return {}


class RequestError(AnsweredError):
    """The client's fault."""


class NotJSON(RequestError):
    status = 400
    code = "not_json"


class Malformed(RequestError):
    status = 400
    code = "malformed_body"


class Unauthorized(RequestError):
    status = 401
    code = "unauthorized"

    @property
    def headers(self) -> dict[str, str]:
        """RFC 9110 wants the scheme named."""
        return {"www-authenticate": "Bearer"}


class Forbidden(RequestError):
    status = 403
    code = "scope"


class ForeignOrigin(RequestError):
    status = 403
    code = "foreign_origin"


class NotFound(RequestError):
    status = 404
    code = "not_found"


class UnknownModel(NotFound):
    code = "unknown_model"


class NoReport(NotFound):
    code = "no_report"


class UnknownGroup(NotFound):
    code = "unknown_group"


class UnknownVersion(NotFound):
    code = "unknown_version"


class MethodNotAllowed(RequestError):
    status = 405
    code = "method_not_allowed"

    def __init__(self, message: str, *, allow: str) -> None:
        super().__init__(message)
        self.allow = allow

    @property
    def headers(self) -> dict[str, str]:
        """What would be allowed."""
        return {"allow": self.allow}


class InvalidHost(RequestError):
    status = 400
    code = "invalid_host"


class RequestTimeout(RequestError):
    status = 408
    code = "request_timeout"


class Conflict(RequestError):
    status = 409
    code = "conflict"


class StaleTag(RequestError):
    status = 412
    code = "stale"


class PreconditionRequired(RequestError):
    status = 428
    code = "precondition_required"


class URLTooLong(RequestError):
    status = 414
    code = "url_too_long"


class HeadersTooLarge(RequestError):
    status = 431
    code = "headers_too_large"


class BodyTooLarge(RequestError):
    status = 413
    code = "body_too_large"


class UnsupportedMediaType(RequestError):
    status = 415
    code = "unsupported_media_type"


class InvalidValue(RequestError):
    """JSON, but not a request that can be answered."""

    status = 422
    code = "invalid_value"


class RateExceeded(RequestError):
    status = 429
    code = "rate_exceeded"

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        """When to come back, in seconds."""
        return {"retry-after": str(self.retry_after_s)}


class ServiceError(AnsweredError):
    """The service's fault, or its limits."""


class RunFailed(ServiceError):
    """The head's run raised; the log has the cause."""

    code = "run_failed"


class Unavailable(ServiceError):
    """The service cannot answer now, but soon may."""

    status = 503

    @property
    def headers(self) -> dict[str, str]:
        """When to come back, in seconds."""
        return RETRY_AFTER


class OutOfMemory(RunFailed, Unavailable):
    """The head's run found no memory, the machine's or the device's."""

    code = "out_of_memory"


class QueueFull(Unavailable):
    status = 429
    code = "queue_full"


class NotReady(Unavailable):
    """Starting, draining, or without a batcher."""

    code = "not_ready"


class TooManyConnections(Unavailable):
    code = "too_many_connections"


class DeadlinePassed(ServiceError):
    status = 504
    code = "deadline_passed"


class CommandError(CalibrantError):
    """A command ends with this sentence and this exit code."""

    exit_code: ClassVar[int] = 1


class UsedWrongly(CommandError):
    """An option or an argument that cannot be meant."""

    exit_code = 2


class DataError(UsedWrongly):
    """A data file that cannot be fitted on or measured with; `row` counts from 0, without a header."""

    def __init__(self, message: str, *, row: int | None = None) -> None:
        super().__init__(message)
        self.row = row


class FitError(CommandError):
    """The data read well, but no calibrator can be fitted to them."""


class CannotStart(CommandError):
    """The command was right, the surroundings are not: a missing file or folder, a port in use."""

    exit_code = 3


class RequirementFailed(CommandError):
    exit_code = 4


class HeadError(CannotStart):
    """A file that is not a head that can be served."""


class InvalidKeys(CannotStart):
    """A file of API keys that cannot be read."""
