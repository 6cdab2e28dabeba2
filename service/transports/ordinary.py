"""What a connection reads, as uvicorn does, within limits: too large, too slow or too much is answered and cut off.

Both HTTP transports stand on it. While a message arrives the connection is in one of two phases, headers or body, with
a timer; between messages it rests. A connection that is refused is closed for writing, and for reading soon after, so
that the client can read why.
"""

from typing import Any, Final

import httptools

from service.errors import AnsweredError, NotJSON
from service.transports.asgi import IS_LAST, LINE, REFUSAL
from service.transports.budget import METERED_FROM
from service.transports.endpoints import find_target
from service.transports.gate import REQUEST_IDS
from service.transports.limits import LIVENESS, WINDOW_S
from service.transports.logged import Logged
from service.transports.pipelining import PIECE
from service.transports.section import write_headers

REST: Final = 0
HEADERS: Final = 1
BODY: Final = 2
REFUSED: Final = 3

LINGER_S: Final = 2.0  # for the client of a refused request to read why, while it may still be sending
LINGER_BYTES: Final = 2**20  # that it may send meanwhile


class OrdinaryProtocol(Logged):
    """A connection."""

    __slots__ = ("body_since", "n_announced", "n_body", "n_read", "n_requests", "phase")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.phase = REST
        self.n_read = 0  # bytes of the message that arrives, as they came, but for those beside its beginning
        self.n_body = 0  # bytes of its body
        self.n_announced = 0  # bytes that its headers announce
        self.n_requests = 0
        self.body_since = 0.0

    # --- reading

    def data_received(self, data: bytes) -> None:
        """Read on, as far as the limits allow."""
        if self.phase == REFUSED:
            self.n_read += len(data)
            if self.n_read > LINGER_BYTES:
                self.cut_off()
            return
        self._unset_keepalive_if_required()
        try:
            if len(data) > PIECE or self.pipeline or self.unread:
                self.feed_pieces(data)
            else:
                self.feed(data)
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

    def feed(self, data: bytes) -> None:
        """Parse a piece."""
        self.n_read += len(data)
        self.parser.feed_data(data)

    def read_on(self) -> None:
        """Parse what is kept, as far as may be."""
        OrdinaryProtocol.data_received(self, b"")

    @property
    def reads_body(self) -> bool:
        """Whether a body arrives."""
        return self.phase == BODY

    @property
    def rests(self) -> bool:
        """Whether no message arrives."""
        return self.phase == REST

    @property
    def n_expected(self) -> int:
        """Bytes of it that are announced and have not come."""
        return self.n_announced - self.n_body if self.phase == BODY else 0

    def look(self) -> None:
        """See that what has not come whole keeps the limits, and set the timer for the rest of it."""
        if self.phase == HEADERS:
            self.limits.check_url(self.url)
            self.limits.check_header_bytes(self.n_read)
            if not self.timer.runs:
                self.timer.set(self.limits.header_timeout_s)
        elif self.phase == BODY:
            self.limits.check_body_framing(self.n_read, self.n_body)
            if self.n_body - self.n_announced >= METERED_FROM and self.busy():  # chunks, which announce nothing
                self.reserve(self.n_body - self.n_announced)
                self.n_announced = self.n_body
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

    def begin_message(self) -> None:
        """The first bytes of a message are there."""
        self.phase = HEADERS
        self.n_read = self.n_body = 0
        if self.surplus is None:
            self.timer.stop()

    def begin_body(self) -> None:
        """The headers are there: pass them, or raise what is wrong with them."""
        self.n_announced = self.limits.check_section(self.url, self.headers, self.parser.get_http_version())
        if self.surplus is not None and self.url not in LIVENESS:
            raise self.surplus
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
        """Let uvicorn make a request cycle, the last of the connection if that has had its share."""
        scope: Any = self.scope
        if self.surplus is not None or self.n_requests == self.limits.max_requests_per_connection:
            scope[IS_LAST] = True
        if self.dispatcher.access_log:
            scope[LINE] = self.new_line()
        try:
            self.reserve_announced()
        except AnsweredError as error:
            scope[REFUSAL] = error  # the dispatcher answers with it
        super().on_headers_complete()

    def reserve_announced(self) -> None:
        """Have room for the body before it comes, unless it is refused for its size.

        Raises:
            QueueFull, BodyTooLarge: as `reserve` does.
            AnsweredError: the handler would refuse it.
        """
        if METERED_FROM <= self.n_announced <= self.dispatcher.gate.max_body_bytes:
            if find_target(self.url.partition(b"?")[0]) is not None:
                self.dispatcher.handler.admit(self.n_announced)
            self.reserve(self.n_announced)

    def on_body(self, body: bytes) -> None:
        """As the parser says."""
        self.n_body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """As the parser says."""
        self.phase = REST
        self.timer.stop()
        super().on_message_complete()

    # --- the end

    def expire(self) -> None:
        """What was waited for has not come."""
        if self.phase == REFUSED or self.transport.is_closing():
            self.cut_off()
        elif self.surplus is not None:
            self.refuse(self.surplus)
        elif self.phase == REST and not self.unread:
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
        given, transport, request_id = self.has_answered(), self.transport, REQUEST_IDS.new()
        if self.dispatcher.access_log and not (given or transport.is_closing()):
            self.log_refusal(error, request_id)
        self.forget_cycles()
        response = self.dispatcher.refuse(error)
        self.phase, self.n_read = REFUSED, 0
        if given:
            self.close()
        elif not transport.is_closing():
            dated = b"".join(b"%s: %s\r\n" % header for header in self.server_state.default_headers)
            transport.write(write_headers(response, dated, request_id, keep_alive=False) + response.body)
            if transport.can_write_eof():
                transport.write_eof()
            else:  # TLS, which waits for the client to close its side, too
                self.close()
            self.timer.set(LINGER_S)

    def has_answered(self) -> bool:
        """Whether the answer to the message that arrives has begun."""
        cycle: Any = self.cycle
        return self.phase == BODY and cycle is not None and (cycle.response_complete or cycle.response_started)
