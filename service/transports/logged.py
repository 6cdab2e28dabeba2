"""The lines of the access log of one connection: of its requests, and of what is refused before there is one."""

from abc import abstractmethod
from typing import Any

from service.errors import AnsweredError
from service.telemetry.access import AccessLine
from service.transports.asgi import LINE
from service.transports.pipelining import Pipelining


class Logged(Pipelining):
    """A connection with an access log."""

    __slots__ = ()

    @property
    @abstractmethod
    def rests(self) -> bool:
        """Whether no message arrives."""

    def new_line(self) -> AccessLine:
        """The line of the message that arrives, with what is known of it."""
        if self.rests or not self.url:
            return AccessLine("", b"")
        path = self.url.partition(b"?")[0][: self.limits.max_url_bytes]
        return AccessLine(self.parser.get_method().decode("ascii"), path)

    def open_line(self) -> AccessLine | None:
        """The line of the request whose body arrives."""
        cycle: Any = self.cycle
        return None if cycle is None else cycle.scope.get(LINE)

    def log_refusal(self, error: AnsweredError, request_id: bytes) -> None:
        """Write the line of what is refused before it came whole, of which there may be no request."""
        line = self.open_line() if self.reads_body else None
        if line is None:
            line = self.new_line()
            line.started = 0.0
        line.request_id = request_id
        line.write(error.status)
