"""One request, from its body to its answer: decode, the batcher, encode. Knows no transport."""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from service.codec.query import Query
from service.engine.batcher import MANY, Batcher
from service.engine.entry import TOO_LATE, Entry
from service.engine.rows import Runnable, looks_like_probabilities
from service.errors import AnsweredError, DeadlinePassed, RunFailed
from service.families import Answers
from service.families.outputs import CLASSIFIER_LOGITS
from service.model import Model
from service.repository import Repository
from service.telemetry.logs import request_extra
from service.telemetry.observer import Observer
from service.telemetry.request import Request
from service.transports.budget import JSON_COST, NUMBER_COST, SMALL, UNPACKING_COST, Budget, json_cost
from service.transports.compression import choose_coding, find_coding, pack, unpack, unpacked_bound
from service.transports.endpoints import PLAIN, Target
from service.transports.gate import check_revoked
from service.transports.keys import Key
from service.transports.response import Reply, Response, answer_response, error_response, server_timing
from service.transports.turns import Turns

logger = logging.getLogger(__name__)
clock: Final = time.perf_counter

# Encoding the answer to so many numbers takes about half a millisecond, and waits for a turn of its own.
OWN_TURN_FROM: Final = 2**15


class Surroundings:
    """What an exchange needs of the handler that began it, which is one."""

    def __init__(
        self,
        repository: Repository,
        batcher: Batcher,
        budget: Budget,
        observer: Observer,
        *,
        default_model: str,
        default_timeout_s: float,
        max_body_bytes: int,
        max_unpacked_ratio: int,
    ) -> None:
        self.repository = repository
        self.batcher = batcher
        self.budget = budget
        self.observer = observer
        self.default_model = default_model
        self.default_timeout_s = default_timeout_s
        self.max_body_bytes = max_body_bytes
        self.max_unpacked_ratio = max_unpacked_ratio
        self.turns = Turns()


class Exchange(Request):
    """One request; the reply is called once, unless the exchange is abandoned before."""

    __slots__ = (
        "body",
        "concluded",
        "entry",
        "framing",
        "handler",
        "key",
        "n_bytes",
        "reply",
        "reserved",
        "target",
    )

    def __init__(
        self, handler: Surroundings, target: Target, request_id: bytes, body: Any, reply: Reply, key: Key | None
    ) -> None:
        super().__init__(request_id, target.endpoint.verb)
        self.handler = handler
        self.target = target
        self.key = key
        self.framing = PLAIN
        self.body = body  # bytes, or a message, of which a metered one knows its `reading_cost`
        self.n_bytes = 0  # of the body, if it is one that is metered
        self.reserved = 0  # bytes of the budget
        self.reply: Reply | None = reply
        self.entry: Entry | None = None
        self.concluded = False  # the observer has heard how it ended, which it does once

    def abandon(self) -> None:
        """The client has gone: its rows are dropped at their turn, and nothing is written any more."""
        if self.reserved:
            self.reserve(0)
        if self.reply is not None:
            self.reply = None
            if not self.concluded:
                self.concluded = True
                self.handler.observer.gone(self)
        if self.entry is not None:
            self.entry.abandon()

    def begin(self, n_connections: int = MANY, came_at: float = 0.0) -> None:
        """Decode, and run the rows, or queue them; the time since `came_at`, if it had to wait, is its own."""
        if self.reply is None:
            return
        started = came_at or clock()
        handler, batcher = self.handler, self.handler.batcher
        try:
            batcher.admit()
            if self.key is not None or self.n_bytes:
                self.check_whole()
            target = self.target
            model = self.model = handler.repository.find(target.model or handler.default_model, target.version)
            query = self.query = target.endpoint.decode(self.body, self.framing.header_length, model.signature)
            self.body = b""
            self.decode_s = clock() - started
            arrays: Answers = {}
            rows = query.rows
            self.n_rows = rows.n
            if self.n_bytes:
                self.reserve(NUMBER_COST * rows.n_numbers)
            if self.key is not None and self.key.rate is not None:
                self.key.rate.take(rows.n)
            if rows.n:
                bits = model.signature.bits(query.needs)
                timeout_s = (query.timeout_s or handler.default_timeout_s) - self.decode_s
                ran = batcher.run_now(model.head, rows, bits, timeout_s, self.mark, n_connections, query.binary)
                if ran is None:
                    self.submit(model, rows, bits, timeout_s)
                    return
                arrays, self.run_s = ran
        except AnsweredError as error:
            self.decode_s = self.decode_s or clock() - started
            response = self.refuse(error)
        except Exception:
            response = self.fail("a request could not be handled")
        else:
            self.end(arrays)
            return
        # not before the error is gone, and with it the frames that hold the body
        self.settle(response)

    def check_whole(self) -> None:
        """Pass a body that is there; raises what `check_revoked` and `reserve` raise."""
        check_revoked(self.key)
        if self.n_bytes:
            self.reserve_reading()

    def reserve_reading(self) -> None:
        """Hold what reading a body may take, before its numbers are counted; raises what `reserve` raises.

        For a little JSON it is enough to see that there is room: nobody else takes any before they are counted.
        """
        if not isinstance(self.body, bytes):
            self.reserve(self.body.reading_cost())
            return
        length, n_json = self.framing.header_length, self.n_bytes
        if length is not None and length.isdigit():  # binary data stand behind the JSON
            n_json = min(n_json, int(length[:19]))
        worst, budget = JSON_COST * n_json, self.handler.budget
        if not budget.has(worst):
            self.reserve(json_cost(self.body[:n_json]))
        elif worst > SMALL:
            self.reserve(worst)

    def reserve(self, n_bytes: int) -> None:
        """Hold so much of the budget from now on, more or less than before; raises what it raises."""
        self.reserved = self.handler.budget.change(self.reserved, n_bytes)

    def submit(self, model: Model, rows: Runnable, bits: int, timeout_s: float) -> None:
        """Queue the rows; raises what the batcher's `submit` raises."""
        try:
            self.entry = self.handler.batcher.submit(model.head, rows, bits, self.done, timeout_s, self.mark)
        except AnsweredError:
            self.give_back()
            raise

    def give_back(self) -> None:
        """Let the rows cost the key nothing: they were taken, and never run."""
        if self.key is not None and self.key.rate is not None:
            self.key.rate.give_back(self.n_rows)

    def done(self, entry: Entry) -> None:
        """The batcher has the answers: encode them, and reply."""
        self.queue_s, self.run_s = entry.queue_s, entry.run_s
        if entry.answers is None:
            if not entry.n_sent:  # none of its rows was in a batch
                self.give_back()
            self.settle(self.refuse(entry.error or RunFailed("the batch could not be run")))
        elif entry.rows.n_numbers < OWN_TURN_FROM:
            self.end(entry.answers)
        else:
            self.handler.turns.encode(partial(end_in_time, self, entry.answers, entry.deadline))

    def end(self, arrays: Answers) -> None:
        """Encode, and reply; packed, if that is wanted."""
        query: Query | None = self.query
        model: Model | None = self.model
        if self.reply is None or query is None or model is None:
            return
        start = clock()
        try:
            if model.signature.takes == "inputs" and CLASSIFIER_LOGITS in arrays:
                query.rows.looks_like_probabilities = looks_like_probabilities(arrays[CLASSIFIER_LOGITS])
            body, n_header = self.target.endpoint.encode(query, arrays, model.signature)
        except Exception:
            self.settle(self.fail("an answer could not be encoded"))
            return
        self.encode_s = clock() - start
        timing = server_timing(self.decode_s, self.queue_s, self.run_s, self.encode_s)
        response = answer_response(body, n_header, timing)
        self.concluded = True
        self.handler.observer.answered(self, arrays, response)
        accept = self.framing.accepted
        if accept is not None and (how := choose_coding(accept)):
            go_on_after(self, partial(pack, response.body, how), partial(self.reply_packed, response, how))
        else:
            self.settle(response)

    def reply_packed(self, response: Response, how: bytes, body: bytes) -> None:
        """Reply with a packed body."""
        response.body = body
        response.headers = (*response.headers, (b"content-encoding", how))
        self.settle(response)

    def put_unpacked(self, then: Callable[[int], None], body: bytes) -> None:
        """Go on with a body that was packed."""
        self.body = body
        self.reserve(0)
        then(len(body))

    def settle(self, response: Response) -> None:
        """Reply, once, and keep nothing: a connection that rests still knows its last exchange."""
        reply, self.reply = self.reply, None
        response.request = self
        self.body, self.query, self.entry = b"", None, None
        if self.reserved:
            self.reserve(0)
        if reply is not None:
            reply(response)

    def refuse(self, error: AnsweredError) -> Response:
        """The response that an error is; the observer is told, unless it has heard how the request ended."""
        response = error_response(error, server_timing(self.decode_s, self.queue_s, self.run_s, 0.0))
        if not self.concluded:
            self.concluded = True
            self.handler.observer.refused(self, error, response)
        return response

    def fail(self, what: str) -> Response:
        """The response to a fault of our own; the log has the error that is being handled."""
        logger.exception(what, extra=request_extra(self.request_id))
        return self.refuse(RunFailed("the service failed to handle this request", code="internal_error"))


def end_in_time(exchange: Exchange, arrays: Answers, deadline: float) -> None:
    """End an exchange whose answer had to wait to be encoded."""
    if clock() > deadline:
        exchange.settle(exchange.refuse(DeadlinePassed(TOO_LATE)))
    else:
        exchange.end(arrays)


def unpack_body(exchange: Exchange, encoding: bytes, then: Callable[[int], None]) -> None:
    """Unpack the body of an exchange, and go on with `then`, which is told its bytes."""
    handler, most = exchange.handler, 0
    try:
        how = find_coding(encoding)
        if how is not None:
            most = unpacked_bound(len(exchange.body), handler.max_body_bytes, handler.max_unpacked_ratio)
            exchange.reserve(UNPACKING_COST * most)
    except AnsweredError as error:
        exchange.settle(exchange.refuse(error))
        return
    if how is None:
        then(len(exchange.body))
    else:
        go_on_after(exchange, partial(unpack, exchange.body, how, most), partial(exchange.put_unpacked, then))


def go_on_after(exchange: Exchange, work: Callable[[], bytes], then: Callable[[bytes], None]) -> None:
    """Do work of an exchange in a thread, where it does not hold the loop, and go on with its result here."""

    def back(future: "asyncio.Future[bytes]") -> None:
        try:
            result = future.result()
        except AnsweredError as error:
            response = exchange.refuse(error)
        except Exception:
            response = exchange.fail("a body could not be packed or unpacked")
        else:
            then(result)
            return
        exchange.settle(response)

    asyncio.get_running_loop().run_in_executor(None, work).add_done_callback(back)
