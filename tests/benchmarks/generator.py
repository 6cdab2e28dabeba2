"""A load generator for where wrk is not: one process, N connections, each sends as soon as it has its answer.

Or open loop, as wrk cannot: requests are due at random times (Poisson), and those for which no connection is free wait
here, which counts.

Run as a program; it says what it measured as one line of JSON, as `post.lua` does. It costs several times as much as
wrk for a request, so that a fast server waits for it: good for comparing large requests, and for tests.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import deque
from pathlib import Path
from typing import Final

TIMER_S: Final = 0.002  # the loop's timers are no finer than a millisecond
LAST_ANSWERS_S: Final = 10.0  # how long what is in flight at the end may take


class Tally:
    """What all connections have seen: seconds per answer, and how many were wrong; open loop: what waits for whom."""

    def __init__(self, per_second: float | None = None) -> None:
        self.seconds: list[float] = []
        self.n_errors = 0
        self.over = False
        self.per_second = per_second
        self.due: deque[float] = deque()
        self.free: deque[Connection] = deque()  # who has rested longest is first, before the server closes it

    async def call(self, seconds: float) -> None:
        """Let requests be due for so long, at random times."""
        assert self.per_second is not None
        drawn = random.Random(0)
        now = time.perf_counter()
        at, end = now, now + seconds
        while (at := at + drawn.expovariate(self.per_second)) < end:
            while (wait := at - time.perf_counter()) > 0:  # noqa: ASYNC110 - a clock has no event
                await asyncio.sleep(wait - TIMER_S if wait > TIMER_S else 0)
            self.due.append(at)
            if self.free:
                self.free.popleft().send(self.due.popleft())


class Connection(asyncio.Protocol):
    """One connection: raw HTTP, with no more parsing than the end of an answer takes."""

    def __init__(self, request: bytes, tally: Tally) -> None:
        self.request = request
        self.tally = tally
        self.received = bytearray()
        self.sent_at = 0.0
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.send_next()

    def send_next(self) -> None:
        """Send a request, in an open loop when one is due."""
        if self.tally.per_second is None:
            self.send(time.perf_counter())
        elif self.tally.due:
            self.send(self.tally.due.popleft())
        else:
            self.tally.free.append(self)

    def send(self, due: float) -> None:
        """Send the request that is due since then."""
        self.received.clear()
        self.sent_at = due
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        """Count an answer once it is whole, and send again."""
        self.received += data
        end = self.received.find(b"\r\n\r\n") + 4
        if end < 4 or len(self.received) < end + content_length(self.received[:end]):
            return
        self.tally.seconds.append(time.perf_counter() - self.sent_at)
        self.tally.n_errors += b" 200 " not in self.received[:16]
        if self.tally.over:
            self.transport.close()
        else:
            self.send_next()

    def connection_lost(self, exc: Exception | None) -> None:
        """The server must not close it before the end."""
        self.tally.n_errors += not self.tally.over
        self.gone.set_result(None)


def content_length(head: bytes | bytearray) -> int:
    """The length of the body behind a head."""
    return int(head.lower().split(b"\r\ncontent-length:", 1)[1].split(b"\r\n", 1)[0])


async def generate(
    port: int, request: bytes, n_connections: int, seconds: float, per_second: float | None = None
) -> dict[str, float]:
    """Load 127.0.0.1:`port` for `seconds`, open loop where a rate is given."""
    tally = Tally(per_second)
    loop = asyncio.get_running_loop()
    start = time.perf_counter()
    made = [
        await loop.create_connection(lambda: Connection(request, tally), "127.0.0.1", port)
        for _ in range(n_connections)
    ]
    await (asyncio.sleep(seconds) if per_second is None else tally.call(seconds))
    tally.over = True
    for idle in tally.free:
        idle.transport.close()
    await asyncio.wait([connection.gone for _, connection in made], timeout=LAST_ANSWERS_S)
    took = time.perf_counter() - start
    for transport, _ in made:
        transport.abort()
    ordered = sorted(tally.seconds) or [0.0]
    return {
        "requests": len(tally.seconds),
        "errors": tally.n_errors,
        "seconds": took,
        "p50_us": 1e6 * ordered[len(ordered) // 2],
        "p99_us": 1e6 * ordered[len(ordered) * 99 // 100],
        "max_us": 1e6 * ordered[-1],
    }


def main() -> None:
    """Read the arguments, load, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--body", type=Path, required=True)
    parser.add_argument("--header", action="append", default=[], help="a header, `Name: value`; JSON without one")
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--per-second", type=float, help="requests that are due a second: open loop")
    given = parser.parse_args()
    body = given.body.read_bytes()
    headers = given.header or ["Content-Type: application/json"]
    lines = [f"POST {given.path} HTTP/1.1", "Host: 127.0.0.1", *headers, f"Content-Length: {len(body)}", "", ""]
    request = "\r\n".join(lines).encode() + body
    measured = asyncio.run(generate(given.port, request, given.connections, given.seconds, given.per_second))
    sys.stdout.write(f"RESULT {json.dumps(measured)}\n")


if __name__ == "__main__":
    main()
