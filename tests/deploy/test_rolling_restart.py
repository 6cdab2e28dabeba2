"""Two processes behind HAProxy are restarted in turn under load, and no request fails."""

import asyncio
import logging
import random
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.benchmarks.processes import free_port
from tests.benchmarks.work import made
from tests.conftest import TRANSPORTS
from tests.deploy.conftest import Tool
from tests.processes import Process

logger = logging.getLogger(__name__)

N_CONNECTIONS = 8
DRAIN_DELAY_S = 2  # enough for the balancer to see it, even where both wait for a core
WAIT_S = 60
BODIES = [made(shape).body for shape in ("1x10", "1x10", "1x10", "64x1000")]
# It looks every 100 ms and believes what it sees at once. A failed connection is not tried again elsewhere, so that
# every failure reaches the client.
CONFIG = """
global
    stats socket {folder}/stats
defaults
    mode {mode}
    retries 0
    timeout connect 10s
    timeout client 60s
    timeout server 60s
    timeout check 10s
frontend entrance
    bind 127.0.0.1:{entrance}
    default_backend calibrant
backend calibrant
    option httpchk GET /readyz
    http-check expect status 200
    default-server check inter 100ms fall 1 rise 1
    server one 127.0.0.1:{one}
    server two 127.0.0.1:{two}
"""


class Balancer:
    """HAProxy in front of two ports."""

    def __init__(self, haproxy: str, folder: Path, mode: str, ports: dict[str, int]) -> None:
        self.folder = folder
        entrance = free_port()
        self.url = f"http://127.0.0.1:{entrance}"
        config = folder / "haproxy.cfg"
        config.write_text(CONFIG.format(folder=folder, mode=mode, entrance=entrance, **ports))
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen([haproxy, "-db", "-f", config], stdout=log, stderr=log)

    def wait(self, name: str) -> None:
        """Until it sends requests to a server."""
        end = time.monotonic() + WAIT_S
        while f"calibrant,{name}," not in (up := self.up()):
            assert time.monotonic() < end, up
            assert self.process.poll() is None
            time.sleep(0.02)

    def up(self) -> str:
        """A line for each server that is up."""
        with socket.socket(socket.AF_UNIX) as asking:
            try:
                asking.connect(f"{self.folder}/stats")
            except OSError:  # it is about to start
                return ""
            asking.sendall(b"show stat\n")
            said = b"".join(iter(lambda: asking.recv(65536), b"")).decode()
        return "\n".join(line for line in said.splitlines() if ",UP," in line)


class Member:
    """A process of the service that comes back on the same port."""

    def __init__(self, *arguments: object) -> None:
        self.port = free_port()
        self.arguments = ("--port", self.port, "--drain-delay-s", DRAIN_DELAY_S, *arguments)
        self.start()

    def start(self) -> None:
        """Until it is ready."""
        self.process = Process(*self.arguments)
        self.process.wait()

    def stop(self) -> None:
        """SIGTERM, and it ends well."""
        self.process.client.close()
        assert self.process.end(signal.SIGTERM) == (0, "")

    def kill(self) -> None:
        """Whatever happened."""
        self.process.client.close()
        self.process.popen.kill()
        self.process.popen.communicate()


@contextmanager
def balanced(haproxy: str, folder: Path, mode: str, *arguments: object) -> Iterator[tuple[Balancer, dict[str, Member]]]:
    """Two members behind a balancer that has seen both."""
    members: dict[str, Member] = {}
    balancer = None
    try:
        for name in ("one", "two"):
            members[name] = Member(*arguments)
        balancer = Balancer(haproxy, folder, mode, {name: member.port for name, member in members.items()})
        for name in members:
            balancer.wait(name)
        yield balancer, members
    finally:
        for member in members.values():
            member.kill()
        if balancer is not None:
            balancer.process.terminate()
            balancer.process.wait(10)


async def ask(url: str, seed: int, enough: asyncio.Event, counted: Counter[str]) -> None:
    """One connection, kept alive: a request every few milliseconds, each counted by what became of it."""
    random_ = random.Random(seed)
    async with httpx.AsyncClient(base_url=url, timeout=30, limits=httpx.Limits(max_connections=1)) as client:
        while not enough.is_set():
            try:
                answer = await client.post("/v1/predict", content=random_.choice(BODIES))
                counted[str(answer.status_code)] += 1
            except httpx.TransportError as error:
                counted[repr(error)] += 1
            await asyncio.sleep(random_.uniform(0, 0.02))


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("mode", ["tcp", "http"])
def test_no_request_fails_while_each_process_is_restarted_in_turn(
    tool: Tool, tmp_path: Path, pytestconfig: pytest.Config, mode: str, transport: str
) -> None:
    n_restarts = 10 if pytestconfig.getoption("thorough") else 2
    counted: Counter[str] = Counter()
    option = "--fast-http" if TRANSPORTS[transport] else "--no-fast-http"
    with balanced(tool("haproxy", "apt-get install haproxy"), tmp_path, mode, option) as (balancer, members):

        def restart_all() -> None:
            for _ in range(n_restarts):
                for name, member in members.items():
                    member.stop()
                    member.start()
                    balancer.wait(name)

        async def main() -> None:
            enough = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                for seed in range(N_CONNECTIONS):
                    group.create_task(ask(balancer.url, seed, enough, counted))
                try:
                    await asyncio.to_thread(restart_all)
                finally:
                    enough.set()

        asyncio.run(main())
    logger.info("%s, %s: %d restarts of each of two, answers: %s", mode, transport, n_restarts, dict(counted))
    assert counted.keys() == {"200"}
    assert counted.total() > 100 * n_restarts
