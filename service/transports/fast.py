"""The fast lane: predictions go from uvicorn's HTTP parser to the handler and back, without an ASGI task.

The only room that knows uvicorn's insides. `FastLane` is uvicorn's own httptools protocol, with one kind of request
taken out: a POST to predict or infer that comes when nothing is under way on its connection. It is handed to the same
handler that the ASGI lane calls, and its answer is written to the transport. Whatever is unusual (another path or
method, `Expect`, an upgrade, a request behind an unfinished one) goes the ordinary way, through uvicorn.

One request at a time is in flight on a connection. While it is, a `Flight` stands where uvicorn keeps its own request
cycle, so that uvicorn queues what is pipelined behind it, and waits for it when it shuts down.

Clients say the same head again and again. One that the parser has read and the gate has passed is remembered, to the
byte: when it comes again, whole and with a body of the same length to follow, neither looks a second time.
"""

import asyncio
import math
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.errors import AnsweredError, BodyTooLarge, NotJSON, NotReady
from service.telemetry.logs import access
from service.transports.asgi import Dispatcher
from service.transports.endpoints import target
from service.transports.exchange import Exchange
from service.transports.gate import Answer, Passed, Target, new_request_id, refusal

# A body this large is written beside its head; a smaller one is cheaper joined to it.
LARGE_BODY: Final = 2**16
HEAD: Final = b"%s%scontent-type: %s\r\ncontent-length: %d\r\nx-request-id: %s\r\nserver-timing: %s\r\n%s\r\n"


class Unheard:
    """The event that uvicorn sets on its cycles; nobody waits for a flight's."""

    def set(self) -> None:
        """Nothing happens."""


class Flight:
    """What stands where uvicorn keeps a cycle of its own, with the attributes that it looks at there."""

    __slots__ = ("disconnected", "keep_alive", "response_complete")

    message_event: Final = Unheard()

    def __init__(self) -> None:
        self.keep_alive = True
        self.response_complete = True
        self.disconnected = False


class OrdinaryLane(HttpToolsProtocol):
    """A connection, as uvicorn has it, but for the shape of its one error."""

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP gets the one shape of errors, too, and a closed connection."""
        answer = refusal(NotJSON(f"{msg.rstrip('.').lower()}; HTTP/1.1 was expected", code="not_http"))
        dated = b"".join(b"%s: %s\r\n" % header for header in self.server_state.default_headers)
        self.transport.write(head(answer, dated, new_request_id(), keep_alive=False) + answer.body)
        self.transport.close()


class FastLane(OrdinaryLane):
    """A connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        dispatcher = self.config.app
        assert isinstance(dispatcher, Dispatcher)  # noqa: S101 - the server was wired wrongly otherwise
        self.dispatcher = dispatcher
        self.gate = dispatcher.gate
        self.between = True  # the parser stands between two messages
        self.mine = False  # the message that is being read is for this lane
        self.flight = Flight()
        self.to: Target
        self.asked: bytes
        self.request_id: bytes
        self.error: AnsweredError | None
        self.parts: list[bytes] = []
        self.n_bytes = 0
        self.above = b""  # the head of the message that the parser reads, if that came whole
        self.n_came = 0  # bytes behind it
        self.n_missing = 0  # of a body behind a head that is known
        self.exchange: Exchange | None = None  # whose answer is owed
        self.dated: list[tuple[bytes, bytes]] | None = None
        self.dated_bytes = b""
        self.waits_for_reader = False
        self.idle_since = math.inf
        self.idle_timer: asyncio.TimerHandle | None = None

    # --- reading

    def data_received(self, data: bytes) -> None:
        """Read a request without the parser where its head is known, else let that read."""
        if self.n_missing:
            self.fill(data)
            return
        if not self.between:
            self.n_came += len(data)
            super().data_received(data)
            self.remember()
            return
        end = data.find(b"\r\n\r\n") + 4
        above = data[:end]
        n_came = len(data) - end
        known = self.gate.passed.get(above)
        if known is not None and n_came <= known.n_bytes and not self.busy() and self.dispatcher.predict:
            self._unset_keepalive_if_required()  # uvicorn's own timer, after a request of its own
            self.idle_since = math.inf
            self.url, self.headers = known.url, known.headers
            self.take_off(known.to, new_request_id(), None, True)
            body = data[end:]
            if n_came == known.n_bytes:
                self.hand_over(body)
            else:
                self.parts, self.n_missing = [body], known.n_bytes - n_came
            return
        self.mine = False
        self.above, self.n_came = above, n_came
        super().data_received(data)
        self.remember()

    def fill(self, data: bytes) -> None:
        """More of the body behind a head that is known; what is behind that is another request."""
        n = self.n_missing
        self.n_missing = max(0, n - len(data))
        self.parts.append(data[:n])
        if not self.n_missing:
            parts, self.parts = self.parts, []
            self.hand_over(b"".join(parts))
            if len(data) > n:
                self.data_received(data[n:])

    def remember(self) -> None:
        """Keep a head, if it and as many bytes as came behind it were one whole message for this lane."""
        if self.between and self.mine and self.n_bytes == self.n_came and self.flight.keep_alive and self.error is None:
            self.gate.remember(self.above, Passed(self.to, self.url, self.headers, self.n_bytes))

    def busy(self) -> bool:
        """Whether an answer is owed."""
        cycle: Any = self.cycle
        return cycle is not None and not cycle.response_complete

    def on_message_begin(self) -> None:
        """Put off what uvicorn prepares until it is known who takes the request."""
        self.between = self.mine = False
        self.idle_since = math.inf
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        """Take the request, or leave it to uvicorn."""
        to = self.fast_target()
        if to is None:
            url, headers, expects = self.url, self.headers, self.expect_100_continue
            super().on_message_begin()
            self.url, self.expect_100_continue = url, expects
            self.headers.extend(headers)
            super().on_headers_complete()
            return
        request_id, error = self.gate.check(self.headers, to.face)
        keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        self.mine = True
        self.parts, self.n_bytes = [], 0
        self.take_off(to, request_id, error, keep_alive)
        if isinstance(error, BodyTooLarge):
            self.landed(self.dispatcher.refuse(error))

    def fast_target(self) -> Target | None:
        """Whom the request means, if it is one for this lane."""
        if self.busy() or self.expect_100_continue or self.parser.should_upgrade():
            return None
        return target(self.url) if self.parser.get_method() == b"POST" else None

    def on_body(self, body: bytes) -> None:
        """Keep a part; what comes after an early answer is read and dropped."""
        if not self.mine:
            super().on_body(body)
        elif not self.flight.response_complete:
            self.parts.append(body)
            self.n_bytes += len(body)
            if self.n_bytes > self.gate.max_body_bytes:
                self.parts = []
                self.landed(self.dispatcher.refuse(self.gate.too_large()))

    def on_message_complete(self) -> None:
        """Hand the request over."""
        self.between = True
        if not self.mine:
            super().on_message_complete()
        elif self.flight.response_complete:
            self.rest()
        else:
            parts, self.parts = self.parts, []
            self.hand_over(parts[0] if len(parts) == 1 else b"".join(parts))

    # --- the request

    def take_off(self, to: Target, request_id: bytes, error: AnsweredError | None, keep_alive: bool) -> None:
        """An answer is owed from now on."""
        flight = self.flight
        flight.keep_alive = keep_alive
        flight.response_complete = False
        self.cycle = flight  # type: ignore[assignment]  # it is one, as far as uvicorn looks
        self.to = to
        self.asked = self.url  # uvicorn's changes with what is pipelined behind
        self.request_id = request_id
        self.error = error

    def hand_over(self, body: bytes) -> None:
        """The request is there: let the handler answer it, unless it is refused."""
        predict = self.dispatcher.predict
        if self.error is not None or predict is None:
            self.landed(self.dispatcher.refuse(self.error or NotReady("the service is starting")))
        else:
            alone = len(self.connections) == 1
            exchange = predict(self.to, self.headers, self.request_id, body, self.landed, alone=alone)
            self.exchange = None if self.flight.response_complete else exchange

    def landed(self, answer: Answer) -> None:
        """Write the answer, and go on with whatever is behind it."""
        flight = self.flight
        flight.response_complete = True
        self.exchange = None
        transport = self.transport
        if transport.is_closing():
            return
        if self.dispatcher.access_log:
            access("POST", self.asked, answer.status, self.request_id)
        if self.dispatcher.draining and not self.pipeline:
            flight.keep_alive = False  # the client shall go elsewhere with its next request
        above = head(answer, self.preamble(), self.request_id, flight.keep_alive)
        if len(answer.body) < LARGE_BODY:
            transport.write(above + answer.body)
        else:
            transport.writelines((above, answer.body))
        if not flight.keep_alive:
            self.server_state.total_requests += 1
            transport.close()
        elif self.pipeline:
            self.on_response_complete()
        else:
            self.server_state.total_requests += 1
            self.rest()
            if self.flow.write_paused and not self.flow.read_paused:
                # who does not read answers gets no further ones
                self.waits_for_reader = True
                self.flow.pause_reading()

    def preamble(self) -> bytes:
        """The headers that uvicorn makes anew every second."""
        dated = self.server_state.default_headers
        if dated is not self.dated:
            self.dated = dated
            self.dated_bytes = b"".join(b"%s: %s\r\n" % header for header in dated)
        return self.dated_bytes

    # --- the connection

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        if self.waits_for_reader:
            self.waits_for_reader = False
            self.flow.resume_reading()

    def rest(self) -> None:
        """Nothing is under way. One timer a connection, not one a request, closes it when that lasts."""
        self.idle_since = self.loop.time()
        if self.idle_timer is None:
            self.idle_timer = self.loop.call_later(self.timeout_keep_alive, self.look)

    def look(self) -> None:
        """Close the connection, if it has rested for long enough."""
        self.idle_timer = None
        if self.idle_since == math.inf or self.transport.is_closing():
            return
        left_s = self.idle_since + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self.idle_timer = self.loop.call_later(left_s, self.look)
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone: nobody waits for its rows any more."""
        super().connection_lost(exc)
        if self.exchange is not None:
            self.exchange.abandon()
        if self.idle_timer is not None:
            self.idle_timer.cancel()


def head(answer: Answer, preamble: bytes, request_id: bytes, keep_alive: bool) -> bytes:
    """Status line and headers, in the order in which uvicorn has them."""
    extra = b"" if keep_alive else b"connection: close\r\n"
    if answer.headers:
        extra = b"".join(b"%s: %s\r\n" % header for header in answer.headers) + extra
    return HEAD % (
        STATUS_LINE[answer.status],
        preamble,
        answer.content_type,
        len(answer.body),
        request_id,
        answer.timing,
        extra,
    )
