"""The fast transport: predictions go from uvicorn's HTTP parser to the handler and back, without an ASGI task.

`FastProtocol` is the ordinary protocol (`ordinary.py`, which knows uvicorn's insides), with one kind of request taken
out: a POST to predict or infer that comes when nothing is under way on its connection. It is handed to the same
handler that the ASGI transport calls, and its answer is written to the socket. Whatever is unusual (another path or
method, `Expect`, an upgrade, a request behind an unfinished one) goes the ordinary way, through uvicorn.

One request at a time is under way on a connection. While it is, a `Cycle` stands where uvicorn keeps its own request
cycle, so that uvicorn queues what is pipelined behind it, and waits for it when it shuts down.

`fast_known.py` has the form of it that serves: it skips parser and gate where the same headers come again.
"""

from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.errors import AnsweredError, BodyTooLarge, RateExceeded, Unavailable
from service.telemetry.logs import log_access
from service.transports.endpoints import Target, find_target
from service.transports.handler import Begun
from service.transports.keys import Key
from service.transports.ordinary import REST, OrdinaryProtocol
from service.transports.response import Response
from service.transports.scopes import PREDICT_SCOPE
from service.transports.section import write_headers

# A body this large is written beside its header section; a smaller one is cheaper joined to it.
JOINED_BELOW: Final = 2**16


class Unheard:
    """The event that uvicorn sets on its cycles; nobody waits for ours."""

    def set(self) -> None:
        """Do nothing."""


class Cycle:
    """What stands where uvicorn keeps a request cycle of its own, with the attributes that it looks at there."""

    __slots__ = ("disconnected", "keep_alive", "response_complete")

    message_event: Final = Unheard()
    response_started: Final = False

    def __init__(self) -> None:
        self.keep_alive = True
        self.response_complete = True
        self.disconnected = False


class FastProtocol(OrdinaryProtocol):
    """A connection."""

    __slots__ = (
        "begun",
        "dated",
        "dated_bytes",
        "error",
        "gate",
        "key",
        "mine",
        "own_cycle",
        "parts",
        "path",
        "request_id",
        "target",
        "waits_for_reader",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.gate = self.dispatcher.gate
        self.mine = False  # the message that is being read is for this transport
        self.own_cycle = Cycle()
        self.target: Target
        self.path: bytes
        self.request_id: bytes
        self.key: Key | None
        self.error: AnsweredError | None
        self.parts: list[bytes] = []
        self.begun: Begun | None = None  # the request whose answer is owed
        self.dated: list[tuple[bytes, bytes]] | None = None
        self.dated_bytes = b""
        self.waits_for_reader = False

    # --- reading

    def on_message_begin(self) -> None:
        """Put off what uvicorn prepares until it is known who takes the request."""
        self.begin_message()
        self.mine = False
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        """Take the request, or leave it to uvicorn."""
        self.begin_body()
        target = self.own_target()
        if target is None:
            url, headers, expects = self.url, self.headers, self.expect_100_continue
            HttpToolsProtocol.on_message_begin(self)
            self.url, self.expect_100_continue = url, expects
            self.headers.extend(headers)
            self.begin_cycle()
            return
        request_id, key, error = self.gate.check(self.headers, target.endpoint, PREDICT_SCOPE)
        keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        self.mine = True
        self.parts = []
        if error is None:
            error = self.reserve_error()
        self.take(target, request_id, key, error, keep_alive)
        if isinstance(error, (BodyTooLarge, RateExceeded, Unavailable)):
            self.reply(self.dispatcher.refuse(error))
            self.await_body()  # to drop it

    def reserve_error(self) -> AnsweredError | None:
        """Have room for the body, or say why there is none."""
        try:
            self.reserve_announced()
        except AnsweredError as error:
            return error
        return None

    def own_target(self) -> Target | None:
        """Whom the request means, if it is one for this transport."""
        if self.busy() or self.expect_100_continue or self.parser.should_upgrade():
            return None
        return find_target(self.url) if self.parser.get_method() == b"POST" else None

    def on_body(self, body: bytes) -> None:
        """Keep a part; what comes after an early answer is read and dropped."""
        if not self.mine:
            super().on_body(body)
            return
        self.n_body += len(body)
        if not self.own_cycle.response_complete:
            if self.error is None:  # a refused one waits for its end alone
                self.parts.append(body)
            if self.n_body > self.gate.max_body_bytes:
                self.parts = []
                self.reply(self.dispatcher.refuse(self.gate.too_large()))
                self.await_body()

    def on_message_complete(self) -> None:
        """Hand the request over."""
        if not self.mine:
            super().on_message_complete()
            return
        self.phase = REST
        self.timer.stop()
        if self.own_cycle.response_complete:
            self.timer.set(self.timeout_keep_alive)
        else:
            parts, self.parts = self.parts, []
            self.hand_over(parts[0] if len(parts) == 1 else b"".join(parts))

    # --- the request

    def take(
        self, target: Target, request_id: bytes, key: Key | None, error: AnsweredError | None, keep_alive: bool
    ) -> None:
        """An answer is owed from now on."""
        cycle = self.own_cycle
        cycle.keep_alive = keep_alive and self.n_requests != self.limits.max_requests_per_connection
        cycle.response_complete = False
        self.cycle = cycle  # type: ignore[assignment]  # it is one, as far as uvicorn looks
        self.target = target
        self.path = self.url  # uvicorn's changes with what is pipelined behind
        self.request_id = request_id
        self.key = key
        self.error = error

    def hand_over(self, body: bytes) -> None:
        """The request is there: let the handler answer it, unless it is refused."""
        if self.error is not None:
            self.reply(self.dispatcher.refuse(self.error))
            return
        begin = self.dispatcher.handler.begin
        n_connections = len(self.connections)
        begun = begin(self.target, self.headers, self.request_id, body, self.reply, len(body), n_connections, self.key)
        self.begun = None if self.own_cycle.response_complete else begun

    def reply(self, response: Response) -> None:
        """Write the answer, and go on with whatever is behind it."""
        cycle = self.own_cycle
        cycle.response_complete = True
        self.begun = None
        transport = self.transport
        if transport.is_closing():
            return
        if self.dispatcher.access_log:
            log_access("POST", self.path, response.status, self.request_id, response.request)
        if self.dispatcher.draining and not self.pipeline:
            cycle.keep_alive = False  # the client shall go elsewhere with its next request
        section = write_headers(response, self.dated_headers(), self.request_id, cycle.keep_alive)
        if len(response.body) < JOINED_BELOW:
            transport.write(section + response.body)
        else:
            transport.writelines((section, response.body))
        if self.arriving and not self.pipeline:
            self.release()
        if not cycle.keep_alive:
            self.server_state.total_requests += 1
            self.close()
        elif self.pipeline:
            self.on_response_complete()
        else:
            self.server_state.total_requests += 1
            self.timer.set(self.timeout_keep_alive)
            if self.flow.write_paused and not self.flow.read_paused:
                # who does not read answers gets no further ones
                self.waits_for_reader = True
                self.flow.pause_reading()

    def dated_headers(self) -> bytes:
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

    def forget_cycles(self) -> None:
        """Nobody waits for this transport's own answer any more, either."""
        super().forget_cycles()
        self.own_cycle.response_complete = True
        self.parts = []
        if self.begun is not None:
            self.begun.abandon()
            self.begun = None
