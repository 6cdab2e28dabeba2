"""Who is told of requests and batches: one protocol, behind which counts, traces and the journal stand.

Everything is called on the event loop, and raises nothing. One trap: the arrays of a row that ran alone lie in buffers
that the next run overwrites (`engine/bound.py`). Who keeps arrays beyond the call copies them.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from service.errors import AnsweredError
from service.telemetry.request import Request

Headers = Iterable[tuple[bytes, bytes]]


class Response(Protocol):
    """What goes back; an observer may add headers."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]


class Observer(Protocol):
    """Of a request it hears that it began, and then one of `answered`, `refused` and `gone`."""

    def began(self, request: Request, headers: Headers, /) -> None:
        """A request came whole; its headers are not kept."""

    def ran(self, runner: Any, marks: Sequence[Any], n_rows: int, took_s: float, /) -> None:
        """A batch of `n_rows` ran; `marks` are those of its requests."""

    def answered(self, request: Request, arrays: Any, response: Response, /) -> None:
        """The answer is encoded; `arrays` are what the head computed, each `[N, ...]`."""

    def refused(self, request: Request | None, error: AnsweredError, response: Response, /) -> None:
        """The answer is an error; none is the request that came no further than its headers."""

    def gone(self, request: Request, /) -> None:
        """The client left before its answer."""


class Nobody:
    """The observer that does nothing."""

    def began(self, request: Request, headers: Headers) -> None:
        """Do nothing."""

    def ran(self, runner: Any, marks: Sequence[Any], n_rows: int, took_s: float) -> None:
        """Do nothing."""

    def answered(self, request: Request, arrays: Any, response: Response) -> None:
        """Do nothing."""

    def refused(self, request: Request | None, error: AnsweredError, response: Response) -> None:
        """Do nothing."""

    def gone(self, request: Request) -> None:
        """Do nothing."""


class Both(Nobody):
    """Two observers, in turn; the mark belongs to the second."""

    def __init__(self, first: Observer, second: Observer) -> None:
        self.first, self.second = first, second

    def began(self, request: Request, headers: Headers) -> None:
        self.first.began(request, headers)
        self.second.began(request, headers)

    def ran(self, runner: Any, marks: Sequence[Any], n_rows: int, took_s: float) -> None:
        self.first.ran(runner, marks, n_rows, took_s)
        self.second.ran(runner, marks, n_rows, took_s)

    def answered(self, request: Request, arrays: Any, response: Response) -> None:
        self.first.answered(request, arrays, response)
        self.second.answered(request, arrays, response)

    def refused(self, request: Request | None, error: AnsweredError, response: Response) -> None:
        self.first.refused(request, error, response)
        self.second.refused(request, error, response)

    def gone(self, request: Request) -> None:
        self.first.gone(request)
        self.second.gone(request)
