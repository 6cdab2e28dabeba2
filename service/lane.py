"""The fast lane: predictions go from uvicorn's HTTP parser to the handler and back, without an ASGI task.

The only room that knows uvicorn's insides. `FastLane` is uvicorn's own httptools protocol, with one kind of request
taken out: a POST to predict or infer that comes when nothing is under way on its connection. It is handed to the same
handler that the ASGI lane calls, and its answer is written to the transport. Whatever is unusual (another path or
method, `Expect`, an upgrade, a request behind an unfinished one) goes the ordinary way, through uvicorn.

One request at a time is in flight on a connection. While it is, a `Flight` stands where uvicorn keeps its own request
cycle, so that uvicorn queues what is pipelined behind it, and waits for it when it shuts down.
"""

import asyncio
import math
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.api.answer import Answer, Target, new_request_id, refusal
from service.api.asgi import Dispatcher
from service.api.exchange import Exchange
from service.api.routes import target
from service.errors import AnsweredError, BodyTooLarge, NotJSON, NotReady
from service.logs import access

# A body this large is written beside its head; a smaller one is cheaper joined to it.
LARGE_BODY: Final = 2**16
HEAD: Final = b"%s%scontent-type: %s\r\ncontent-length: %d\r\nx-request-id: %s\r\nserver-timing: %s\r\n%s\r\n"


class Unheard:
    """The event that uvicorn sets on its cycles; nobody waits for a flight's."""

    def set(self) -> None:
        """Nothing happens."""


class Flight:
    """One request in flight, with the attributes that uvicorn looks at in its own cycles."""

    __slots__ = (
        "disconnected",
        "error",
        "exchange",
        "keep_alive",
        "lane",
        "n_bytes",
        "parts",
        "request_id",
        "response_complete",
        "to",
    )

    message_event: Final = Unheard()

    def __init__(
        self, lane: "FastLane", to: Target, request_id: bytes, error: AnsweredError | None, keep_alive: bool
    ) -> None:
        self.lane = lane
        self.to = to
        self.request_id = request_id
        self.error = error
        self.keep_alive = keep_alive
        self.parts: list[bytes] = []
        self.n_bytes = 0
        self.exchange: Exchange | None = None
        self.response_complete = False
        self.disconnected = False

    def land(self, answer: Answer) -> None:
        """The answer is there: write it."""
        self.response_complete = True
        self.lane.landed(self, answer)


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
        self.reading: Flight | None = None  # whose message is being read; none is uvicorn's
        self.flying: Flight | None = None  # whose answer is owed
        self.dated: list[tuple[bytes, bytes]] | None = None
        self.dated_bytes = b""
        self.waits_for_reader = False
        self.idle_since = math.inf
        self.idle_timer: asyncio.TimerHandle | None = None

    # --- reading

    def on_message_begin(self) -> None:
        """Put off what uvicorn prepares until it is known who takes the request."""
        self.reading = None
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
        request_id, error = self.dispatcher.gate.check(self.headers, to.face)
        keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        flight = Flight(self, to, request_id, error, keep_alive)
        self.reading = self.flying = flight
        self.cycle = flight  # type: ignore[assignment]  # it is one, as far as uvicorn looks
        if isinstance(error, BodyTooLarge):
            flight.land(self.dispatcher.refuse(error))

    def fast_target(self) -> Target | None:
        """Whom the request means, if it is one for this lane."""
        cycle: Any = self.cycle
        if cycle is not None and not cycle.response_complete:
            return None
        if self.expect_100_continue or self.parser.get_method() != b"POST" or self.parser.should_upgrade():
            return None
        return target(self.url)

    def on_body(self, body: bytes) -> None:
        """Keep a part; what comes after an early answer is read and dropped."""
        flight = self.reading
        if flight is None:
            super().on_body(body)
        elif not flight.response_complete:
            flight.parts.append(body)
            flight.n_bytes += len(body)
            if flight.n_bytes > self.dispatcher.gate.max_body_bytes:
                flight.parts.clear()
                flight.land(self.dispatcher.refuse(self.dispatcher.gate.too_large()))

    def on_message_complete(self) -> None:
        """Hand the request over."""
        flight = self.reading
        if flight is None:
            super().on_message_complete()
        elif flight.response_complete:
            self.rest()
        elif flight.error is not None or self.dispatcher.predict is None:
            flight.land(self.dispatcher.refuse(flight.error or NotReady("the service is starting")))
        else:
            parts, flight.parts = flight.parts, []
            body = parts[0] if len(parts) == 1 else b"".join(parts)
            flight.exchange = self.dispatcher.predict(flight.to, self.headers, flight.request_id, body, flight.land)

    # --- writing

    def landed(self, flight: Flight, answer: Answer) -> None:
        """Write an answer, and go on with whatever is behind it."""
        self.flying = None
        if self.transport.is_closing():
            return
        if self.dispatcher.access_log:
            access("POST", self.url, answer.status, flight.request_id)
        if self.dispatcher.draining and not self.pipeline:
            flight.keep_alive = False  # the client shall go elsewhere with its next request
        above = head(answer, self.preamble(), flight.request_id, flight.keep_alive)
        if len(answer.body) < LARGE_BODY:
            self.transport.write(above + answer.body)
        else:
            self.transport.writelines((above, answer.body))
        if not flight.keep_alive:
            self.server_state.total_requests += 1
            self.transport.close()
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
        if self.flying is not None and self.flying.exchange is not None:
            self.flying.exchange.abandon()
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
