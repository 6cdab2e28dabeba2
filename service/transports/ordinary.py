"""A connection as uvicorn has it, within limits: what is too large, too slow or too much is answered and cut off.

Both HTTP transports stand on it. While a message arrives the connection is in one of two phases, headers or body, with
a timer; between messages it rests. A connection that is refused is closed for writing, and for reading soon after, so
that the client can read why.
"""

from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.errors import AnsweredError, NotJSON
from service.transports.asgi import Dispatcher
from service.transports.gate import new_request_id
from service.transports.limits import SPARE, WINDOW_S
from service.transports.response import Response
from service.transports.timer import Timer

REST: Final = 0
HEADERS: Final = 1
BODY: Final = 2
REFUSED: Final = 3

LINGER_S: Final = 2.0  # for the client of a refused request to read why, while it may still be sending
LINGER_BYTES: Final = 2**20  # that it may send meanwhile
SECTION: Final = b"%s%scontent-type: %s\r\ncontent-length: %d\r\nx-request-id: %s\r\nserver-timing: %s\r\n%s\r\n"


class OrdinaryProtocol(HttpToolsProtocol):
    """A connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        dispatcher = self.config.app
        assert isinstance(dispatcher, Dispatcher)  # noqa: S101 - the server was wired wrongly otherwise
        self.dispatcher = dispatcher
        self.limits = dispatcher.limits
        self.phase = REST
        self.n_read = 0  # bytes of the message that arrives, as they came, but for those beside its beginning
        self.n_body = 0  # bytes of its body
        self.n_requests = 0
        self.body_since = 0.0
        self.running: Any = None  # uvicorn's cycle that is being answered; `self.cycle` may be of a request behind it
        self.n_unsent = 0  # bytes that wait for a client that does not read
        self.timer = Timer(self.loop, self.expire)
        self.send_timer = Timer(self.loop, self.check_reader)

    # --- the connection

    def connection_made(self, transport: Any) -> None:
        """Let it in, unless there are too many."""
        super().connection_made(transport)
        n_connections = len(self.connections)
        error = self.dispatcher.connections.enter(self.address, n_connections)
        if error is None:
            self.timer.set(self.timeout_keep_alive)
        elif n_connections <= self.limits.max_connections + SPARE:
            self.refuse(error)
        else:
            transport.abort()

    @property
    def address(self) -> str:
        """The client's, without the port."""
        return self.client[0] if self.client else ""

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        super().connection_lost(exc)
        self.forget_cycles()
        self.dispatcher.connections.leave(self.address)
        self.timer.cancel()
        self.send_timer.cancel()

    def close(self) -> None:
        """Close the connection once the client has read what is written, and in time whatever it does."""
        if self.transport.get_write_buffer_size():
            self.timer.set(WINDOW_S)
        self.transport.close()

    def timeout_keep_alive_handler(self) -> None:
        """The connection has rested for long enough."""
        if not self.transport.is_closing():
            self.close()

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        self.n_unsent = self.transport.get_write_buffer_size()
        self.send_timer.set(WINDOW_S)

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        self.send_timer.stop()

    def check_reader(self) -> None:
        """Cut off a client that reads too slowly."""
        n_unsent = self.transport.get_write_buffer_size()
        if self.n_unsent - n_unsent < self.limits.min_bytes_per_s * WINDOW_S:
            self.cut_off()
        else:
            self.n_unsent = n_unsent
            self.send_timer.set(WINDOW_S)

    # --- reading

    def data_received(self, data: bytes) -> None:
        """Read on, as far as the limits allow."""
        if self.phase == REFUSED:
            self.n_read += len(data)
            if self.n_read > LINGER_BYTES:
                self.cut_off()
            return
        self._unset_keepalive_if_required()
        self.n_read += len(data)
        try:
            self.parser.feed_data(data)
            self.look()
        except AnsweredError as error:
            self.refuse(error)
        except httptools.HttpParserUpgrade:
            pass  # nobody is upgraded, as the answer says
        except httptools.HttpParserError as error:
            refusal = error.__context__
            if not isinstance(refusal, AnsweredError):
                refusal = NotJSON("invalid HTTP request received; expected HTTP/1.1", code="not_http")
            self.refuse(refusal)

    def look(self) -> None:
        """See that what has not come whole keeps the limits, and set the timer for the rest of it."""
        if self.phase == HEADERS:
            self.limits.check_url(self.url)
            self.limits.check_header_bytes(self.n_read)
            if not self.timer.runs:
                self.timer.set(self.limits.header_timeout_s)
        elif self.phase == BODY:
            self.limits.check_body_framing(self.n_read, self.n_body)
            if self.n_body > self.dispatcher.gate.max_body_bytes + LINGER_BYTES:
                raise self.dispatcher.gate.too_large()
            if not self.timer.runs:
                self.await_body()
        elif not (self.timer.runs or self.timeout_keep_alive_task or self.busy()):
            self.timer.set(self.timeout_keep_alive)  # blank lines alone have come

    def await_body(self) -> None:
        """The rest of the body is to come."""
        self.body_since = self.loop.time()
        self.timer.set(min(WINDOW_S, self.limits.body_timeout_s))

    def busy(self) -> bool:
        """Whether an answer is owed."""
        cycle: Any = self.cycle
        return cycle is not None and not cycle.response_complete

    def begin_message(self) -> None:
        """The first bytes of a message are there."""
        self.phase = HEADERS
        self.n_read = self.n_body = 0
        self.timer.stop()

    def begin_body(self) -> None:
        """The headers are there: pass them, or raise what is wrong with them."""
        self.limits.check_section(self.url, self.headers, self.parser.get_http_version())
        self.phase = BODY
        self.timer.stop()
        self.n_requests += 1

    def on_message_begin(self) -> None:
        """As the parser says."""
        self.begin_message()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; those behind a body are none of the request's."""
        if self.phase == HEADERS:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """As the parser says."""
        self.begin_body()
        self.begin_cycle()

    def begin_cycle(self) -> None:
        """Let uvicorn make a request cycle, the last of the connection if so many have come."""
        super().on_headers_complete()
        if self.n_requests == self.limits.max_requests_per_connection:
            cycle = self.pipeline[0][0] if self.pipeline else self.cycle
            cycle.keep_alive = False

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self.running = cycle
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        """As the parser says."""
        self.n_body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """As the parser says."""
        self.phase = REST
        self.timer.stop()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """A request of uvicorn's own is answered."""
        super().on_response_complete()
        if self.transport.is_closing() and self.transport.get_write_buffer_size():
            self.timer.set(WINDOW_S)

    # --- the end

    def expire(self) -> None:
        """What was waited for has not come."""
        if self.phase == REFUSED or self.transport.is_closing():
            self.cut_off()
        elif self.phase == REST:
            self.timeout_keep_alive_handler()
        elif self.flow.read_paused or self.pipeline or (self.phase == HEADERS and self.busy()):
            self.timer.set(WINDOW_S)  # it is the service that does not read, or that has another to answer first
        elif self.phase == HEADERS:
            self.refuse(self.limits.header_error())
        else:
            took_s = self.loop.time() - self.body_since
            error = self.limits.body_error(self.n_body, took_s)
            if error is None:
                self.timer.set(min(WINDOW_S, self.limits.body_timeout_s - took_s))
            else:
                self.refuse(error)

    def refuse(self, error: AnsweredError) -> None:
        """Answer with an error, unless another answer has begun, and read nothing more."""
        given = self.has_answered()
        self.forget_cycles()
        response = self.dispatcher.refuse(error)
        self.phase, self.n_read = REFUSED, 0
        transport = self.transport
        if given:
            self.close()
        elif not transport.is_closing():
            dated = b"".join(b"%s: %s\r\n" % header for header in self.server_state.default_headers)
            transport.write(write_headers(response, dated, new_request_id(), keep_alive=False) + response.body)
            if transport.can_write_eof():
                transport.write_eof()
                self.timer.set(LINGER_S)
            else:
                self.close()

    def has_answered(self) -> bool:
        """Whether the answer to the message that arrives has begun."""
        cycle: Any = self.cycle
        return self.phase == BODY and cycle is not None and (cycle.response_complete or cycle.response_started)

    def cut_off(self) -> None:
        """Close the connection, whatever is under way on it."""
        self.forget_cycles()
        self.transport.abort()

    def forget_cycles(self) -> None:
        """Tell the application that the client has gone; uvicorn tells the last of several cycles only."""
        self.pipeline.clear()
        for cycle in (self.running, self.cycle):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self.running = None


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
