"""The answer that a connection of the fast transport owes, from the request that came whole to the bytes on the wire.

One at a time is owed; `fast.py` reads the requests.
"""

from typing import Any, ClassVar, Final

from service.errors import AnsweredError
from service.telemetry.access import AccessLine
from service.transports.endpoints import Target
from service.transports.handler import Begun
from service.transports.keys import Key
from service.transports.response import Response
from service.transports.section import write_headers
from service.transports.timer import Timer

# A body this large is written beside its header section; a smaller one is cheaper joined to it.
JOINED_BELOW: Final = 2**16


class Unheard:
    """The event that uvicorn sets on its cycles; nobody waits for ours."""

    def set(self) -> None:
        """Do nothing."""


class Cycle:
    """What stands where uvicorn keeps a request cycle of its own, with the attributes that it looks at there.

    It has what an answer needs of its connection, where it is compiled at a place in memory.

    Attributes:
        keep_alive, response_complete, disconnected, message_event, response_started: as in uvicorn.
        begun: the request whose answer is owed.
        error: why it is refused, if it is.
        line: the request's line in the access log, until it is written; none where there is no such log.
        section, known: the header section that came last here and was known, and what it means.
        waits_for_reader: nothing more is read until the client has read its answers.
    """

    __slots__ = (
        "access_log",
        "begun",
        "connection",
        "connections",
        "dated",
        "dated_bytes",
        "disconnected",
        "dispatcher",
        "error",
        "flow",
        "headers",
        "keep_alive",
        "keep_alive_s",
        "key",
        "known",
        "line",
        "max_requests",
        "pipeline",
        "request_id",
        "response_complete",
        "section",
        "server_state",
        "target",
        "timer",
        "transport",
        "waits_for_reader",
    )

    message_event: ClassVar[Unheard] = Unheard()
    response_started: ClassVar[bool] = False

    def __init__(self, connection: Any) -> None:
        self.connection: Any = connection
        self.connections: set[Any] = connection.connections
        self.dispatcher: Any = connection.dispatcher
        self.access_log: bool = connection.dispatcher.access_log
        self.max_requests: int = connection.limits.max_requests_per_connection
        self.pipeline: Any = connection.pipeline
        self.server_state: Any = connection.server_state
        self.timer: Timer = connection.timer
        self.keep_alive_s: float = connection.timeout_keep_alive
        self.transport: Any = None
        self.flow: Any = None
        self.keep_alive = True
        self.response_complete = True
        self.disconnected = False
        self.target: Target | None = None
        self.request_id = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.key: Key | None = None
        self.error: AnsweredError | None = None
        self.begun: Begun | None = None
        self.line: AccessLine | None = None
        self.dated: list[tuple[bytes, bytes]] | None = None
        self.dated_bytes = b""
        self.section = b""
        self.known: Any = None
        self.waits_for_reader = False

    def take(
        self,
        target: Target,
        path: bytes,
        headers: list[tuple[bytes, bytes]],
        request_id: bytes,
        key: Key | None,
        error: AnsweredError | None,
        keep_alive: bool,
    ) -> None:
        """An answer is owed from now on."""
        connection = self.connection
        self.keep_alive = keep_alive and not (self.max_requests and connection.n_requests == self.max_requests)
        self.response_complete = False
        connection.cycle = self
        self.target = target
        self.headers = headers
        self.request_id = request_id
        self.key = key
        self.error = error
        if self.access_log:
            self.line = AccessLine("POST", path, request_id, key)

    def hand_over(self, body: bytes) -> None:
        """The request is there: let the handler answer it, unless it is refused."""
        if self.error is not None:
            self.reply(self.dispatcher.refuse(self.error))
            return
        handler = self.dispatcher.handler
        begun = handler.begin(
            self.target, self.headers, self.request_id, body, self.reply, len(body), len(self.connections), self.key
        )
        self.begun = None if self.response_complete else begun

    def reply(self, response: Response) -> None:
        """Write the answer, and go on with whatever is behind it."""
        self.response_complete = True
        self.begun = None
        transport, dispatcher = self.transport, self.dispatcher
        if transport.is_closing():
            return
        if self.line is not None:
            self.line.write(response.status, response.request)
            self.line = None
        if dispatcher.draining and not self.pipeline:
            self.keep_alive = False  # the client shall go elsewhere with its next request
        section = write_headers(response, self.dated_headers(), self.request_id, self.keep_alive)
        if len(response.body) < JOINED_BELOW:
            transport.write(section + response.body)
        else:
            transport.writelines((section, response.body))
        self.go_on()

    def go_on(self) -> None:
        """Let the connection read on, start what is pipelined, or close."""
        connection = self.connection
        if connection.arriving and not self.pipeline:
            connection.release()
        if not self.keep_alive:
            connection.close()
        elif self.pipeline:
            connection.on_response_complete()
        else:
            self.timer.set(self.keep_alive_s)
            if self.flow.write_paused and not self.flow.read_paused:
                # who does not read answers gets no further ones
                self.waits_for_reader = True
                self.flow.pause_reading()

    def dated_headers(self) -> bytes:
        """The headers that uvicorn makes anew every second."""
        dated = self.server_state.default_headers
        if dated is not self.dated:
            self.dated = dated
            self.dated_bytes = b"".join([b"%s: %s\r\n" % header for header in dated])
        return self.dated_bytes

    def forget(self) -> None:
        """Nobody waits for the answer any more."""
        self.response_complete = True
        if self.line is not None:
            self.line.write(request=self.begun)
            self.line = None
        if self.begun is not None:
            self.begun.abandon()
            self.begun = None
