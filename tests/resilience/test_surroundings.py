"""What surrounds the service fails: a worker, the disk, the clock, descriptors, a name; the rest goes on."""

import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from service.process.sockets import BALANCES
from tests.api.bodies import until
from tests.conftest import ROOT, serving
from tests.process.test_worker import asking, received
from tests.process.test_workers import Command, alive
from tests.processes import Process, serve

ASKS = {"logits": [1, 2, 3]}


@contextmanager
def limited(pid: int, what: int, most: int) -> Iterator[None]:
    """A limit of a process that runs, for as long as this lasts."""
    before = resource.prlimit(pid, what)
    resource.prlimit(pid, what, (most, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, what, before)


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side has ended it."""
    connection.setblocking(False)
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def metric(process: Process, name: str) -> float:
    """A line of /metrics."""
    lines = process.client.get("/metrics").text.splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} ")), 0.0)


@pytest.mark.skipif(not BALANCES, reason="all workers share one socket here")
def test_a_worker_that_is_killed_costs_what_it_was_answering_and_no_more(tmp_path: Path) -> None:
    command = Command(ROOT / "models", tmp_path / "log")
    answers: list[bytes] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(0.005):
            try:
                with asking(command.port) as connection:
                    answers.append(received(connection)[9:12])
            except ConnectionError:
                answers.append(b"")

    clients = [threading.Thread(target=ask) for _ in range(4)]
    try:
        for client in clients:
            client.start()
        until(lambda: len(answers) > 50)
        victim = command.workers().pop()
        os.kill(victim, signal.SIGKILL)
        until(lambda: not alive(victim) and len(command.workers()) == 2 and command.status("/readyz") == 200)
        n = len(answers)
        until(lambda: len(answers) > n + 50)
    finally:
        stop.set()
        for client in clients:
            client.join(60)
        command.process.send_signal(signal.SIGTERM)
        assert command.process.wait(60) == 0
    assert set(answers) <= {b"200", b""}
    assert answers.count(b"") <= len(clients)


def test_a_disk_that_is_full_costs_rows_of_the_journal_and_no_answer(tmp_path: Path) -> None:
    with serve("--no-watch", "--journal", tmp_path / "journal") as process:
        pid = process.popen.pid
        assert process.client.post("/v1/predict", json=ASKS).status_code == 200
        until(lambda: metric(process, "calibrant_journal_rows_total") == 1)
        with limited(pid, resource.RLIMIT_FSIZE, 0):
            assert process.client.post("/v1/predict", json=ASKS).status_code == 200
            until(lambda: metric(process, "calibrant_journal_dropped_rows_total") == 1)
            assert process.client.get("/readyz").status_code == 200
        assert process.client.post("/v1/predict", json=ASKS).status_code == 200
        until(lambda: metric(process, "calibrant_journal_rows_total") == 2)
        assert process.end(signal.SIGTERM)[0] == 0
    assert "cannot be written" in process.logged


@pytest.mark.parametrize("jump_s", [-4e8, 4e8], ids=["back", "on"])
def test_a_clock_that_jumps_moves_no_deadline(jump_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(journal=tmp_path / "journal") as running:
        assert running.predict(ASKS | {"timeout_ms": 30_000}).status_code == 200
        with monkeypatch.context() as patch:
            now, now_ns = time.time, time.time_ns
            patch.setattr(time, "time", lambda: now() + jump_s)
            patch.setattr(time, "time_ns", lambda: now_ns() + int(1e9 * jump_s))
            for _ in range(20):
                assert running.predict(ASKS | {"timeout_ms": 30_000}).status_code == 200
            assert running.client.get("/readyz").status_code == 200
            assert running.client.get("/metrics").status_code == 200
        assert running.predict(ASKS).status_code == 200


def test_without_descriptors_who_is_connected_is_answered_and_later_everybody(tmp_path: Path) -> None:
    with serve("--no-watch") as process, ExitStack() as stack:
        port = int(process.url.rpartition(":")[2])
        pid = process.popen.pid
        assert process.client.post("/v1/predict", json=ASKS).status_code == 200
        n_open = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        with limited(pid, resource.RLIMIT_NOFILE, n_open + 8):
            clients = [
                stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10)) for _ in range(40)
            ]
            until(lambda: sum(map(is_closed, clients)) >= 30)
            for _ in range(20):
                assert process.client.post("/v1/predict", json=ASKS).status_code == 200
            assert process.client.get("/readyz").status_code == 200
            stack.close()
            with httpx.Client(transport=httpx.HTTPTransport(retries=8)) as late:
                assert late.post(f"{process.url}/v1/predict", json=ASKS).status_code == 200
        assert process.end(signal.SIGTERM)[0] == 0


NAMELESS = """
import socket, sys, threading
from service.cli import main
from service.telemetry import sender

sender.STUCK_S = 0.05
resolve = socket.getaddrinfo

def resolve_or_wait(host, *arguments, **options):
    if host == "collector.invalid":
        threading.Event().wait()
    return resolve(host, *arguments, **options)

socket.getaddrinfo = resolve_or_wait
if __name__ == "__main__":
    sys.exit(main())
"""


def test_a_collector_whose_name_has_no_answer_costs_its_traces_and_no_answer(tmp_path: Path) -> None:
    script = tmp_path / "nameless.py"
    script.write_text(NAMELESS)
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.invalid:4318",
        "OTEL_BSP_SCHEDULE_DELAY": "10",
        "OTEL_BSP_MAX_QUEUE_SIZE": "8",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4",
        "PYTHONPATH": str(ROOT),
    }
    with serve("--no-watch", "--traces", program=[script], **variables) as process:
        for _ in range(20):
            assert process.client.post("/v1/predict", json=ASKS).status_code == 200
        assert process.client.get("/readyz").status_code == 200

        def many_are_lost() -> bool:
            assert process.client.post("/v1/predict", json=ASKS).status_code == 200
            return metric(process, "calibrant_unsent_spans_total") > 100

        until(many_are_lost)
        code, logged = process.end(signal.SIGTERM)
    assert code == 0
    assert logged.count("spans cannot be sent, and are dropped: the collector has not answered for") == 1
    assert "the last traces could not be sent within 5 s, they are dropped" in logged
