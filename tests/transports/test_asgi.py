"""The ASGI transport under a server that the test plays itself, and clients that leave, on both transports."""

import asyncio
import socket
from collections.abc import Callable, MutableMapping
from typing import Any

from service.app import create_app
from service.settings import Settings
from tests.api.bodies import held
from tests.conftest import ROOT, Running


def scope(path: str = "/v1/predict", **extra: Any) -> dict[str, Any]:
    """An HTTP request."""
    return {
        "type": "http",
        "method": "POST",
        "path": path,
        "headers": [],
        "query_string": b"",
        "http_version": "1.1",
        **extra,
    }


async def ask(app: Any, scope_: dict[str, Any], *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """What is sent for what is received; after that nothing comes."""
    coming, sent = list(messages), []

    async def receive() -> dict[str, Any]:
        if coming:
            return coming.pop(0)
        return await asyncio.Future()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async with asyncio.timeout(10):
        await app(scope_, receive, send)
    return sent


def with_app(test: Callable[[Any], Any], **options: Any) -> None:
    """Run a coroutine function of the application between its startup and its shutdown."""

    async def main() -> None:
        app = create_app(Settings(models=ROOT / "models", watch=False, **options))
        events = [{"type": "lifespan.startup"}]
        more, started, stopped = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def receive() -> dict[str, Any]:
            if not events:
                await more.wait()
                return {"type": "lifespan.shutdown"}
            return events.pop()

        async def send(message: MutableMapping[str, Any]) -> None:
            (started if message["type"] == "lifespan.startup.complete" else stopped).set()

        lifespan = asyncio.create_task(app({"type": "lifespan", "state": {}}, receive, send))
        await started.wait()
        try:
            await test(app)
        finally:
            more.set()
            await lifespan
        assert stopped.is_set()

    asyncio.run(main())


def body(part: bytes, more: bool = False) -> dict[str, Any]:
    """A piece of the body."""
    return {"type": "http.request", "body": part, "more_body": more}


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
        (group,) = app.batcher.queues.values()
        assert [entry.done for entry in group.waiting] == [None]
        group.flush_timer.cancel()
        group.flush()
        assert app.batcher.n_waiting == 0

    with_app(test, max_wait_ms=60_000)


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
