"""A worker: its share of the connections, what becomes of them where it ends, and how it ends."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import pytest

from service.app import create_app
from service.errors import CannotStart
from service.process.sockets import BALANCES, listen_each
from service.process.worker import WorkerServer, run_worker
from service.process.workers import SPAWN
from service.readiness import READY, STARTING, STOPPED, Readiness
from service.settings import Settings
from service.transports.renewal import LastRead
from tests.conftest import ROOT
from tests.process.test_workers import Command, until

on_linux = pytest.mark.skipif(not BALANCES, reason="all workers share one socket here")
BODY = b'{"logits":[1,2]}'
REQUEST = b"POST /v1/predict HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s" % (
    len(BODY),
    BODY,
)


@pytest.fixture
def command(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Command]:
    running = Command(ROOT / "models", tmp_path / "log", getattr(request, "param", 2))
    yield running
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(30) == 0


def connections(command: Command) -> dict[int, int]:
    """How many each worker has, by process id."""
    there = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) == command.port and fields[3] == "01":  # established
            there.add(f"socket:[{fields[9]}]")
    found = {}
    for pid in command.workers():
        found[pid] = 0
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                found[pid] += entry.readlink().name in there
    return found


@on_linux
@pytest.mark.parametrize(("command", "most"), [(2, 48), (4, 32)], indirect=["command"])
def test_connections_spread_over_the_workers(command: Command, most: int) -> None:
    n, n_workers = 64, len(command.workers())
    uneven = []
    for _ in range(10):
        until(lambda: sum(connections(command).values()) == 0)
        with ExitStack() as held:
            for _ in range(n):
                held.enter_context(socket.create_connection(("127.0.0.1", command.port), timeout=10))
            until(lambda: sum(connections(command).values()) == n)
            shares = sorted(connections(command).values())
        assert len(shares) == n_workers
        if shares[-1] > most:
            uneven.append(shares)
    assert len(uneven) <= 1, uneven


@on_linux
def test_the_connections_that_wait_at_a_worker_that_dies_are_answered(command: Command) -> None:
    victim = min(command.workers())
    os.kill(victim, signal.SIGSTOP)
    try:
        with ExitStack() as held:
            waiting = [held.enter_context(asking(command.port)) for _ in range(40)]
            os.kill(victim, signal.SIGKILL)
            for connection in waiting:
                assert received(connection).startswith(b"HTTP/1.1 200")
    finally:
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)


@on_linux
def test_the_connections_that_wait_at_a_worker_that_stands_still_are_answered(command: Command) -> None:
    workers = command.workers()
    victim = min(workers)
    os.kill(victim, signal.SIGSTOP)
    try:
        with ExitStack() as held:
            for connection in [held.enter_context(asking(command.port)) for _ in range(40)]:
                assert received(connection).startswith(b"HTTP/1.1 200")
        until(lambda: command.status("/readyz") == 503)
    finally:
        os.kill(victim, signal.SIGCONT)
    until(lambda: command.status("/readyz") == 200)
    assert command.workers() == workers


@on_linux
def test_a_worker_takes_the_connections_of_one_that_does_not_listen_until_it_does() -> None:
    listening, ready = listen_each("127.0.0.1", 0, 2), [STARTING, STARTING]
    port = listening[0].getsockname()[1]
    settings = Settings(models=ROOT / "models", watch=False)
    server = WorkerServer(create_app(settings, Readiness(ready)), 0, listening)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening[0].dup()]}, daemon=True)
    thread.start()
    try:
        until(lambda: server.started and bool(server.taken_over))
        with ExitStack() as held:
            for connection in [held.enter_context(asking(port)) for _ in range(40)]:
                assert received(connection).startswith(b"HTTP/1.1 200")
        ready[1] = READY
        until(lambda: not server.taken_over)
        with ExitStack() as held:
            waiting = [held.enter_context(asking(port)) for _ in range(40)]
            until(lambda: n_answered(waiting) + n_queued(port) == len(waiting))
            assert n_queued(port) > 5
            ready[1] = STOPPED
            for connection in waiting:
                assert received(connection).startswith(b"HTTP/1.1 200")
    finally:
        server.should_exit = True
        thread.join(30)
    assert ready == [STOPPED, STOPPED]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=10)


def asking(port: int) -> socket.socket:
    """A connection that has sent its only request."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.sendall(REQUEST)
    return connection


def has_restarted(command: Command, n: int) -> bool:
    """Whether so many workers were replaced."""
    return command.log.read_text().count("another starts") == n


def n_queued(port: int) -> int:
    """Connections to a port that nobody has accepted yet."""
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    at_port = [fields for fields in listening if int(fields[1].rpartition(":")[2], 16) == port and fields[3] == "0A"]
    return sum(int(fields[4].rpartition(":")[2], 16) for fields in at_port)


def n_answered(connections: list[socket.socket]) -> int:
    """On how many something has come back."""
    found = 0
    for connection in connections:
        connection.setblocking(False)
        with suppress(BlockingIOError):
            found += bool(connection.recv(1, socket.MSG_PEEK))
        connection.settimeout(30)
    return found


def received(connection: socket.socket) -> bytes:
    """All that comes back, to the end."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("command", [3], indirect=True)
def test_workers_that_are_restarted_one_by_one_lose_no_request(command: Command) -> None:
    answers: list[int | OSError] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            with asking(command.port) as connection:
                try:
                    answers.append(int(received(connection)[9:12] or 0))
                except OSError as error:
                    answers.append(error)

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    try:
        for n, worker in enumerate(command.workers(), start=1):
            os.kill(worker, signal.SIGTERM)
            until(partial(has_restarted, command, n))
            until(lambda: command.status("/readyz") == 200)
    finally:
        stop.set()
        for client in clients:
            client.join(60)
    assert len(answers) > 50
    assert set(answers) == {200}, command.log.read_text()


def test_a_worker_that_cannot_start_says_why_and_ends_with_that_exit_code(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as listening:
        settings = Settings(models=tmp_path / "nowhere")
        process = SPAWN.Process(
            target=run_worker,
            args=(settings, tmp_path, LastRead(), 0, SPAWN.RawArray("b", 1), SPAWN.RawArray("L", 1), [listening]),
            daemon=True,
        )
        process.start()
        process.join(60)
    assert process.exitcode == CannotStart.exit_code
    logged = capfd.readouterr().err
    assert "a worker cannot start: " in logged
    assert "nowhere" in logged
    assert "Traceback" not in logged
