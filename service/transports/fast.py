"""The fast transport: predictions go from uvicorn's HTTP parser to the handler and back, without an ASGI task.

`FastProtocol` is the ordinary protocol (`ordinary.py`, which knows uvicorn's insides), with one kind of request taken
out: a POST to predict or infer that comes when nothing is under way on its connection. It is handed to the same
handler that the ASGI transport calls, and its answer is written to the socket. Whatever is unusual (another path or
method, `Expect`, an upgrade, a request behind an unfinished one) goes the ordinary way, through uvicorn.

One request at a time is under way on a connection. While it is, a `Cycle` (`cycle.py`) stands where uvicorn keeps its
own request cycle, so that uvicorn queues what is pipelined behind it, and waits for it when it shuts down.

`fast_known.py` has the form of it that serves: it skips parser and gate where the same headers come again.
"""

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.errors import AnsweredError, BodyTooLarge, RateExceeded, Unavailable
from service.telemetry.access import AccessLine
from service.transports.cycle import Cycle
from service.transports.endpoints import Target, find_target
from service.transports.ordinary import REST, OrdinaryProtocol
from service.transports.scopes import PREDICT_SCOPE


class FastProtocol(OrdinaryProtocol):
    """A connection."""

    __slots__ = ("gate", "mine", "own_cycle", "parts")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.gate = self.dispatcher.gate
        self.mine = False  # the message that is being read is for this transport
        self.own_cycle = Cycle(self)
        self.parts: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        """Let it in, unless there are too many."""
        super().connection_made(transport)
        self.own_cycle.transport, self.own_cycle.flow = transport, self.flow

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        super().connection_lost(exc)
        self.own_cycle.connection = None  # each would keep the other, with what it has read, until collected

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
        self.own_cycle.take(target, self.url, self.headers, request_id, key, error, keep_alive)
        if isinstance(error, (BodyTooLarge, RateExceeded, Unavailable)):
            self.own_cycle.reply(self.dispatcher.refuse(error))
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
            if self.own_cycle.error is None:  # a refused one waits for its end alone
                self.parts.append(body)
            if self.n_body > self.gate.max_body_bytes:
                self.parts = []
                self.own_cycle.reply(self.dispatcher.refuse(self.gate.too_large()))
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
            self.own_cycle.hand_over(parts[0] if len(parts) == 1 else b"".join(parts))

    # --- the connection

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        if self.own_cycle.waits_for_reader:
            self.own_cycle.waits_for_reader = False
            self.flow.resume_reading()

    def forget_cycles(self) -> None:
        """Nobody waits for this transport's own answer any more, either."""
        super().forget_cycles()
        self.own_cycle.forget()
        self.parts = []

    def open_line(self) -> AccessLine | None:
        """The line of the request whose body arrives, whoever takes that."""
        cycle: Any = self.cycle
        return self.own_cycle.line if cycle is self.own_cycle else super().open_line()
