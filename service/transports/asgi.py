"""The ASGI transport: a dispatcher before the FastAPI app that takes predict and infer itself. Runs under any server.

It also gives every other answer its request id and timing.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any, Final

from service.errors import AnsweredError, BodyTooLarge, Forbidden, MethodNotAllowed, Unauthorized
from service.telemetry.access import AccessLine
from service.telemetry.observer import Observer
from service.transports.budget import Budget
from service.transports.endpoints import PREDICT, Target, find_target
from service.transports.gate import Gate, check_revoked
from service.transports.handler import Begun, Handles, Starting
from service.transports.keys import Key
from service.transports.known import KnownHeaders
from service.transports.limits import Limits
from service.transports.places import Connections
from service.transports.response import Response, error_response
from service.transports.scopes import find_scope
from service.transports.turns import Starts

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


KEY: Final = "calibrant.key"  # in the scope: the key of the request, if it needs one
LINE: Final = "calibrant.line"  # in the scope: the request's line in the access log, where there is that
REQUEST: Final = "calibrant.request"  # in the message that starts an answer: what ended with it, for the access log
REFUSAL: Final = "calibrant.refusal"  # in the scope: the error that our own protocol wants answered
IS_LAST: Final = "calibrant.last"  # in the scope of the last request that our own protocol takes from a connection


class Gone(Exception):
    """The client has left."""


class Dispatcher:
    """Predict by the short way, everything else by the app behind it."""

    draining: bool = False

    def __init__(
        self,
        app: Application,
        gate: Gate,
        limits: Limits,
        budget: Budget,
        observer: Observer,
        *,
        access_log: bool = False,
    ) -> None:
        self.budget = budget
        self.access_log = access_log
        self.limits = limits
        self.connections = Connections(limits)
        self.app = app
        self.gate = gate
        self.observer = observer
        self.known = KnownHeaders()
        self.handler: Handles = Starting(observer)  # until there is one
        self.starts = Starts()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = raw_path(scope)
        if self.draining or IS_LAST in scope:
            send = closing_send(send)
        if not self.access_log:
            await self.dispatch(path, scope, receive, send)
            return
        line = scope[LINE] = scope.get(LINE) or AccessLine(scope["method"], path)
        line.path = path
        try:
            await self.dispatch(path, scope, receive, logging_send(send, line))
        finally:
            line.write()

    async def dispatch(self, path: bytes, scope: Message, receive: Receive, send: Send) -> None:
        target = find_target(path)
        request_id, scope[KEY], error = self.gate.check(
            scope["headers"], target.endpoint if target else PREDICT, find_scope(scope["method"], routed_path(scope))
        )
        if (line := scope.get(LINE)) is not None:
            line.request_id, line.key = request_id, scope[KEY]
        error = error or scope.get(REFUSAL)
        if target is not None:
            if scope["method"] != "POST":
                error = MethodNotAllowed(f"{scope['method']} does not {target.endpoint.verb}; POST does", allow="POST")
            await self.answer(target, scope, request_id, error, receive, send)
        elif REFUSAL in scope or isinstance(error, (Unauthorized, Forbidden)):
            assert error is not None  # noqa: S101 - for mypy
            await respond(send, error_response(error), request_id)
        else:
            marking = MarkingSend(send, request_id)
            try:
                await self.app(scope, receive, marking)
            except Exception:
                # Starlette answers and raises all the same; the server would log it again and cut the connection
                if not marking.complete:
                    raise

    async def answer(
        self,
        target: Target,
        scope: Message,
        request_id: bytes,
        error: AnsweredError | None,
        receive: Receive,
        send: Send,
    ) -> None:
        try:
            if error is not None:
                raise error
            begin = partial(self.handler.begin, target, scope["headers"], request_id)
            body = await read_body(receive, scope[KEY], self.gate.max_body_bytes, self.gate.too_large)
            response = await first_of(begin, body, scope[KEY], receive)
        except AnsweredError as refused:
            response = self.refuse(refused)
        except Gone:
            return
        await respond(send, response, request_id)

    def refuse(self, error: AnsweredError) -> Response:
        """The response to a request that came no further than the gate; the observer is told."""
        response = error_response(error)
        self.observer.refused(None, error, response)
        return response


async def respond(send: Send, response: Response, request_id: bytes) -> None:
    """Send a response whole."""
    headers = [
        (b"content-type", response.content_type),
        (b"content-length", b"%d" % len(response.body)),
        (b"x-request-id", request_id),
        (b"server-timing", response.timing),
        *response.headers,
    ]
    start = {"type": "http.response.start", "status": response.status, "headers": headers}
    await send({**start, REQUEST: response.request} if response.request is not None else start)
    await send({"type": "http.response.body", "body": response.body})


def closing_send(send: Send) -> Send:
    """A `send` that closes the connection: the client shall go elsewhere with its next request."""

    async def closing(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
        await send(message)

    return closing


def logging_send(send: Send, line: AccessLine) -> Send:
    """A `send` that writes the line of a request, before the last of its answer is sent."""

    async def logging(message: Message) -> None:
        if message["type"] == "http.response.start":
            line.status, line.request = message["status"], message.pop(REQUEST, None)
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            line.write()
        await send(message)

    return logging


async def first_of(begin: Callable[..., Begun], body: bytes, key: Key | None, receive: Receive) -> Response:
    """The response to a body, as soon as it is there; raises Gone when the client has left before."""
    future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
    begun = begin(body, future.set_result, len(body), key=key)
    del body  # the handler lets go of it once it is decoded
    if not future.done():
        await asyncio.sleep(0)  # a short run is over by then
    if future.done():
        return future.result()
    leaving = asyncio.create_task(wait_until_gone(receive))
    try:
        await asyncio.wait((future, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not future.done():
            raise Gone
        return future.result()
    finally:
        leaving.cancel()
        begun.abandon()


async def wait_until_gone(receive: Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def read_body(receive: Receive, key: Key | None, max_bytes: int, too_large: Callable[[], BodyTooLarge]) -> bytes:
    """The whole body of a request with this key.

    Raises:
        BodyTooLarge: it grew beyond `max_bytes`, as `too_large` says.
        Unauthorized: the key was revoked meanwhile.
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
        if n_bytes > max_bytes:
            raise too_large()
        parts.append(part)
        more = message.get("more_body", False)
    check_revoked(key)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def raw_path(scope: Message) -> bytes:
    """The path as it came, without what the app is mounted under."""
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    root: bytes = scope.get("root_path", "").encode()
    return path.partition(b"?")[0].removeprefix(root)


def routed_path(scope: Message) -> str:
    """The path as the app's routes see it, without what the app is mounted under."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


class MarkingSend:
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
