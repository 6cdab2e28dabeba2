"""A connection by hand: bytes on a socket, and the answers taken apart."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

from tests.conftest import Running

PREDICT = b"POST /v1/predict HTTP/1.1\r\nhost: x\r\n"


def post(logits: str = "[1,2]", *, name: str = "", headers: bytes = b"") -> bytes:
    """A whole request on the wire; `name` comes back as its id."""
    body = f'{{"logits":{logits},"id":"{name}"}}'.encode()
    return PREDICT + headers + b"content-length: %d\r\n\r\n%s" % (len(body), body)


class Wire:
    """A connection and what has come over it."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.left = b""

    def send(self, sent: bytes) -> None:
        self.connection.sendall(sent)

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, headers, body."""
        head = self.until(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines if line)
        body = self.exactly(int(headers["content-length"]))
        return int(status.split()[1]), headers, body

    def until(self, end: bytes) -> bytes:
        while end not in self.left:
            self.receive()
        head, _, self.left = self.left.partition(end)
        return head

    def exactly(self, n: int) -> bytes:
        while len(self.left) < n:
            self.receive()
        body, self.left = self.left[:n], self.left[n:]
        return body

    def receive(self) -> None:
        part = self.connection.recv(65536)
        assert part, "the other side closed"
        self.left += part

    def closed(self) -> bool:
        """Whether the other side closes, with nothing more to say."""
        return not self.left and self.connection.recv(1) == b""


@contextmanager
def wire(running: Running) -> Iterator[Wire]:
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
        yield Wire(connection)


def ids(*answers: tuple[int, dict[str, str], bytes]) -> list[str]:
    return [json.loads(body)["id"] for _, _, body in answers]


def in_pieces(line: Wire, sent: bytes, *cuts: int) -> None:
    """Send so that each piece arrives alone."""
    line.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for start, stop in pairwise((0, *cuts, len(sent))):
        line.send(sent[start:stop])
        time.sleep(0.02)
