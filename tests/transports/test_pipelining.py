"""Requests behind an unfinished one: a few are parsed at a time, and none is lost or overtakes another."""

import random
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from service.transports.ordinary import OrdinaryProtocol
from service.transports.pipelining import MAX_PIPELINED, PIECE
from tests.api.bodies import held, until
from tests.conftest import Running
from tests.transports.conftest import PROTOCOLS
from tests.transports.played import connect, with_app
from tests.transports.wire import ids, post, wire

Run = Callable[..., Running]
GET = b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n"
MOST = MAX_PIPELINED + PIECE // len(GET) + 1


@pytest.mark.parametrize("kind", PROTOCOLS.values(), ids=PROTOCOLS)
def test_of_thousands_of_requests_a_few_are_parsed(kind: type[OrdinaryProtocol]) -> None:
    async def test(app: Any) -> None:
        protocol, played = connect(app, kind)
        protocol.data_received(GET * 5000)
        assert len(protocol.pipeline) < MOST
        assert (app.budget.taken, played.reads) == (len(protocol.unread), False)
        protocol.data_received(GET * 10)  # what comes all the same waits behind the others
        assert len(protocol.pipeline) < MOST
        protocol.connection_lost(None)
        assert app.budget.taken == 0

    with_app(test)


def test_none_is_lost_and_none_overtakes_another(run: Run) -> None:
    running = run()
    draw = random.Random(7)
    names = [f"n{i}" for i in range(1500)]
    sent = [post(name=name, headers=draw.choice([b"", b"x-request-id: %s\r\n" % name.encode()])) for name in names]
    with wire(running) as line, held(running) as hold:
        line.send(sent[0])
        hold.wait()
        for piece in (b"".join(sent[1:400]), b"".join(sent[400:])):
            line.send(piece)
        until(lambda: running.service.budget.taken > 0)
        hold.go.set()
        assert ids(*(line.answer() for _ in names)) == names
    until(lambda: running.service.budget.taken == 0)


def test_pages_and_predictions_that_are_mixed_keep_their_order(run: Run) -> None:
    running = run()
    large = post("[" + ",".join(["0.25"] * 3000) + "]", name="large")
    with wire(running) as line:
        line.send((GET + post(name="small") + large) * 200)
        for _ in range(200):
            assert b'"models"' in line.answer()[2]
            assert ids(line.answer(), line.answer()) == ["small", "large"]
    until(lambda: running.service.budget.taken == 0)


# a page, whose answers soon fill what the kernel takes for the client
@pytest.mark.parametrize("sent", [b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n", post()], ids=["page", "predict"])
def test_clients_that_read_nothing_have_few_requests_in_memory(run: Run, sent: bytes) -> None:
    running = run(min_bytes_per_s=0)
    connections: Any = running.server.server_state.connections

    def paused() -> bool:  # until then there is room in the kernel, however seldom the service comes to read
        for line, rest in zip(lines, unsent, strict=True):
            with suppress(BlockingIOError):
                while True:
                    rest[:] = rest or sent * 1000
                    del rest[: line.connection.send(rest)]
        return len(connections) == len(lines) and all(one.flow.read_paused for one in connections)

    unsent = [bytearray() for _ in range(5)]
    with ExitStack() as stack:
        lines = [stack.enter_context(wire(running)) for _ in range(5)]
        for line in lines:
            line.connection.setblocking(False)
        until(paused)
        assert all(len(one.pipeline) < MOST for one in connections)
        assert all(one.transport.get_write_buffer_size() < 2**18 for one in connections)
    until(lambda: not running.server.server_state.connections)
    until(lambda: running.service.budget.taken == 0)
