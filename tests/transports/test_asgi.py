"""The ASGI transport under a server that the test plays itself, and clients that leave, on both transports."""

import asyncio
import socket
from typing import Any

import pytest

from service.app import create_app
from service.settings import Settings
from tests.api.bodies import held
from tests.conftest import ROOT, Running
from tests.transports.played import ask, body, scope, with_app


def test_a_body_in_pieces_is_read_whole() -> None:
    async def test(app: Any) -> None:
        start, end = await ask(app, scope(), body(b'{"logits":', more=True), body(b"", more=True), body(b"[1]}"))
        assert start["status"] == 200
        assert (b"content-length", b"%d" % len(end["body"])) in start["headers"]

    with_app(test)


def test_a_client_that_leaves_in_its_body_gets_nothing() -> None:
    async def test(app: Any) -> None:
        assert await ask(app, scope(), body(b'{"logits":', more=True), {"type": "http.disconnect"}) == []

    with_app(test)


def test_a_client_that_leaves_while_it_waits_gives_its_place_away() -> None:
    async def test(app: Any) -> None:
        answer = await ask(app, scope(), body(b'{"logits":[1]}'), {"type": "http.disconnect"})
        assert answer == []
        (queue,) = app.batcher.queues.values()
        assert [entry.done for entry in queue.waiting] == [None]
        queue.flush_timer.cancel()
        queue.flush()
        assert app.batcher.n_waiting == 0

    with_app(test, max_wait_ms=60_000)


def test_a_body_that_the_server_goes_on_about_is_no_client_that_leaves() -> None:
    async def test(app: Any) -> None:
        rest = body(b""), body(b""), {"type": "http.disconnect"}
        assert await ask(app, scope(), body(b'{"logits":[1]}'), *rest) == []
        (queue,) = app.batcher.queues.values()
        assert [entry.done for entry in queue.waiting] == [None]

    with_app(test, max_wait_ms=60_000)


def test_a_page_that_fails_before_its_answer_is_complete_is_the_server_s_to_end() -> None:
    """Starlette answers a fault with a 500; where that cannot be sent any more, the connection must be closed."""

    async def test(app: Any) -> None:
        async def broken(_: Any, __: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            raise ValueError("no more")

        app.app = broken
        with pytest.raises(ValueError, match="no more"):
            await ask(app, scope("/readyz", method="GET"))

    with_app(test)


def test_a_path_below_a_mount_is_found() -> None:
    async def test(app: Any) -> None:
        mounted = scope("/api/v1/predict", root_path="/api", raw_path=b"/api/v1/predict")
        start, _ = await ask(app, mounted, body(b'{"logits":[1]}'))
        assert start["status"] == 200

    with_app(test)


def test_before_its_startup_the_application_is_not_ready() -> None:
    app = create_app(Settings(models=ROOT / "models", watch=False))
    start, end = asyncio.run(ask(app, scope(), body(b'{"logits":[1]}')))
    assert start["status"] == 503
    assert b'"code":"not_ready"' in end["body"]


def test_a_client_that_leaves_does_not_hurt_its_batch_mates(running: Running) -> None:
    with held(running) as hold:
        with socket.create_connection(("127.0.0.1", running.port)) as leaving:
            leaving.sendall(b'POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-length: 14\r\n\r\n{"logits":[1]}')
            hold.wait()
        assert running.client.get("/healthz").status_code == 200
        hold.go.set()
        assert running.predict({"logits": [1, 2]}).status_code == 200
