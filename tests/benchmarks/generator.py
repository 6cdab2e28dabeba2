"""A load generator for where wrk is not: one process, N connections, each sends as soon as it has its answer.

Run as a program; it says what it measured as one line of JSON, as `post.lua` does. It costs several times as much as
wrk for a request, so that a fast server waits for it: good for comparing large requests, and for tests.
"""

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Final

LAST_ANSWERS_S: Final = 10.0  # how long what is in flight at the end may take


class Tally:
    """What all connections have seen: seconds per answer, and how many were wrong."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.n_errors = 0
        self.over = False


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
        self.send()

    def send(self) -> None:
        """Send a request."""
        self.received.clear()
        self.sent_at = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        """Count an answer once it is whole, and send again."""
        self.received += data
        end = self.received.find(b"\r\n\r\n") + 4
        if end < 4 or len(self.received) < end + content_length(self.received[:end]):
            return
        if self.tally.over:
            self.transport.close()
            return
        self.tally.seconds.append(time.perf_counter() - self.sent_at)
        self.tally.n_errors += b" 200 " not in self.received[:16]
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        """The server must not close it before the end."""
        self.tally.n_errors += not self.tally.over
        self.gone.set_result(None)


def content_length(head: bytes | bytearray) -> int:
    """The length of the body behind a head."""
    return int(head.lower().split(b"\r\ncontent-length:", 1)[1].split(b"\r\n", 1)[0])


async def generate(port: int, request: bytes, n_connections: int, seconds: float) -> dict[str, float]:
    """Load 127.0.0.1:`port` for `seconds`."""
    tally = Tally()
    loop = asyncio.get_running_loop()
    start = time.perf_counter()
    made = [
        await loop.create_connection(lambda: Connection(request, tally), "127.0.0.1", port)
        for _ in range(n_connections)
    ]
    await asyncio.sleep(seconds)
    took = time.perf_counter() - start
    tally.over = True
    await asyncio.wait([connection.gone for _, connection in made], timeout=LAST_ANSWERS_S)
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
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    given = parser.parse_args()
    body = given.body.read_bytes()
    head = f"POST {given.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    measured = asyncio.run(generate(given.port, request, given.connections, given.seconds))
    sys.stdout.write(f"RESULT {json.dumps(measured)}\n")


if __name__ == "__main__":
    main()
