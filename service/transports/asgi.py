"""The ASGI lane: a dispatcher in front of the FastAPI app that takes predict and infer itself. Runs under any server.

It also gives every other answer its request id and timing.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any, Final

from service.errors import AnsweredError, MethodNotAllowed, NotReady, Unauthorized
from service.telemetry.counts import Telemetry
from service.telemetry.logs import access
from service.transports.endpoints import target
from service.transports.exchange import Exchange, Predict
from service.transports.gate import Answer, Gate, Headers, Reply, Target, refusal
from service.transports.predict import PREDICT

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


GUARDED: Final = (b"/v1/", b"/v2/")  # what a key is needed for; health, metrics and the docs are open


class Gone(Exception):
    """The client has left."""


class Dispatcher:
    """Predict by the short way, everything else by the app behind it."""

    draining: bool = False

    def __init__(self, app: Application, gate: Gate, telemetry: Telemetry, *, access_log: bool = False) -> None:
        self.access_log = access_log
        self.app = app
        self.gate = gate
        self.telemetry = telemetry
        self.predict: Predict | None = None  # there is one between startup and shutdown

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = raw_path(scope)
        if self.draining:
            send = farewell(send)
        if self.access_log:
            send = logged(send, scope["method"], path)
        to = target(path)
        request_id, error = self.gate.check(scope["headers"], to.face if to else PREDICT)
        if to is not None:
            if scope["method"] != "POST":
                error = MethodNotAllowed(f"{scope['method']} does not {to.face.verb}; POST does", allow="POST")
            await self.answer(to, scope["headers"], request_id, error, receive, send)
        elif isinstance(error, Unauthorized) and path.startswith(GUARDED):
            await respond(send, refusal(error), request_id)
        else:
            marking = Marking(send, request_id)
            try:
                await self.app(scope, receive, marking)
            except Exception:
                # Starlette answers and raises all the same; the server would log it again and cut the connection
                if not marking.complete:
                    raise

    async def answer(
        self,
        to: Target,
        headers: Headers,
        request_id: bytes,
        error: AnsweredError | None,
        receive: Receive,
        send: Send,
    ) -> None:
        """One prediction."""
        try:
            if error is not None:
                raise error
            if self.predict is None:
                raise NotReady("the service is starting")
            body = await read(receive, self.gate)
            answer = await predicted(partial(self.predict, to, headers, request_id, body), receive)
        except AnsweredError as refused:
            answer = self.refuse(refused)
        except Gone:
            return
        await respond(send, answer, request_id)

    def refuse(self, error: AnsweredError) -> Answer:
        """The answer to a request that came no further than the gate."""
        self.telemetry.refused(error.status, error.code)
        return refusal(error)


async def respond(send: Send, answer: Answer, request_id: bytes) -> None:
    """Send an answer whole."""
    headers = [
        (b"content-type", answer.content_type),
        (b"content-length", b"%d" % len(answer.body)),
        (b"x-request-id", request_id),
        (b"server-timing", answer.timing),
        *answer.headers,
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def farewell(send: Send) -> Send:
    """A `send` that closes the connection: the client shall go elsewhere with its next request."""

    async def closing(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
        await send(message)

    return closing


def logged(send: Send, method: str, path: bytes) -> Send:
    """A `send` that writes the access log."""

    async def logging(message: Message) -> None:
        if message["type"] == "http.response.start":
            access(method, path, message["status"], dict(message["headers"]).get(b"x-request-id", b"-"))
        await send(message)

    return logging


async def predicted(begin: Callable[[Reply], Exchange], receive: Receive) -> Answer:
    """The answer, as soon as it is there; raises Gone when the client has left before."""
    future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    exchange = begin(future.set_result)
    if not future.done():
        await asyncio.sleep(0)  # a short run is over by then
    if future.done():
        return future.result()
    leaving = asyncio.create_task(left(receive))
    try:
        await asyncio.wait((future, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not future.done():
            raise Gone
        return future.result()
    finally:
        leaving.cancel()
        exchange.abandon()


async def left(receive: Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def read(receive: Receive, gate: Gate) -> bytes:
    """The whole body.

    Raises:
        BodyTooLarge: it grew beyond the bound.
        Gone: the client left in the middle of it.
    """
    parts = []
    n_bytes = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        part = message.get("body", b"")
        n_bytes += len(part)
        if n_bytes > gate.max_body_bytes:
            raise gate.too_large()
        parts.append(part)
        more = message.get("more_body", False)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def raw_path(scope: Message) -> bytes:
    """The path as it came, without what the app is mounted under."""
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    root: bytes = scope.get("root_path", "").encode()
    return path.partition(b"?")[0].removeprefix(root)


class Marking:
    """A `send` that puts the request id and the time that it took on an answer, and knows when that is complete."""

    def __init__(self, send: Send, request_id: bytes) -> None:
        self.send = send
        self.request_id = request_id
        self.started = time.perf_counter()
        self.complete = False

    async def __call__(self, message: Message) -> None:
        """Pass a message on."""
        if message["type"] == "http.response.start":
            took = b"app;dur=%.3f" % (1e3 * (time.perf_counter() - self.started))
            marks = ((b"x-request-id", self.request_id), (b"server-timing", took))
            message["headers"] = [*message.get("headers", ()), *marks]
        await self.send(message)
        self.complete = message["type"] == "http.response.body" and not message.get("more_body", False)
