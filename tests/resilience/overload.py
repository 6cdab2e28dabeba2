"""Three times what the service can: `python -m tests.resilience.overload --seconds 60`; `make soak` does.

First its capacity is measured, by clients that ask as soon as they are answered; then requests of mixed sizes are due
at random moments, whatever comes back; then the capacity is measured again. Times count from when a request was due,
and from when it was sent: what lies between is the lag of this client.
"""

import argparse
import asyncio
import json
import random
import re
import signal
import sys
import time
from collections import deque
from collections.abc import Callable

import numpy as np

from tests.processes import Process, serve
from tests.transports.wire import PREDICT

MIX = ((0.6, 1, 10), (0.3, 1, 1000), (0.1, 64, 1000))  # share, rows, classes
TIMEOUT_MS = 1000
MOST = 2000  # connections
LENGTH = re.compile(rb"content-length: (\d+)")
Heard = tuple[int, float, float]  # status, seconds since it was due, and since it was sent


def build_requests() -> list[bytes]:
    """One of each size."""
    random_numbers = np.random.default_rng(0)
    built = []
    for _, n, k in MIX:
        logits = random_numbers.standard_normal((n, k)).round(4).tolist()
        body = json.dumps({"logits": logits}).encode()
        built.append(PREDICT + b"content-length: %d\r\n\r\n%s" % (len(body), body))
    return built


class Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, done: Callable[["Connection", Heard], None]) -> None:
        self.done = done
        self.received = bytearray()
        self.due = self.sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def send(self, request: bytes, due: float) -> None:
        self.due, self.sent = due, time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.received += data
        end = self.received.find(b"\r\n\r\n")
        found = LENGTH.search(self.received, 0, max(end, 0)) if end >= 0 else None
        if found and len(self.received) >= end + 4 + int(found[1]):
            status, now = int(self.received[9:12]), time.perf_counter()
            self.received.clear()
            self.done(self, (status, now - self.due, now - self.sent))


async def connect(port: int, done: Callable[[Connection, Heard], None]) -> Connection:
    _, connection = await asyncio.get_running_loop().create_connection(lambda: Connection(done), "127.0.0.1", port)
    return connection


class Load:
    """Requests of the mix, drawn with a seed."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.requests = build_requests()
        self.random = random.Random(0)
        self.heard: list[Heard] = []

    def draw(self) -> bytes:
        return self.random.choices(self.requests, [share for share, _, _ in MIX])[0]

    async def closed(self, seconds: float, n: int = 32) -> float:
        """Answers a second to `n` clients that ask as soon as they are answered."""
        self.heard, over = [], time.perf_counter() + seconds

        def done(connection: Connection, heard: Heard) -> None:
            self.heard.append(heard)
            if (now := time.perf_counter()) < over:
                connection.send(self.draw(), now)

        connections = [await connect(self.port, done) for _ in range(n)]
        for connection in connections:
            connection.send(self.draw(), time.perf_counter())
        await asyncio.sleep(seconds)
        rate = len(self.heard) / seconds
        await asyncio.sleep(0.5)
        for connection in connections:
            connection.transport.abort()
        return rate

    async def opened(self, seconds: float, per_second: float) -> int:
        """Requests that are due at random moments, in `heard`; how many found no connection in time."""
        self.heard = []
        free: list[Connection] = []
        waiting: deque[float] = deque()

        def done(connection: Connection, heard: Heard) -> None:
            self.heard.append(heard)
            if waiting:
                connection.send(self.draw(), waiting.popleft())
            else:
                free.append(connection)

        every = [await connect(self.port, done) for _ in range(MOST)]
        free += every
        at = time.perf_counter()
        over = at + seconds
        while at < over:
            at += self.random.expovariate(per_second)
            if (wait := at - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            if free:
                free.pop().send(self.draw(), at)
            else:
                waiting.append(at)
        n_unsent = len(waiting)
        waiting.clear()
        end = time.perf_counter() + 5
        while len(free) < MOST and time.perf_counter() < end:  # noqa: ASYNC110 - a count, no event
            await asyncio.sleep(0.05)
        for connection in every:
            connection.transport.abort()
        return n_unsent


def p99_ms(seconds: list[float]) -> float | None:
    return round(1e3 * float(np.percentile(seconds, 99)), 1) if seconds else None


async def measure(process: Process, seconds: float) -> dict[str, object]:
    """What was seen."""
    load = Load(int(process.url.rpartition(":")[2]))
    capacity = await load.closed(8)
    memory = process.resident_bytes
    n_unsent = await load.opened(seconds, 3 * capacity)
    heard, peak = load.heard, process.resident_peak_bytes
    again = await load.closed(1), await load.closed(8)
    right = [one for one in heard if one[0] == 200]
    refused = [one for one in heard if one[0] != 200]
    counts = {str(status): sum(one[0] == status for one in heard) for status in sorted({one[0] for one in heard})}
    return {
        "capacity": round(capacity),
        "due a second": round(3 * capacity),
        "answers": counts,
        "found no connection": n_unsent,
        "goodput of capacity": round(len(right) / seconds / capacity, 3),
        "accepted p99 ms, since sent": p99_ms([one[2] for one in right]),
        "refused p99 ms, since sent": p99_ms([one[2] for one in refused]),
        "lag of this client p99 ms": p99_ms([one[1] - one[2] for one in heard]),
        "capacity in the second after, and in eight more": [round(rate) for rate in again],
        "MB before, at most, after": [round(n / 2**20) for n in (memory, peak, process.resident_bytes)],
    }


def main(seconds: float, transport: str, options: list[str]) -> int:
    """Print it; 1 where the service did not end well."""
    with serve("--no-watch", transport, "--default-timeout-ms", TIMEOUT_MS, *options) as process:
        seen = asyncio.run(measure(process, seconds))
        code, logged = process.end(signal.SIGTERM)
    sys.stdout.write(json.dumps({"transport": transport} | seen | {"exit code": code, "logged": logged}) + "\n")
    return int(bool(code or logged))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--plain", action="store_true", help="over ASGI")
    options, rest = parser.parse_known_args()
    sys.exit(main(options.seconds, "--no-fast-http" if options.plain else "--fast-http", rest))
