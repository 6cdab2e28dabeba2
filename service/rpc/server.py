"""The server: RPCs in, the service's own answers out, each with a gRPC status, a request id and its timing.

Runs on the loop of the service, so that a row that came over gRPC waits in the same queue as any other.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

# what the C core has to say of its clients would come beside the log
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
import orjson
from google.protobuf.json_format import ParseDict

from service.errors import AnsweredError, NotReady, RunFailed
from service.rpc.call import Call, Context, Pending, State
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
from service.telemetry.logs import request_extra
from service.transports.endpoints import Target
from service.transports.gate import key_error
from service.transports.response import Response, error_response
from service.transports.scopes import PREDICT_SCOPE

logger = logging.getLogger(__name__)

GRACE_S: Final = 30  # for what is in flight at shutdown
MAX_AHEAD: Final = 64  # requests of one stream that are read before the first of them is answered


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
        except asyncio.CancelledError:
            pending.line = call.line
            raise
        finally:
            pending.end()  # the client has gone, or its deadline has passed; nothing, if it was answered
        return await call.end(answer)

    async def stream(self, bodies: AsyncIterator[bytes], context: Context) -> None:
        """ModelStreamInfer: answers in the order of the requests; one that is wrong does not end the stream."""
        call = Call(self.state, f"/{INFERENCE}/ModelStreamInfer", context)
        error = call.error or (NotReady("the service is stopping") if self.stopping else None)
        if error is not None:
            await call.end(self.state.refuse(error))
        call.line = None  # from here on each request has its own
        queue: asyncio.Queue[Pending | None] = asyncio.Queue()
        room = asyncio.Semaphore(MAX_AHEAD)
        reader = asyncio.create_task(self.read(bodies, call, queue, room))
        self.readers.add(reader)
        pending: Pending | None = None
        try:
            while (pending := await queue.get()) is not None:
                answer = await pending.answer
                if pending.line is not None:
                    pending.line.write(answer.status, answer.request)
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
                pending.line = call.new_line()
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
        except asyncio.CancelledError:
            if call.line is not None:
                call.line.write()
            raise
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
