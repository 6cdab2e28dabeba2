"""A service to test against: the real one, on a free port of 127.0.0.1, over both transports."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest

from service.app import Service, create_app
from service.process.server import Server
from service.settings import Settings
from service.transports.ordinary import OrdinaryProtocol
from tests import families_made

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
# a busy machine is no fault of what is tested
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")
TRANSPORTS = {"fast HTTP": True, "ASGI": False}


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option of `make check-deploy`."""
    parser.addoption(
        "--thorough", action="store_true", help="run the tests marked online too; a missing tool is a failure, no skip"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what needs the network or a container engine, unless it is asked for."""
    if not config.getoption("thorough"):
        for item in items:
            if item.get_closest_marker("online"):
                item.add_marker(pytest.mark.skip(reason="needs the network or an engine: make check-deploy"))


class Running:
    """A service that answers on `port`, and a client of it."""

    def __init__(self, service: Service, server: Server, port: int) -> None:
        self.service = service
        self.server = server
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.client = httpx.Client(base_url=self.url, timeout=30)

    def predict(self, body: Any, model: str = "softmax", **options: Any) -> httpx.Response:
        """POST a prediction; bytes as they are, anything else as JSON."""
        how = {"content": body} if isinstance(body, bytes) else {"json": body}
        return self.client.post(f"/v1/models/{model}/predict", **how, **options)

    def raw(self, sent: bytes, *, close: bool = True) -> bytes:
        """What comes back for bytes on a socket, until the other side closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(sent)
            if close:
                connection.shutdown(socket.SHUT_WR)
            parts = []
            while part := connection.recv(65536):
                parts.append(part)
            return b"".join(parts)


@contextmanager
def serving(*, protocol: type[OrdinaryProtocol] | None = None, **options: Any) -> Iterator[Running]:
    """Run a service in a thread, with settings as given; `protocol` reads its connections, else the server chooses."""
    # what is loaded was made here, and a process more for each service takes its time
    settings = Settings(**{"models": ROOT / "models", "watch": False, "load_timeout_s": 0, **options})
    service = create_app(settings)
    with pytest.MonkeyPatch.context() as patch:
        if protocol is not None:
            patch.setattr("service.process.server.choose_protocol", lambda _: protocol)
        server = Server(service)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            while not (server.started and server.servers):  # what listens comes last
                assert thread.is_alive(), "the server did not start"
                time.sleep(0.005)
            running = Running(service, server, listening.getsockname()[1])
            with running.client:
                yield running
        finally:
            server.should_exit = True
            thread.join(timeout=30)
            assert not thread.is_alive(), "the server did not stop"


@pytest.fixture(scope="session", params=TRANSPORTS)
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    """The shipped models, over one transport after the other."""
    with serving(fast_http=TRANSPORTS[request.param]) as service:
        yield service


@pytest.fixture(scope="session")
def family_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a head of every family."""
    return families_made.make(tmp_path_factory.mktemp("families") / "models")


@pytest.fixture(scope="session", params=TRANSPORTS)
def families(request: pytest.FixtureRequest, family_models: Path) -> Iterator[Running]:
    """A service of them, over one transport after the other."""
    with serving(fast_http=TRANSPORTS[request.param], models=family_models) as service:
        yield service


@pytest.fixture(params=TRANSPORTS)
def run(request: pytest.FixtureRequest) -> Iterator[Callable[..., Running]]:
    """Make a service with settings of one's own, over one transport after the other."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(serving(fast_http=TRANSPORTS[request.param], **options))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of cases that lies beside the checkout; without it the test is skipped."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared")
    return SHARED
