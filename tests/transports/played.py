"""Servers that the test plays itself: one that speaks ASGI, and a socket that uvicorn's protocol writes to."""

import asyncio
from collections.abc import Callable, MutableMapping
from typing import Any, TypeVar

from uvicorn import Config
from uvicorn.server import ServerState

from service.app import Service, create_app
from service.settings import Settings
from service.transports.ordinary import OrdinaryProtocol
from tests.conftest import ROOT

Kind = TypeVar("Kind", bound=OrdinaryProtocol)


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


class PlayedSocket(asyncio.Transport):
    """What a protocol writes to, and what it does with the connection."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.n_closed = 0
        self.reads = True

    def write(self, data: Any) -> None:
        """Keep it."""
        self.written += data

    def close(self) -> None:
        """Count it; the connection is lost when the test says so."""
        self.n_closed += 1

    def abort(self) -> None:
        """As closing."""
        self.close()

    def get_write_buffer_size(self) -> int:
        """All is sent at once."""
        return 0

    def can_write_eof(self) -> bool:
        """As over TLS."""
        return False

    def is_closing(self) -> bool:
        """Whether somebody wants it closed."""
        return self.n_closed > 0

    def pause_reading(self) -> None:
        """Nothing more shall come."""
        self.reads = False

    def resume_reading(self) -> None:
        """It may come again."""
        self.reads = True


def connect(app: Service, kind: type[Kind]) -> tuple[Kind, PlayedSocket]:
    """A connection to a service that has started, and answers from inside `data_received`."""
    assert app.batcher is not None
    app.batcher.inline_s = 1.0  # whatever runs take here and now
    protocol = kind(Config(app, log_config=None, lifespan="off"), ServerState(), {}, asyncio.get_running_loop())
    played = PlayedSocket()
    protocol.connection_made(played)
    return protocol, played
