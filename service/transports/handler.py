"""The handler: what every transport calls with a request that came whole. Callbacks only; knows no transport."""

import time
from functools import partial
from typing import Any, Protocol

from service.engine.batcher import MANY
from service.errors import NotReady, QueueFull
from service.telemetry.observer import Observer
from service.transports.budget import METERED_FROM
from service.transports.endpoints import Headers, Target, read_framing
from service.transports.exchange import Exchange, Surroundings, unpack_body
from service.transports.keys import Key
from service.transports.response import Reply, error_response

clock = time.perf_counter
# Decoding a larger body takes about half a millisecond, and waits for a turn of its own.
OWN_TURN_FROM = 2**18
# Of the time that a request may take, what may be expected for those before it: expectations are not kept to the
# millisecond. Some more once its body is there, for those that came between its head and its end.
HEAD_SHARE = 0.3
WHOLE_SHARE = 0.8


class Begun(Protocol):
    """A request that was begun."""

    def abandon(self) -> None:
        """The client has gone: no reply is wanted any more."""


class Handles(Protocol):
    """A handler, or what stands in its place before the start."""

    def admit(self, n_bytes: int) -> None:
        """Pass a request whose body of `n_bytes` is still to come; raises what refuses it."""

    def begin(
        self,
        target: Target,
        headers: Headers,
        request_id: bytes,
        body: Any,
        reply: Reply,
        n_bytes: int,
        n_connections: int = MANY,
        key: Key | None = None,
    ) -> Begun:
        """Answer `body`, bytes or a message, by one call of `reply`, now or later; what is returned can be abandoned.

        `n_bytes` is the body's size; of `n_connections` clients one alone is nobody to share a batch with;
        `key` is whose rows they are.
        """


class Handler(Surroundings):
    """Answers from the models of a repository."""

    def admit(self, n_bytes: int) -> None:
        """Pass a request whose body of `n_bytes` is still to come: to refuse it now costs least, and is soonest.

        Raises:
            QueueFull: no room among the waiting rows, or the bodies before this one take too long.
            NotReady: closed, or dead.
        """
        self.batcher.admit()
        if n_bytes >= OWN_TURN_FROM:
            self.check_wait(HEAD_SHARE)
            self.turns.expect()

    def check_wait(self, share: float) -> None:
        """Pass where the large bodies that wait take at most a share of what a request may; raises QueueFull."""
        wait_s, most_s = self.turns.expected_wait_s, share * self.default_timeout_s
        if wait_s > most_s:
            raise QueueFull(
                f"large bodies wait for about {wait_s:.3g} s, expected at most {most_s:.3g} s; try again in a moment, "
                "or allow more (--default-timeout-ms)",
                code="deadline_too_close",
            )

    def begin(
        self,
        target: Target,
        headers: Headers,
        request_id: bytes,
        body: Any,
        reply: Reply,
        n_bytes: int,
        n_connections: int = MANY,
        key: Key | None = None,
    ) -> Exchange:
        exchange = Exchange(self, target, request_id, body, reply, key)
        self.observer.began(exchange, headers)
        if target.endpoint.framed:
            exchange.framing = read_framing(headers)
            if exchange.framing.encoding is not None:
                unpack_body(exchange, exchange.framing.encoding, partial(self.take_turn, exchange))
                return exchange
        if n_bytes < METERED_FROM:
            exchange.begin(n_connections)
        else:
            self.take_turn(exchange, n_bytes, n_connections)
        return exchange

    def take_turn(self, exchange: Exchange, n_bytes: int, n_connections: int = MANY) -> None:
        """Begin an exchange whose body is there: at once if it is small, else in a turn, if that comes in time."""
        if n_bytes >= METERED_FROM:
            exchange.n_bytes = n_bytes
        if n_bytes < OWN_TURN_FROM:
            exchange.begin(n_connections)
            return
        try:
            self.check_wait(WHOLE_SHARE)
        except QueueFull as error:
            exchange.settle(exchange.refuse(error))
        else:
            self.turns.decode(partial(exchange.begin, came_at=clock()))


class Starting:
    """What stands in the handler's place before the service has started: it refuses."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer

    def admit(self, n_bytes: int) -> None:
        """Let the body come: `begin` refuses it."""

    def begin(
        self,
        target: Target,  # noqa: ARG002 - the signature of a handler
        headers: Headers,  # noqa: ARG002
        request_id: bytes,  # noqa: ARG002
        body: Any,  # noqa: ARG002
        reply: Reply,
        n_bytes: int,  # noqa: ARG002
        n_connections: int = MANY,  # noqa: ARG002
        key: Key | None = None,  # noqa: ARG002
    ) -> "Starting":
        error = NotReady("the service is starting")
        response = error_response(error)
        self.observer.refused(None, error, response)
        reply(response)
        return self

    def abandon(self) -> None:
        """Nothing is under way."""
