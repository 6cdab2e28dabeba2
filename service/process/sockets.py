"""The sockets that listen."""

import socket
from typing import Final

from service.errors import CannotStart

BACKLOG: Final = 2048


def listen(host: str, port: int) -> socket.socket:
    """A bound socket that listens: now, so that of two that start at once only one gets through.

    Raises:
        CannotStart: the port is taken, or the address is not this machine's.
    """
    return bind_socket(host, port, socket.SO_REUSEADDR, "--port (CALIBRANT_PORT)", listens=True)


def reserve(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen; it keeps the port for those that do, a socket a process.

    Raises:
        CannotStart: as `listen`.
    """
    option = "--grpc (CALIBRANT_GRPC)"
    # the socket that stays shares the port with anybody who shares: make sure first that there is nobody
    with bind_socket(host, port, socket.SO_REUSEADDR, option, listens=True) as first:
        port = first.getsockname()[1]
    return bind_socket(host, port, socket.SO_REUSEPORT, option, listens=False)


def bind_socket(host: str, port: int, how: int, option: str, *, listens: bool) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        found = socket.socket(family, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, how, 1)
        found.bind((host, port))
        if listens:
            found.listen(BACKLOG)
    except OSError as error:
        raise CannotStart(
            f"cannot listen on {host}:{port} ({error.strerror}): take another with {option} or --host"
        ) from error
    return found
