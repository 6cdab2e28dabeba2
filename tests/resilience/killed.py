"""Processes that are killed or stand still under load: `python -m tests.resilience.killed`; `make soak` does.

A request a connection from several clients, all the time; meanwhile a worker is killed, one stands still for ten
seconds, and one for good; at the end the whole service is killed and started anew. What was lost, and for how long
nobody was served, is printed.
"""

import json
import os
import signal
import socket
import sys
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.processes import Process, serve
from tests.threads import Threads
from tests.transports.wire import PREDICT

N_CLIENTS = 8
BODY = b'{"logits":[1,2,3]}'
REQUEST = PREDICT + b"connection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)


class Connections(Threads):
    """Clients that open a connection for each request: what came back, and when."""

    def __init__(self, port: int) -> None:
        super().__init__(N_CLIENTS)
        self.port = port
        self.heard: list[tuple[float, str]] = []  # when it was answered, and the status or the error
        self.longest_s = 0.0

    def work(self, _: int) -> None:
        while not self.stopping.is_set():
            began = time.monotonic()
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
                    connection.sendall(REQUEST)
                    found = connection.recv(4096)[9:12].decode() or "closed"
            except OSError as error:
                found = type(error).__name__
                time.sleep(0.01)
            now = time.monotonic()
            self.heard.append((now, found))
            self.longest_s = max(self.longest_s, now - began)

    def during(self, began: float) -> dict[str, Any]:
        """What came back from then on, and the longest time without an answer."""
        since = [(at, found) for at, found in self.heard if at >= began]
        times = [began, *(at for at, found in since if found == "200"), time.monotonic()]
        gap_s = max(later - earlier for earlier, later in pairwise(times))
        longest_s, self.longest_s = self.longest_s, 0.0
        counts = Counter(found for _, found in since)
        return {
            **counts,
            "lost": counts.total() - counts["200"],
            "longest without an answer, s": round(gap_s, 2),
            "longest request, s": round(longest_s, 2),
        }


def children(process: Process) -> list[int]:
    """The workers."""
    pid = process.popen.pid
    found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [child for child in found if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def until_ready(process: Process, gone: int) -> float:
    """Seconds until another worker is there and all are ready."""
    began = time.monotonic()
    while gone in (there := children(process)) or len(there) < 2 or process.client.get("/readyz").status_code != 200:
        time.sleep(0.05)
    return round(time.monotonic() - began, 1)


def say(what: str, **seen: object) -> None:
    sys.stdout.write(json.dumps({"what": what, **seen}) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Print what was seen, a line a fault; 1 where more was lost than was in flight, or the end was not well."""
    code = n_lost = 0
    with serve("--no-watch", "--workers", 2, "--worker-timeout-s", 15) as process:
        port = int(process.url.rpartition(":")[2])
        with Connections(port) as clients:
            for what, number, pause_s in (
                ("nothing for 5 s", 0, 5.0),
                ("kill -9 of a worker", signal.SIGKILL, 0.0),
                ("a worker stands still for 10 s", signal.SIGSTOP, 10.0),
                ("a worker stands still for good", signal.SIGSTOP, 0.0),
            ):
                began, victim = time.monotonic(), children(process)[0]
                if number:
                    os.kill(victim, number)
                time.sleep(pause_s)
                if number and pause_s:
                    os.kill(victim, signal.SIGCONT)
                took_s = until_ready(process, victim if number and not pause_s else 0)
                seen = clients.during(began)
                n_lost += seen["lost"]
                say(what, **{"ready after, s": took_s}, **seen)
            victim = children(process)[0]
            os.kill(victim, signal.SIGSTOP)
            began = time.monotonic()
            code = process.end(signal.SIGTERM)[0]
            say("SIGTERM while a worker stands still", code=code, seconds=round(time.monotonic() - began, 1))
            clients.stopping.set()
    with serve("--no-watch") as process:
        port = int(process.url.rpartition(":")[2])
        with Connections(port) as clients:
            time.sleep(2)
            began = time.monotonic()
            process.popen.kill()
            process.popen.communicate()
            with serve("--no-watch", "--port", port):
                time.sleep(1)
                say("kill -9 of the service, and a start", **clients.during(began))
                clients.stopping.set()
    return int(code != 0 or n_lost > 2 * N_CLIENTS)  # two workers were killed


if __name__ == "__main__":
    sys.exit(main())
