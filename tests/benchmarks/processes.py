"""Servers as processes of their own, each on one core: started, looked at, and stopped by their own process id."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from tests.benchmarks.forms import BINARY, PLAIN, Form
from tests.benchmarks.usage import busy_s, family, shared_mb, used_by
from tests.benchmarks.work import Work

ROOT: Final = Path(__file__).parents[2]
START_S: Final = 60.0
STOP_S: Final = 10.0
SETTLE_S: Final = 5.0
IDLE_S: Final = 0.002  # of CPU in 50 ms, by a server with nothing to do


class DidNotStart(Exception):
    """A server that is not there cannot be timed; the message ends with what it said."""


@dataclass(frozen=True)
class Spec:
    """A server that can be started.

    Attributes:
        name: as in tables.
        command: arguments of this Python, for a port.
        about: a line of explanation.
        computes: it answers probabilities; else as many bytes as it is told.
        python: that Python, where it is not this one.
        environment: variables for a port.
        route: where to post.
        form: how its JSON looks.
    """

    name: str
    command: Callable[[int], list[str]]
    about: str
    computes: bool = True
    python: Path = Path(sys.executable)
    environment: Callable[[int], Mapping[str, str]] = field(default=lambda _: {})
    route: str = "/v1/predict"
    form: Form = PLAIN

    def path(self, work: Work) -> str:
        """Where to post."""
        return self.route if self.computes else f"{self.route}?{work.answer_bytes}"


def uvicorn(module: str) -> Callable[[int], list[str]]:
    """The command of one of `servers/`, with the parser and the loop that this project's server has."""
    app = f"tests.benchmarks.servers.{module}:app"
    options = ["--host", "127.0.0.1", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    return lambda port: ["-m", "uvicorn", app, "--port", str(port), *options]


def calibrant(*options: str) -> Callable[[int], list[str]]:
    """The command of this project's server."""
    return lambda port: ["-m", "service", "serve", "--host", "127.0.0.1", "--port", str(port), *options]


def journaling() -> Callable[[int], list[str]]:
    """The same, which keeps what it answers; in a folder of its own, which goes with this process."""
    folder = tempfile.TemporaryDirectory(prefix="calibrant-journal-")
    return lambda port: calibrant("--journal", f"{folder.name}/{port}")(port)


SPECS: Final = {
    spec.name: spec
    for spec in (
        Spec("bare", uvicorn("bare"), "bare ASGI under uvicorn: reads the body, answers as many bytes", computes=False),
        Spec("fast", calibrant(), "this project, fast HTTP"),
        Spec("asgi", calibrant("--no-fast-http"), "this project, ASGI"),
        Spec(
            "binary",
            calibrant(),
            "this project, fast HTTP, tensors as bytes",
            route="/v2/models/softmax/infer",
            form=BINARY,
        ),
        Spec("journal", journaling(), "this project, with a journal"),
        Spec("by_hand", uvicorn("by_hand"), "FastAPI, orjson by hand"),
        Spec("plain", uvicorn("plain"), "FastAPI with pydantic, what a user writes"),
    )
}


class Server:
    """A running server. Use it as a context: it is stopped at the end, whatever happens."""

    def __init__(self, spec: Spec, core: int | None = None) -> None:
        """Start `spec` on `core`; it may not answer yet."""
        self.spec = spec
        self.port = free_port()
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the server
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CALIBRANT_")}
        environment |= spec.environment(self.port)
        command = [str(spec.python), *spec.command(self.port)]
        with pinned(core):
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=self.log, stderr=self.log, start_new_session=True
            )

    def __repr__(self) -> str:
        return f"<Server {self.spec.name} on {self.port}, process {self.process.pid}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL where that does not help in time, and for children that it leaves behind."""
        children = family(self.process.pid)[1:]
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.log.close()

    def signal(self, number: signal.Signals) -> None:
        """To it and its children: SIGSTOP, so that another server has the core, SIGCONT when it is its turn."""
        for pid in family(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body of an answer, over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def wait(self, path: str = "/docs", *, every_s: float = 0.05) -> Self:
        """Until it answers anything at all on `path`.

        Raises:
            DidNotStart: it ended, or it took too long.
        """
        end = time.monotonic() + START_S
        while time.monotonic() < end and self.process.poll() is None:
            try:
                self.request("GET", path)
            except OSError:
                time.sleep(every_s)
            else:
                return self
        self.log.seek(0)
        raise DidNotStart(f"{self.spec.name} did not start: {self.log.read()[-1000:].decode(errors='replace')}")

    def check(self, work: Work) -> float:
        """See that it answers `work` rightly, before anything is timed; the largest absolute error."""
        form = self.spec.form
        status, answer = self.request("POST", self.spec.path(work), form.body(work), form.headers(work))
        if status != 200:
            raise DidNotStart(f"{self.spec.name} answers {work.name} with {status}: {answer[:200]!r}")
        return work.compare(form.probabilities(answer)) if self.spec.computes else 0.0

    def usage(self) -> tuple[float, float]:
        """CPU seconds since the start, and resident MB now, of it and its children."""
        used = [used_by(pid) for pid in family(self.process.pid)]
        return sum(cpu_s for cpu_s, _ in used), sum(mb for _, mb in used)

    def memory_mb(self) -> float:
        """What it and its children hold, MB; pages that several of them share count once (PSS)."""
        return sum(shared_mb(pid) for pid in family(self.process.pid))

    def settle(self) -> None:
        """Until it has finished what it was left with."""
        end = time.monotonic() + SETTLE_S
        before = -1.0
        while time.monotonic() < end and (now := self.usage()[0]) > before + IDLE_S:
            before = now
            time.sleep(0.05)


class Watch:
    """Looks at a server and its core from now on."""

    def __init__(self, server: Server, core: int | None) -> None:
        self.server = server
        self.core = core
        self.cpu_s = server.usage()[0]
        self.busy_s = busy_s(core)
        self.start = time.monotonic()

    def seen(self) -> tuple[float, float]:
        """CPU seconds of the server, and the share of the core that went to other processes, which spoils a run."""
        cpu_s = self.server.usage()[0] - self.cpu_s
        took = time.monotonic() - self.start
        return cpu_s, max(0.0, busy_s(self.core) - self.busy_s - cpu_s) / took


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has."""
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        return int(some.getsockname()[1])


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """What is started in here runs on `core`: a child has the affinity of the thread that makes it."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cores() -> tuple[int | None, int | None]:
    """One core for servers and one for the generator; none where the system pins nothing or has one core."""
    mine = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return (mine[0], mine[-1]) if len(mine) > 1 else (None, None)
