"""Listening sockets: one port, one for each worker where the kernel spreads connections over them."""

import socket

import pytest

from service.errors import CannotStart
from service.process.sockets import BALANCES, listen, listen_each


@pytest.mark.skipif(not BALANCES, reason="all workers share one socket here")
def test_each_of_several_workers_has_a_socket_at_the_port() -> None:
    sockets = listen_each("127.0.0.1", 0, 3)
    try:
        assert len({each.fileno() for each in sockets}) == 3
        assert len({each.getsockname() for each in sockets}) == 1
        assert all(each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) for each in sockets)
    finally:
        for each in sockets:
            each.close()


def test_one_socket_is_for_all_where_connections_are_not_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.process.sockets.BALANCES", False)
    [only] = listen_each("127.0.0.1", 0, 3)
    only.close()


@pytest.mark.parametrize(("there", "wanted"), [(1, 1), (1, 3), (3, 1), (3, 3)])
def test_a_port_that_somebody_serves_is_refused(there: int, wanted: int) -> None:
    sockets = listen_each("127.0.0.1", 0, there)
    port = sockets[0].getsockname()[1]
    try:
        with pytest.raises(CannotStart, match=rf"cannot listen on 127.0.0.1:{port} \(Address already in use\)"):
            listen_each("127.0.0.1", port, wanted)
    finally:
        for each in sockets:
            each.close()


def test_a_port_can_be_taken_again_at_once_by_any_number_of_workers() -> None:
    [first] = listen_each("127.0.0.1", 0, 1)
    port = first.getsockname()[1]
    for n in (3, 1, 2):
        with socket.create_connection(("127.0.0.1", port)), first.accept()[0] as served:
            served.shutdown(socket.SHUT_RDWR)  # the server closes first, and its side stays in TIME_WAIT
        first.close()
        first, *others = listen_each("127.0.0.1", port, n)
        for each in others:
            each.close()
    first.close()
    with listen("127.0.0.1", port):
        pass
