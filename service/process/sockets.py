"""The sockets that listen."""

import socket
import sys
from typing import Final

from service.errors import CannotStart

BACKLOG: Final = 2048
OPTION: Final = "--port (CALIBRANT_PORT)"
BALANCES: Final = sys.platform == "linux"
"""Whether connections are spread over the sockets that share a port; elsewhere the last one gets them all."""


def listen(host: str, port: int) -> socket.socket:
    """A bound socket that listens: now, so that of two that start at once only one gets through.

    Raises:
        CannotStart: the port is taken, or the address is not this machine's.
    """
    return bind_socket(host, port, (socket.SO_REUSEADDR,), OPTION, listens=True)


def listen_each(host: str, port: int, n: int) -> list[socket.socket]:
    """A socket that listens for each of `n` processes; one for all where the port's connections would not be spread.

    Of processes that wait at one socket the kernel wakes the same one again and again.

    Raises:
        CannotStart: as `listen`.
    """
    first = listen(host, port)
    if n == 1 or not BALANCES:
        return [first]
    # it made sure that nobody else is there, but shares the port with none
    port = first.getsockname()[1]
    first.close()
    shared = socket.SO_REUSEADDR, socket.SO_REUSEPORT
    return [bind_socket(host, port, shared, OPTION, listens=True) for _ in range(n)]


def reserve(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen; it keeps the port for those that do, a socket a process.

    Raises:
        CannotStart: as `listen`.
    """
    option = "--grpc (CALIBRANT_GRPC)"
    # the socket that stays shares the port with anybody who shares: make sure first that there is nobody
    with bind_socket(host, port, (socket.SO_REUSEADDR,), option, listens=True) as first:
        port = first.getsockname()[1]
    return bind_socket(host, port, (socket.SO_REUSEPORT,), option, listens=False)


def bind_socket(host: str, port: int, how: tuple[int, ...], option: str, *, listens: bool) -> socket.socket:
    found = None
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        found = socket.socket(family, socket.SOCK_STREAM)
        for each in how:
            found.setsockopt(socket.SOL_SOCKET, each, 1)
        found.bind((host, port))
        if listens:
            found.listen(BACKLOG)
    except OSError as error:
        if found is not None:
            found.close()
        raise CannotStart(
            f"cannot listen on {host}:{port} ({error.strerror}): take another with {option} or --host"
        ) from error
    return found
