"""Everything that can go wrong, and whose fault it is. Imports nothing.

CalibrantError
├── RequestError            the client's: answered with `status` and `code`
│   ├── NotJSON             400
│   ├── Malformed           400  the binary framing or the compression of a protocol request
│   ├── Unauthorized        401
│   ├── Forbidden           403
│   ├── ForeignOrigin       403  a change that a page of another origin asks for
│   ├── NotFound            404  UnknownModel, UnknownVersion, NoReport
│   ├── MethodNotAllowed    405
│   ├── InvalidHost         400
│   ├── RequestTimeout      408  headers or a body that came too slowly
│   ├── Conflict            409  a refit that must not be promoted, or runs already
│   ├── StaleTag            412  If-Match has an ETag that is no longer the one of what is there
│   ├── BodyTooLarge        413
│   ├── URLTooLong          414
│   ├── UnsupportedMediaType 415
│   ├── InvalidValue        422  with the row and the class where they are known
│   ├── PreconditionRequired 428  there is no If-Match
│   ├── RateExceeded        429  with Retry-After
│   └── HeadersTooLarge     431
├── ServiceError            ours: answered with `status` and `code`
│   ├── RunFailed           500  OutOfMemory 503
│   ├── Unavailable         with Retry-After: QueueFull 429, NotReady 503, TooManyConnections 503
│   └── DeadlinePassed      504
└── CommandError            the command line's: one sentence and an exit code
    ├── UsedWrongly         2  DataError: a file that cannot be fitted on, with its row
    ├── FitError            1  labels that say nothing, a fit that runs away
    ├── CannotStart         3  HeadError: a file that is not a head; InvalidKeys: one that is none of API keys
    └── RequirementFailed   4  a metric that is not what was required

Every message says what was wrong and what was expected.
"""

from typing import ClassVar, Final

RETRY_AFTER: Final = {"retry-after": "1"}


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
    """The body is not JSON."""

    status = 400
    code = "not_json"


class Malformed(RequestError):
    """The bytes of a protocol request are not what its headers say: the framing, or the compression."""

    status = 400
    code = "malformed_body"


class Unauthorized(RequestError):
    """No key, or a wrong one."""

    status = 401
    code = "unauthorized"

    @property
    def headers(self) -> dict[str, str]:
        """RFC 9110 wants the scheme named."""
        return {"www-authenticate": "Bearer"}


class Forbidden(RequestError):
    """A key without the scope that is needed."""

    status = 403
    code = "scope"


class ForeignOrigin(RequestError):
    """A change that a page of another origin asks for."""

    status = 403
    code = "foreign_origin"


class NotFound(RequestError):
    """Nothing lives at this path."""

    status = 404
    code = "not_found"


class UnknownModel(NotFound):
    """No model of this name."""

    code = "unknown_model"


class NoReport(NotFound):
    """A model without a report beside its head."""

    code = "no_report"


class UnknownGroup(NotFound):
    """No label of this group was counted."""

    code = "unknown_group"


class UnknownVersion(NotFound):
    """The model has no such version."""

    code = "unknown_version"


class MethodNotAllowed(RequestError):
    """The path lives, the method does not."""

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
    """HTTP/1.1 without one Host header."""

    status = 400
    code = "invalid_host"


class RequestTimeout(RequestError):
    """The headers or the body did not arrive in time."""

    status = 408
    code = "request_timeout"


class Conflict(RequestError):
    """What is there forbids it."""

    status = 409
    code = "conflict"


class StaleTag(RequestError):
    """If-Match has an ETag that is no longer the one of what is there."""

    status = 412
    code = "stale"


class PreconditionRequired(RequestError):
    """There is no If-Match where one is needed."""

    status = 428
    code = "precondition_required"


class URLTooLong(RequestError):
    """More bytes than `max_url_bytes`."""

    status = 414
    code = "url_too_long"


class HeadersTooLarge(RequestError):
    """More bytes than `max_header_bytes`, or more headers than `max_headers`."""

    status = 431
    code = "headers_too_large"


class BodyTooLarge(RequestError):
    """More bytes than `max_body_bytes`."""

    status = 413
    code = "body_too_large"


class UnsupportedMediaType(RequestError):
    """A body that says that it is not JSON, or is compressed."""

    status = 415
    code = "unsupported_media_type"


class InvalidValue(RequestError):
    """JSON, but not a request that can be answered."""

    status = 422
    code = "invalid_value"


class RateExceeded(RequestError):
    """A key that asks for more rows than it may."""

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
    """More rows are waiting than `max_queue_rows`."""

    status = 429
    code = "queue_full"


class NotReady(Unavailable):
    """Starting, draining, or without a batcher."""

    code = "not_ready"


class TooManyConnections(Unavailable):
    """More connections than `max_connections`, or `max_connections_per_address`."""

    code = "too_many_connections"


class DeadlinePassed(ServiceError):
    """The answer would have come after the request's deadline."""

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
    """The command was right, the surroundings are not: a missing folder, a port in use, no such provider."""

    exit_code = 3


class RequirementFailed(CommandError):
    """Everything went well, and a metric is not within the bounds that were required."""

    exit_code = 4


class HeadError(CannotStart):
    """A file that is not a head that can be served."""


class InvalidKeys(CannotStart):
    """A file of API keys that cannot be read."""
