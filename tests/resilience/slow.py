"""Thousands of slow clients beside normal traffic: `python -m tests.resilience.slow`; `make soak` does.

5,000 that send a header a second, 1,000 that send a byte of a body a second, and 1,000 that do not read their answers,
from a process of their own. Normal traffic is measured before and meanwhile, in real time and by the clock of the
service's processor time, which is what counts on a machine that does something else as well. All must be ended, and
what they took must be given back.
"""

import argparse
import json
import multiprocessing
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from multiprocessing.synchronize import Event
from typing import Any, Final, NamedTuple

import numpy as np

from tests.processes import Process, serve
from tests.resilience.overload import Clock, pin
from tests.resilience.test_slow_clients import n_descriptors
from tests.transports.wire import PREDICT, Wire, post


class Kind(NamedTuple):
    """A kind of slow client: how many, how many of them come a second, and what they send.

    Those without a rate come when the one before is answered: their work shall be no overload.
    """

    n: int
    per_second: int
    first: bytes
    piece: bytes


NUMBERS: Final = b'{"logits":[%s]}' % b",".join([b"%d" % (i % 9) for i in range(14_000)])  # the answer has 200 KB
KINDS: Final = (
    Kind(5000, 1500, PREDICT, b"a: b\r\n"),
    Kind(1000, 1500, PREDICT + b"content-length: 100000\r\n\r\n", b" "),
    Kind(1000, 0, PREDICT + b"content-length: %d\r\n\r\n%s" % (len(NUMBERS), NUMBERS), b""),
)
N_SLOW: Final = sum(kind.n for kind in KINDS)
MOST_S: Final = 45.0  # the limits are 10 s for headers, and 5 s without the least rate for bodies and readers
GIVEN_BACK: Final = 64 * 2**20
COUNT_S: Final = 2.0  # between two counts of descriptors, which take milliseconds, also of those that ask normally


def be_slow(port: int, there: Event) -> None:
    """Be all of them, until this process is ended; what they do on this machine shall not slow who asks normally."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    due: deque[tuple[float, socket.socket, bytes]] = deque()
    for kind in KINDS:
        began = time.monotonic()
        for i in range(kind.n):
            client = socket.socket()
            # so that an answer that is not read waits in the service: the kernel holds twice ten segments, and 4 KB
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", port))
            client.sendall(kind.first)
            if not kind.per_second:
                client.recv(1, socket.MSG_PEEK)
            client.setblocking(False)
            due.append((time.monotonic() + 1, client, kind.piece))
            drip(due, began + (i + 1) / kind.per_second if kind.per_second else time.monotonic() + 0.001)
    there.set()
    drip(due, time.monotonic() + MOST_S)


def drip(due: deque[tuple[float, socket.socket, bytes]], end: float) -> None:
    """Send each its piece when it is due, until the end."""
    while (now := time.monotonic()) < end:
        if due[0][0] > now:
            time.sleep(min(due[0][0], end) - now)
            continue
        _, client, piece = due.popleft()
        with suppress(OSError):
            client.send(piece)
        due.append((now + 1, client, piece))


class Normal(threading.Thread):
    """Asks 200 times a second; how long the answers took, in seconds, and in those of the service's processor."""

    def __init__(self, port: int, processor: Clock) -> None:
        super().__init__()
        self.wire = Wire(socket.create_connection(("127.0.0.1", port), timeout=30))
        self.processor = processor
        self.took: list[tuple[float, float]] = []
        self.statuses: set[int] = set()
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(0.005):
            began, worked = time.perf_counter(), self.processor()
            self.wire.send(post())
            self.statuses.add(self.wire.answer()[0])
            self.took.append((time.perf_counter() - began, self.processor() - worked))

    def p99_ms(self) -> list[float]:
        """Of what has been taken since it was asked last."""
        took, self.took = self.took, []
        return [round(1e3 * float(some), 2) for some in np.percentile(took, 99, axis=0)]


def measure(process: Process) -> dict[str, Any]:
    """What was seen."""
    port = int(process.url.rpartition(":")[2])
    traffic = Normal(port, pin(process.popen.pid))
    traffic.start()
    time.sleep(10)
    n_before, memory, alone = n_descriptors(process), process.resident_bytes, traffic.p99_ms()
    context = multiprocessing.get_context("spawn")
    there = context.Event()
    slow = context.Process(target=be_slow, args=(port, there), daemon=True)
    slow.start()
    counts: list[int] = [n_before]
    while not there.wait(COUNT_S):
        counts.append(n_descriptors(process))
    coming = traffic.p99_ms()
    end = time.monotonic() + MOST_S
    while time.monotonic() < end and counts[-1] > n_before:
        time.sleep(COUNT_S)
        counts.append(n_descriptors(process))
    beside, most = traffic.p99_ms(), process.resident_peak_bytes
    traffic.stopped.set()
    traffic.join()
    slow.kill()
    slow.join()
    time.sleep(3)
    return {
        "slow clients at once, at most": max(counts) - n_before,
        "left of them": counts[-1] - n_before,
        "statuses of normal traffic": sorted(traffic.statuses),
        "its p99 ms before": alone,
        "its p99 ms while they come": coming,
        "its p99 ms beside": beside,
        "MB before, at most, after": [round(n / 2**20) for n in (memory, most, process.resident_bytes)],
        "given back": process.resident_bytes < memory + GIVEN_BACK,
    }


def main(transport: str) -> int:
    """Print it; 1 where something stayed, failed or took too long."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (N_SLOW + 1000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    with serve("--no-watch", transport) as process:
        seen = measure(process)
        code, logged = process.end(signal.SIGTERM)
    sys.stdout.write(json.dumps({"transport": transport} | seen | {"exit code": code, "logged": logged}) + "\n")
    slower = seen["its p99 ms beside"][1] > 2 * seen["its p99 ms before"][1]
    wrong = seen["left of them"] > 0 or seen["statuses of normal traffic"] != [200] or not seen["given back"]
    return int(wrong or slower or bool(code or logged))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plain", action="store_true", help="over ASGI")
    sys.exit(main("--no-fast-http" if parser.parse_args().plain else "--fast-http"))
