"""Clients that vanish at random moments: `python -m tests.resilience.vanish --clients 10000`; `make soak` does.

Some leave before their request is whole, some while it waits, runs or is answered. Meanwhile neighbours ask, whose
answers must stay the same to the bit; at the end nothing may be left of anybody.
"""

import argparse
import asyncio
import json
import random
import re
import signal
import socket
import struct
import sys
import time
from functools import cache
from pathlib import Path

from tests.processes import Process, serve
from tests.transports.wire import PREDICT

AT_ONCE = 200
MOST_S = 0.03  # that a client stays after it has sent
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset


@cache
def request(n_rows: int, seed: int) -> bytes:
    """Rows of ten classes."""
    drawn = random.Random(seed)
    body = json.dumps({"logits": [[round(drawn.uniform(-5, 5), 3) for _ in range(10)] for _ in range(n_rows)]})
    return PREDICT + b"content-length: %d\r\n\r\n%s" % (len(body), body.encode())


async def vanish(port: int, limit: asyncio.Semaphore, drawn: random.Random) -> None:
    """One client: it sends all or a part, stays a moment, and is gone, with a reset or without."""
    async with limit:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        sent = request(drawn.choice((1, 1, 8, 200)), drawn.randrange(50))
        cut = len(sent) if drawn.random() < 0.7 else drawn.randrange(len(sent))
        writer.write(sent[:cut])
        await asyncio.sleep(drawn.uniform(0, MOST_S))
        if drawn.random() < 0.5:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        writer.transport.abort()


async def neighbour(port: int, seed: int, over: asyncio.Event) -> tuple[int, int]:
    """Ask the same again and again; how often, and how often the answer was another."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers: list[bytes] = []
    n_asked = n_other = 0
    while not over.is_set():
        writer.write(request(3, 1000 + seed))
        head = await reader.readuntil(b"\r\n\r\n")
        found = re.search(rb"content-length: (\d+)", head)
        body = await reader.readexactly(int(found[1])) if found else b""
        answers = answers or [body]
        n_other += not head.startswith(b"HTTP/1.1 200") or body != answers[0]
        n_asked += 1
        await asyncio.sleep(0.002)
    writer.close()
    return n_asked, n_other


async def run(port: int, n_clients: int) -> tuple[int, int]:
    """All of them; how often the neighbours asked, and how often they got another answer."""
    over, limit, drawn = asyncio.Event(), asyncio.Semaphore(AT_ONCE), random.Random(0)
    neighbours = [asyncio.create_task(neighbour(port, i, over)) for i in range(4)]
    await asyncio.gather(*(vanish(port, limit, random.Random(drawn.random())) for _ in range(n_clients)))
    over.set()
    found = await asyncio.gather(*neighbours)
    return sum(n for n, _ in found), sum(n for _, n in found)


def metric(process: Process, name: str) -> float:
    """The sum of a metric over its series."""
    lines = process.client.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if re.match(rf"{name}[^ ]* ", line))


def n_descriptors(process: Process) -> int:
    return len(list(Path(f"/proc/{process.popen.pid}/fd").iterdir()))


def main(n_clients: int, transport: str) -> int:
    """Print what was seen; 1 where something is left or was wrong."""
    with serve("--no-watch", transport, "--max-connections", 8192) as process:
        process.client.post("/v1/predict", json={"logits": [1, 2]})
        before = n_descriptors(process)
        began = time.monotonic()
        asked, other = asyncio.run(run(int(process.url.rpartition(":")[2]), n_clients))
        took_s = time.monotonic() - began
        deadline = time.monotonic() + 30
        while n_descriptors(process) > before and time.monotonic() < deadline:
            time.sleep(0.1)
        left = n_descriptors(process) - before
        seen = {
            "transport": transport,
            "clients": n_clients,
            "seconds": round(took_s, 1),
            "asked by neighbours": asked,
            "other answers": other,
            "descriptors left": left,
            "rows waiting": metric(process, "calibrant_queue_rows"),
            "rows run": metric(process, "calibrant_batch_rows_sum"),
            "rows answered": metric(process, "calibrant_rows_total"),
            "errors of the service": metric(process, r'calibrant_requests_total\{[^}]*code="5'),
        }
        code, logged = process.end(signal.SIGTERM)
    sys.stdout.write(json.dumps(seen | {"exit code": code, "logged": logged}) + "\n")
    return int(bool(other or left > 0 or seen["rows waiting"] or code or logged))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--plain", action="store_true", help="over ASGI")
    options = parser.parse_args()
    sys.exit(main(options.clients, "--no-fast-http" if options.plain else "--fast-http"))
