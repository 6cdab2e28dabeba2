"""The server: which transport it takes, and how it takes connections."""

import asyncio
import socket
import threading
from contextlib import ExitStack
from functools import partial

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.process.server import N_ACCEPTED, choose_protocol
from service.settings import Settings
from service.transports.fast_known import KnownProtocol
from service.transports.ordinary import OrdinaryProtocol
from service.transports.private_names import missing_names
from tests.conftest import serving
from tests.transports.changed_uvicorn import renamed


@pytest.fixture
def changed_uvicorn(monkeypatch: pytest.MonkeyPatch) -> str:
    """A uvicorn that calls its pipeline something else; yields the name that is missing."""
    monkeypatch.setattr("service.process.server.missing_names", partial(missing_names, renamed("pipeline")))
    return "pipeline"


@pytest.mark.parametrize(("fast_http", "protocol"), [(True, KnownProtocol), (False, OrdinaryProtocol)])
def test_the_settings_choose_the_transport(
    fast_http: bool, protocol: type[OrdinaryProtocol], caplog: pytest.LogCaptureFixture
) -> None:
    assert choose_protocol(Settings(fast_http=fast_http)) is protocol
    assert caplog.records == []


@pytest.mark.parametrize("fast_http", [True, False])
def test_a_uvicorn_that_cannot_carry_the_transports_gets_its_own_and_a_warning(
    fast_http: bool, changed_uvicorn: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert choose_protocol(Settings(fast_http=fast_http)) is HttpToolsProtocol
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == (
        f"uvicorn {uvicorn.__version__} has no {changed_uvicorn}: requests go through ASGI, which is slower, and "
        "headers, seconds and connections have no limits; expected a version that pyproject.toml names"
    )


@pytest.mark.usefixtures("changed_uvicorn")
def test_over_a_uvicorn_that_cannot_carry_it_predictions_are_answered() -> None:
    with serving(fast_http=True) as running:
        assert running.server.config.http_protocol_class is HttpToolsProtocol
        for _ in range(3):
            answer = running.predict({"logits": [2.0, 1.0, 0.1]})
            assert answer.json()["probabilities"] == pytest.approx([0.659, 0.242, 0.099], abs=1e-3)


def test_many_connections_are_taken_in_one_turn_of_the_loop() -> None:
    """The loop is held while 48 clients connect; how many turns go by until all are there."""
    held, go, there = threading.Event(), threading.Event(), threading.Event()
    counts: list[int] = []

    def hold() -> None:
        held.set()
        go.wait(30)
        look()

    def look() -> None:
        counts.append(len(running.server.server_state.connections))
        if counts[-1] < 3 * N_ACCEPTED:
            asyncio.get_running_loop().call_soon(look)
        else:
            there.set()

    with serving() as running, ExitStack() as stack:
        assert running.service.batcher is not None
        running.service.batcher.loop.call_soon_threadsafe(hold)
        assert held.wait(30)
        for _ in range(3 * N_ACCEPTED):
            stack.enter_context(socket.create_connection(("127.0.0.1", running.port), timeout=10))
        go.set()
        assert there.wait(30)
    assert counts[0] == 0
    assert len(counts) <= 8  # it would be one a turn
