"""Slow headers, bodies and readers at once, beside normal traffic: they are ended, and nothing stays of them."""

import selectors
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.api.bodies import until
from tests.processes import Process, serve
from tests.resilience.traffic import Traffic
from tests.transports.wire import PREDICT

N_HEADERS, N_BODIES, N_READERS = 300, 60, 20
NUMBERS = b"[" + b",".join([b"0.25"] * 20_000) + b"]"
LARGE = b'{"logits":%s}' % NUMBERS
ASKS = PREDICT + b"content-length: %d\r\n\r\n%s" % (len(LARGE), LARGE)


def n_descriptors(process: Process) -> int:
    """Files and sockets that it has open."""
    return len(list(Path(f"/proc/{process.popen.pid}/fd").iterdir()))


def connect(stack: ExitStack, port: int, sent: bytes) -> socket.socket:
    """A connection that does not wait; as much of `sent` as goes."""
    client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
    client.setblocking(False)
    try:
        while sent:
            sent = sent[client.send(sent) :]
    except BlockingIOError:
        pass
    return client


def drip(clients: list[socket.socket], piece: bytes, seconds: float) -> int:
    """Send a little to each, again and again; how many were ended meanwhile."""
    left, end = set(clients), time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for client in left:
            selector.register(client, selectors.EVENT_READ)
        while left and time.monotonic() < end:
            for key, _ in selector.select(timeout=0.2):
                ended = key.fileobj
                assert isinstance(ended, socket.socket)
                try:
                    gone = not ended.recv(65536)
                except OSError:
                    gone = True
                if gone:
                    selector.unregister(ended)
                    left.discard(ended)
            for client in left:
                try:
                    client.send(piece)
                except OSError:  # its end is read in the next round
                    continue
    return len(clients) - len(left)


@pytest.mark.parametrize("transport", ["--fast-http", "--no-fast-http"])
def test_slow_clients_are_ended_and_nobody_else_notices(transport: str) -> None:
    limits = ("--header-timeout-s", 1, "--body-timeout-s", 2)
    with serve("--no-watch", transport, *limits) as process, ExitStack() as stack:
        port = int(process.url.rpartition(":")[2])
        before, memory = n_descriptors(process), process.resident_bytes
        with Traffic(process.url) as traffic:
            readers = [connect(stack, port, ASKS * 100) for _ in range(N_READERS)]
            headers = [connect(stack, port, PREDICT) for _ in range(N_HEADERS)]
            bodies = [connect(stack, port, PREDICT + b"content-length: 100000\r\n\r\n") for _ in range(N_BODIES)]
            assert drip(headers, b"a: b\r\n", 30) == N_HEADERS
            assert drip(bodies, b" ", 30) == N_BODIES
            until(lambda: n_descriptors(process) <= before + 2)  # the readers are ended after 5 s without a byte
        assert len(readers) == N_READERS
        assert set(traffic.statuses) == {200}
        assert sorted(traffic.took_s)[len(traffic.took_s) // 2] < 0.5
        until(lambda: process.resident_bytes < memory + 40 * 2**20)
