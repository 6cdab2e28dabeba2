"""Three times what the service can: `python -m tests.resilience.overload --seconds 60`; `make soak` does.

First its capacity is measured, by clients that ask as soon as they are answered; then requests of mixed sizes are due
at random moments, whatever comes back; then the capacity is measured again. Times count from when a request was due,
and from when it was sent: what lies between is the lag of this client. Service and client have a core each, where there
are two.

On a machine that does something else as well, `--processor` lets all of this go by the clock of the service's processor
time: how often requests are due, and how long they take. That is what would be seen on a core of its own, but for
deadlines, which are of real time: `--default-timeout-ms` may be longer there.
"""

import argparse
import asyncio
import json
import os
import random
import re
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import uvloop

from tests.processes import Process, serve
from tests.transports.wire import PREDICT

MIX = ((0.6, 1, 10), (0.3, 1, 1000), (0.1, 64, 1000))  # share, rows, classes
TIMEOUT_MS = 1000
MOST = 2000  # connections
REST_S = 3.0  # after which memory is given back
LENGTH = re.compile(rb"content-length: (\d+)")


Clock = Callable[[], float]


class Heard(NamedTuple):
    """An answer; seconds since its request was due, and since it was sent."""

    status: int
    since_due: float
    since_sent: float


def pin(pid: int) -> Clock:
    """Give a process one core and this one the others, where there are two; the clock of its processor time."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        for task in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), cores[:1])
        os.sched_setaffinity(0, cores[1:])
    clock_id = ~pid << 3 | 2  # as pthread_getcpuclockid has it for another process
    return partial(time.clock_gettime, clock_id)


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

    def __init__(self, done: Callable[["Connection", Heard], None], now: Clock) -> None:
        self.done = done
        self.now = now
        self.received = bytearray()
        self.due = self.sent = 0.0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def send(self, request: bytes, due: float) -> None:
        self.due, self.sent = due, self.now()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.received += data
        end = self.received.find(b"\r\n\r\n")
        found = LENGTH.search(self.received, 0, max(end, 0)) if end >= 0 else None
        if found and len(self.received) >= end + 4 + int(found[1]):
            status, now = int(self.received[9:12]), self.now()
            self.received.clear()
            self.done(self, Heard(status, now - self.due, now - self.sent))


class Load:
    """Requests of the mix, drawn with a seed."""

    def __init__(self, process: Process, now: Clock) -> None:
        self.process = process
        self.port = int(process.url.rpartition(":")[2])
        self.now = now
        self.requests = build_requests()
        self.random = random.Random(0)
        self.heard: list[Heard] = []
        self.held: list[int] = []  # bytes of memory that the service held, after each quarter of an overload

    def draw(self) -> bytes:
        return self.random.choices(self.requests, [share for share, _, _ in MIX])[0]

    async def connect(self, n: int, done: Callable[[Connection, Heard], None]) -> list[Connection]:
        loop = asyncio.get_running_loop()
        made = [
            await loop.create_connection(lambda: Connection(done, self.now), "127.0.0.1", self.port) for _ in range(n)
        ]
        return [connection for _, connection in made]

    async def closed(self, seconds: float, n: int = 16) -> float:
        """Answers a second, no refusals, to `n` clients that ask as soon as they are answered: few, so that all are."""
        self.heard = []
        over = False

        def done(connection: Connection, heard: Heard) -> None:
            self.heard.append(heard)
            if not over:
                connection.send(self.draw(), self.now())

        connections = await self.connect(n, done)
        began = self.now()
        for connection in connections:
            connection.send(self.draw(), began)
        await asyncio.sleep(seconds)
        over = True
        rate = sum(one.status == 200 for one in self.heard) / (self.now() - began)
        await asyncio.sleep(0.5)
        for connection in connections:
            connection.transport.abort()
        return rate

    async def opened(self, seconds: float, per_second: float) -> int:
        """Requests that are due at random moments, in `heard`; how many found no connection in time."""
        free: deque[Connection] = deque()  # who has rested longest is first: the last may still send what was refused
        waiting: deque[float] = deque()

        def done(connection: Connection, heard: Heard) -> None:
            self.heard.append(heard)
            if waiting:
                connection.send(self.draw(), waiting.popleft())
            else:
                free.append(connection)

        every = await self.connect(MOST, done)
        for connection in every:
            connection.send(self.requests[0], self.now())
        await until_all_are(free)
        self.heard = []
        sampling = asyncio.create_task(self.sample(seconds))
        at, over = self.now(), time.perf_counter() + seconds
        while time.perf_counter() < over:
            at += self.random.expovariate(per_second)
            await self.wait(at, free)
            if free:
                free.popleft().send(self.draw(), at)
            else:
                waiting.append(at)
        await sampling
        n_unsent = len(waiting)
        waiting.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(until_all_are(free), 5)
        for connection in every:
            connection.transport.abort()
        return n_unsent

    async def sample(self, seconds: float) -> None:
        """See how much memory the service holds after each quarter of so many seconds."""
        for _ in range(4):
            await asyncio.sleep(seconds / 4)
            self.held.append(self.process.resident_bytes)

    async def wait(self, at: float, free: deque[Connection]) -> None:
        """Until it is that time; for the clock of a service that rests, no longer."""
        await asyncio.sleep(0)  # answers are read though it is late
        by_processor = self.now is not time.perf_counter
        while (wait := at - self.now()) > 0 and not (by_processor and len(free) == MOST):  # noqa: ASYNC110 - a clock
            await asyncio.sleep(wait)


async def until_all_are(free: deque[Connection]) -> None:
    while len(free) < MOST:  # noqa: ASYNC110 - a count, no event
        await asyncio.sleep(0.05)


def p99_ms(seconds: list[float]) -> float | None:
    return round(1e3 * float(np.percentile(seconds, 99)), 1) if seconds else None


def megabytes(*sizes: int) -> list[int]:
    return [round(n / 2**20) for n in sizes]


async def measure(process: Process, seconds: float, by_processor: bool) -> dict[str, object]:
    """What was seen."""
    processor = pin(process.popen.pid)
    load = Load(process, processor if by_processor else time.perf_counter)
    capacity = await load.closed(8)
    memory, began, worked_s = process.resident_bytes, load.now(), processor()
    n_unsent = await load.opened(seconds, 3 * capacity)
    heard, peak, took_s = load.heard, process.resident_peak_bytes, load.now() - began
    worked_s = processor() - worked_s
    again = await load.closed(1), await load.closed(8)
    await asyncio.sleep(REST_S)
    right = [one for one in heard if one.status == 200]
    statuses = sorted({one.status for one in heard})
    return {
        "capacity": round(capacity),
        "due a second": round(3 * capacity),
        "answers": dict(sorted(Counter(one.status for one in heard).items())),
        "found no connection": n_unsent,
        "goodput of capacity": round(len(right) / took_s / capacity, 3),
        "accepted p99 ms, since sent": p99_ms([one.since_sent for one in right]),
        "refused p99 ms, since sent": p99_ms([one.since_sent for one in heard if one.status != 200]),
        "p99 ms of each status": {
            status: p99_ms([one.since_sent for one in heard if one.status == status]) for status in statuses
        },
        "lag of this client p99 ms": p99_ms([one.since_due - one.since_sent for one in heard]),
        "share of a core that the service had": round(worked_s / seconds, 2),
        "capacity in the second after, and in eight more": [round(rate) for rate in again],
        "MB before, at most, after": megabytes(memory, peak, process.resident_bytes),
        "MB after each quarter": megabytes(*load.held),
    }


def main(seconds: float, transport: str, by_processor: bool, options: list[str]) -> int:
    """Print it; 1 where the service did not end well."""
    with serve("--no-watch", transport, "--default-timeout-ms", TIMEOUT_MS, *options) as process:
        seen = uvloop.run(measure(process, seconds, by_processor))
        code, logged = process.end(signal.SIGTERM)
    sys.stdout.write(json.dumps({"transport": transport} | seen | {"exit code": code, "logged": logged}) + "\n")
    return int(bool(code or logged))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--plain", action="store_true", help="over ASGI")
    parser.add_argument("--processor", action="store_true", help="by the clock of the service's processor time")
    given, rest = parser.parse_known_args()
    sys.exit(main(given.seconds, "--no-fast-http" if given.plain else "--fast-http", given.processor, rest))
