"""An RPC on its way: what its metadata say, what its bytes hold, how it ends, and its line in the access log."""

import asyncio
from typing import Any, Final, Protocol

import grpc
import orjson

from service.api.protocol.answers import Serving
from service.errors import AnsweredError
from service.rpc.infer import INFER
from service.telemetry.access import AccessLine
from service.transports.budget import ARRIVAL_COST, METERED_FROM, Budget
from service.transports.gate import Gate
from service.transports.handler import Begun, Handles
from service.transports.limits import Limits
from service.transports.response import Response
from service.transports.scopes import find_scope
from service.transports.tls import Certificate

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
        metadata = context.invocation_metadata()
        self.headers: Headers = [(key.encode(), value.encode()) for key, value in metadata if key in METADATA]
        self.request_id, self.key, self.error = state.gate.check(self.headers, INFER, find_scope("POST", method))
        if len(metadata) > state.limits.max_headers:
            self.error = state.limits.header_count_error(len(metadata))
        self.line = self.new_line()

    def new_line(self) -> AccessLine | None:
        """The line in the access log of a request that is there now, where there is such a log."""
        if not self.state.access_log:
            return None
        return AccessLine("POST", self.method.encode(), self.request_id, self.key)

    async def end(self, answer: Response) -> bytes:
        """Response: the message of an answer, or its error as the RPC's status."""
        trailing = [("x-request-id", self.request_id.decode()), ("server-timing", answer.timing.decode())]
        trailing += [(name.decode(), value.decode()) for name, value in answer.headers]
        if self.line is not None:
            self.line.write(answer.status, answer.request)
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
        self.line: AccessLine | None = None
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
        if self.line is not None:
            self.line.write(request=self.begun)
        if self.held:
            self.budget.arriving -= self.held
            self.budget.give(self.held)
            self.held = 0
        if self.begun is not None:
            self.begun.abandon()
