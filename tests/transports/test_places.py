"""Which connections are one too many, and whose places they do not take."""

import socket
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from service.settings import Settings
from service.transports.limits import Limits
from service.transports.places import SPARE, SPARE_OF_ADDRESS, Connections
from tests.api.bodies import until
from tests.conftest import Running
from tests.transports.wire import Wire, post

Run = Callable[..., Running]
HEALTH = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"


def connections(n: int, n_of_address: int) -> Connections:
    """None so far, of so many."""
    return Connections(Limits.of(Settings(max_connections=n, max_connections_per_address=n_of_address)))


def wire_from(stack: ExitStack, running: Running, address: str) -> Wire:
    """A connection from an address of this machine."""
    line = socket.create_connection(("127.0.0.1", running.port), timeout=20, source_address=(address, 0))
    return Wire(stack.enter_context(line))


def test_addresses_are_counted_apart() -> None:
    counted = connections(0, 1)
    assert counted.enter("a") == (counted.served, None)
    assert counted.enter("b") == (counted.served, None)
    places, error = counted.enter("a")
    assert (places, str(error)) == (
        counted.beyond_address,
        "this address has too many connections; expected at most 1 (--max-connections-per-address)",
    )
    assert repr(counted) == "<Connections 2, 1 too many>"
    assert repr(counted.served) == "<Places 2 taken, by 2 addresses>"
    counted.served.leave("a")
    assert counted.enter("a") == (counted.served, None)


def test_one_address_has_a_share_of_what_is_spare() -> None:
    counted = connections(1, 1)
    counted.enter("a")
    found = [counted.enter("a")[0] for _ in range(SPARE)]
    assert found == [counted.beyond_address] * SPARE_OF_ADDRESS + [None] * (SPARE - SPARE_OF_ADDRESS)
    places, error = counted.enter("b")
    assert places is counted.beyond_all
    assert "--max-connections)" in str(error)


def test_without_a_bound_for_addresses_one_may_have_all_that_is_spare() -> None:
    counted = connections(1, 0)
    found = [counted.enter("a")[0] for _ in range(SPARE + 2)]
    assert found == [counted.served] + [counted.beyond_all] * SPARE + [None]
    assert not counted.served.by_address


def test_an_address_with_too_many_takes_no_place_of_others(run: Run) -> None:
    running = run(max_connections=10, max_connections_per_address=3)
    with ExitStack() as stack:
        greedy = [wire_from(stack, running, "127.0.0.3") for _ in range(20)]
        greedy[-1].send(HEALTH)
        assert greedy[-1].answer()[0] == 200
        other = wire_from(stack, running, "127.0.0.2")
        other.send(post())
        assert other.answer()[0] == 200
        greedy[5].send(post())
        assert greedy[5].answer()[0] == 503
        greedy[0].send(post())
        assert greedy[0].answer()[0] == 200
        until(lambda: running.service.connections.beyond_address.n == 0)  # they are ended soon
    until(lambda: running.service.connections.served.n == 0)


@pytest.mark.parametrize("option", ["max_connections", "max_connections_per_address"])
def test_beyond_any_bound_the_process_still_says_that_it_lives(run: Run, option: str) -> None:
    running = run(**{"max_connections": 0, option: 300})
    with ExitStack() as stack:
        lines = [wire_from(stack, running, "127.0.0.3") for _ in range(301)]
        lines[-1].send(HEALTH)
        status, headers, _ = lines[-1].answer()
        assert (status, headers["connection"]) == (200, "close")
