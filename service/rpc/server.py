"""The server: RPCs in, the service's own answers out, each with a gRPC status, a request id and its timing.

Runs on the loop of the service, so that a row that came over gRPC waits in the same queue as any other.
"""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, Protocol

# what the C core has to say of its clients would come beside the log
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
import orjson
from google.protobuf.json_format import ParseDict

from service.api.protocol.answers import Serving
from service.errors import AnsweredError, NotReady, RunFailed
from service.rpc.gatherer import Gatherer
from service.rpc.infer import INFER, open_message
from service.rpc.messages import (
    INFERENCE,
    ModelInferResponse,
    ModelStreamInferResponse,
    method_types,
    parse_question,
)
from service.rpc.operations import OPERATIONS, Operation
from service.rpc.port import add_port, channel_options
from service.telemetry.logs import log_access, request_extra
from service.transports.budget import ARRIVAL_COST, METERED_FROM, Budget
from service.transports.endpoints import Target
from service.transports.gate import Gate, key_error
from service.transports.handler import Begun, Handles
from service.transports.limits import Limits
from service.transports.response import Response, error_response
from service.transports.scopes import PREDICT_SCOPE, find_scope
from service.transports.tls import Certificate

logger = logging.getLogger(__name__)

GRACE_S: Final = 30  # for what is in flight at shutdown
MAX_AHEAD: Final = 64  # requests of one stream that are read before the first of them is answered
METADATA: Final = frozenset({"authorization", "x-request-id", "traceparent", "tracestate"})
CODES: Final = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    431: grpc.StatusCode.RESOURCE_EXHAUSTED,  # as the library has it for too many bytes
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}

Context = Any  # grpc.aio's ServicerContext
Headers = list[tuple[bytes, bytes]]


class State(Serving, Protocol):
    """What of the running service is asked here."""

    gate: Gate
    budget: Budget
    limits: Limits
    certificate: Certificate | None
    handler: Handles
    access_log: bool

    def refuse(self, error: AnsweredError) -> Response:
        """The counted answer to a request that came no further than the gate."""


class Call:
    """An RPC as it came: what its metadata say, and how it ends."""

    def __init__(self, state: State, method: str, context: Context) -> None:
        self.state = state
        self.method = method
        self.context = context
        self.started = time.perf_counter()
        metadata = context.invocation_metadata()
        self.headers: Headers = [(key.encode(), value.encode()) for key, value in metadata if key in METADATA]
        self.request_id, self.key, self.error = state.gate.check(self.headers, INFER, find_scope("POST", method))
        if len(metadata) > state.limits.max_headers:
            self.error = state.limits.header_count_error(len(metadata))

    async def end(self, answer: Response) -> bytes:
        """Response: the message of an answer, or its error as the RPC's status."""
        trailing = [("x-request-id", self.request_id.decode()), ("server-timing", answer.timing.decode())]
        trailing += [(name.decode(), value.decode()) for name, value in answer.headers]
        if self.state.access_log:
            name = None if self.key is None else self.key.name
            took_s = time.perf_counter() - self.started
            log_access("POST", self.method.encode(), answer.status, self.request_id, name, took_s, answer.request)
        if answer.status == 200:
            self.context.set_trailing_metadata(tuple(trailing))
            return answer.body
        document = orjson.loads(answer.body)
        trailing.append(("error-code", document["code"]))
        code = CODES.get(answer.status, grpc.StatusCode.INTERNAL)
        await self.context.abort(code, document["error"], tuple(trailing))
        raise AssertionError  # abort raises


class Pending:
    """One ModelInferRequest on its way, and what its bytes hold of the budget."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.held = 0
        self.answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self.begun: Begun | None = None
        self.id = ""

    def reply(self, answer: Response) -> None:
        """The answer is there; nobody may want it any more."""
        if not self.answer.done():
            self.answer.set_result(answer)

    def hold(self, n_bytes: int) -> None:
        """Count the bytes of a message that has arrived; raises as `Budget.take` does."""
        if n_bytes >= METERED_FROM:
            self.budget.take_arriving(ARRIVAL_COST * n_bytes)
            self.held = ARRIVAL_COST * n_bytes

    def end(self) -> None:
        """It is answered, or nobody waits any more: its rows are dropped at their turn, its bytes count no longer."""
        if self.held:
            self.budget.arriving -= self.held
            self.budget.give(self.held)
            self.held = 0
        if self.begun is not None:
            self.begun.abandon()


class Inference:
    """ModelInfer and ModelStreamInfer."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.gatherer = Gatherer()
        self.readers: set[asyncio.Task[None]] = set()
        self.stopping = False

    def begin(self, pending: Pending, body: bytes, call: Call) -> None:
        """Decode a message and queue its rows, unless nobody waits any more."""
        if pending.answer.done():
            return
        if call.key is not None and (error := key_error(call.key, PREDICT_SCOPE)):  # revoked within a stream
            pending.reply(self.state.refuse(error))
            return
        try:
            message = open_message(body)
            pending.id = message.id
            pending.hold(len(body))
            target = Target(INFER, message.model_name, message.model_version or None)
            pending.begun = self.state.handler.begin(
                target, call.headers, call.request_id, message, pending.reply, n_bytes=len(body), key=call.key
            )
        except AnsweredError as error:
            pending.reply(self.state.refuse(error))
        except Exception as error:  # of this call alone: the others of its gathering begin
            if not pending.answer.done():
                pending.answer.set_exception(error)

    async def one(self, body: bytes, context: Context) -> bytes:
        call = Call(self.state, f"/{INFERENCE}/ModelInfer", context)
        if call.error is not None:
            return await call.end(self.state.refuse(call.error))
        pending = Pending(self.state.budget)
        self.gatherer.add(partial(self.begin, pending, body, call))
        try:
            answer = await pending.answer
        finally:
            pending.end()  # the client has gone, or its deadline has passed; nothing, if it was answered
        return await call.end(answer)

    async def stream(self, bodies: AsyncIterator[bytes], context: Context) -> None:
        """ModelStreamInfer: answers in the order of the requests; one that is wrong does not end the stream."""
        call = Call(self.state, f"/{INFERENCE}/ModelStreamInfer", context)
        error = call.error or (NotReady("the service is stopping") if self.stopping else None)
        if error is not None:
            await call.end(self.state.refuse(error))
        queue: asyncio.Queue[Pending | None] = asyncio.Queue()
        room = asyncio.Semaphore(MAX_AHEAD)
        reader = asyncio.create_task(self.read(bodies, call, queue, room))
        self.readers.add(reader)
        pending: Pending | None = None
        try:
            while (pending := await queue.get()) is not None:
                answer = await pending.answer
                pending.end()
                await context.write(stream_message(answer, pending.id))
                room.release()
        finally:
            reader.cancel()
            self.readers.discard(reader)
            while pending is not None:
                pending.end()
                pending = None if queue.empty() else queue.get_nowait()
        await call.end(error_response(NotReady("the service is stopping")) if self.stopping else Response(200, b""))

    async def read(
        self, bodies: AsyncIterator[bytes], call: Call, queue: "asyncio.Queue[Pending | None]", room: asyncio.Semaphore
    ) -> None:
        """Begin whatever comes on a stream, until its client has nothing more or the service stops."""
        try:
            await room.acquire()  # before a message comes, which is counted once it is there
            async for body in bodies:
                pending = Pending(self.state.budget)
                self.begin(pending, body, call)
                queue.put_nowait(pending)
                del body, pending  # while the next is waited for
                await room.acquire()
        finally:
            queue.put_nowait(None)

    def stop(self) -> None:
        """End the streams, once what they have sent is answered."""
        self.stopping = True
        for reader in self.readers:
            reader.cancel()


def stream_message(answer: Response, id_: str) -> bytes:
    """An answer as a message of a stream."""
    message = ModelStreamInferResponse()
    if answer.status == 200:
        message.infer_response.MergeFromString(answer.body)
    else:
        message.error_message = orjson.loads(answer.body)["error"]
        message.infer_response.CopyFrom(ModelInferResponse(id=id_))
    return bytes(message.SerializeToString())


def unary(state: State, service: str, method: str, operation: Operation) -> Any:
    """The handler of an operation."""
    asked, answered = method_types(service, method)

    async def handle(body: bytes, context: Context) -> bytes:
        call = Call(state, f"/{service}/{method}", context)
        if call.error is not None:
            return await call.end(error_response(call.error))
        try:
            given = await operation(state, parse_question(asked, body))
            answer = Response(200, ParseDict(given, answered()).SerializeToString())
        except AnsweredError as error:
            answer = error_response(error)
        except Exception:
            logger.exception("a call could not be handled", extra=request_extra(call.request_id))
            answer = error_response(RunFailed("the service failed to handle this request", code="internal_error"))
        return await call.end(answer)

    return grpc.unary_unary_rpc_method_handler(handle)


@asynccontextmanager
async def serve_rpc(state: State) -> AsyncIterator[None]:
    """Response RPCs on the settings' port as long as this lasts; at its end what is under way is answered.

    Raises:
        CannotStart: the port is taken.
    """
    settings = state.settings
    server = grpc.aio.server(options=channel_options(settings))
    inference = Inference(state)
    handlers = {
        "ModelInfer": grpc.unary_unary_rpc_method_handler(inference.one),
        "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(inference.stream),
    }
    for service, operations in OPERATIONS.items():
        more = {method: unary(state, service, method, operation) for method, operation in operations.items()}
        handlers_of = {**handlers, **more} if service == INFERENCE else more
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers_of),))
    add_port(server, settings, state.certificate)
    await server.start()
    try:
        yield
    finally:
        inference.stop()
        await server.stop(GRACE_S)
