"""From a body to rows, through the batcher, to an answer: the way that predict and infer share. Knows no transport."""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from service.codec.query import Query
from service.engine.batcher import Batcher
from service.engine.entry import Entry
from service.engine.outputs import wants
from service.engine.rows import Arrays
from service.errors import AnsweredError, RunFailed
from service.repository import Model, Repository
from service.telemetry.counts import Telemetry
from service.telemetry.logs import tagged
from service.transports.compression import accepted, coding, pack, unpack
from service.transports.gate import Answer, Framing, Headers, Reply, Target, refusal
from service.transports.turns import Turns

logger = logging.getLogger(__name__)
clock = time.perf_counter

# From here on, decoding or encoding takes about half a millisecond, and waits for a turn of its own.
LARGE_BODY: Final = 2**18
LARGE_ANSWER: Final = 2**15
PLAIN: Final = Framing()


class Predict:
    """The handler: callbacks only, so that both lanes can use it."""

    def __init__(
        self,
        repository: Repository,
        batcher: Batcher,
        *,
        default_model: str,
        default_timeout_s: float,
        max_body_bytes: int,
        telemetry: Telemetry,
        kind: "type[Exchange] | None" = None,
    ) -> None:
        self.kind = kind or Exchange
        self.telemetry = telemetry
        self.repository = repository
        self.batcher = batcher
        self.default_model = default_model
        self.default_timeout_s = default_timeout_s
        self.max_body_bytes = max_body_bytes
        self.turns = Turns()

    def __call__(
        self, to: Target, headers: Headers, request_id: bytes, body: bytes, reply: Reply, *, alone: bool = False
    ) -> "Exchange":
        """Answer `body` by one call of `reply`, now or later; what is returned can be abandoned.

        `alone` says that nobody else is there who could share a batch.
        """
        exchange = self.kind(self, to, headers, request_id, body, reply)
        if to.face.framed:
            exchange.framing = framing(headers)
            if exchange.framing.encoding is not None:
                exchange.unpack(exchange.framing.encoding)
                return exchange
        if len(body) < LARGE_BODY:
            exchange.begin(alone)
        else:
            self.turns.take(exchange.begin)
        return exchange


def framing(headers: Headers) -> Framing:
    """What the headers say of the bytes."""
    length = encoding = accept = None
    for name, value in headers:
        if name == b"inference-header-content-length":
            length = value
        elif name == b"accept-encoding":
            accept = value
        elif name == b"content-encoding":
            encoding = value
    return Framing(length, encoding, accept)


class Exchange:
    """One request, from its body to its answer; the reply is called once, unless the exchange is abandoned before."""

    __slots__ = (
        "body",
        "decode_s",
        "entry",
        "framing",
        "model",
        "predict",
        "query",
        "reply",
        "request_id",
        "tag",
        "to",
    )

    def __init__(self, predict: Predict, to: Target, _: Headers, request_id: bytes, body: bytes, reply: Reply) -> None:
        self.request_id = request_id
        self.predict = predict
        self.to = to
        self.framing = PLAIN
        self.body = body
        self.reply: Reply | None = reply
        self.model: Model | None = None
        self.query: Query | None = None
        self.entry: Entry | None = None
        self.tag: Any = None  # for who watches the batches
        self.decode_s = 0.0

    def abandon(self) -> None:
        """The client has gone: its rows are dropped at their turn, and nothing is written any more."""
        self.reply = None
        if self.entry is not None:
            self.entry.abandon()

    def begin(self, alone: bool = False) -> None:
        """Decode, and run the rows, or queue them."""
        if self.reply is None:
            return
        started = clock()
        predict = self.predict
        try:
            batcher = predict.batcher
            batcher.admit()
            model = self.model = predict.repository.find(self.to.model or predict.default_model, self.to.version)
            query = self.query = self.to.face.decode(self.body, self.framing, model)
            self.body = b""
            self.decode_s = clock() - started
            rows = query.rows
            arrays: Arrays = {}
            run_s = 0.0
            if rows.n:
                bits = wants(query.needs)
                timeout_s = query.timeout_s or predict.default_timeout_s
                # a large one gains nothing by company; a batch later, what it brought would be out of the caches
                by_itself = alone or (query.binary and rows.n_numbers >= LARGE_ANSWER)
                ran = batcher.at_once(model.head, rows, bits, timeout_s, self.tag) if by_itself else None
                if ran is None:
                    self.entry = batcher.submit(model.head, rows, bits, self.done, timeout_s, self.tag)
                    return
                arrays, run_s = ran
        except AnsweredError as error:
            self.decode_s = clock() - started
            answer = self.refused(error)
        except Exception:
            answer = self.failed("a request could not be handled")
        else:
            self.end(arrays, 0.0, run_s)
            return
        # not before the error is gone, and with it the frames that hold the body
        self.settle(answer)

    def done(self, entry: Entry) -> None:
        """The batcher has the answers: encode them, and reply."""
        if entry.answers is None:
            error = entry.error or RunFailed("the batch could not be run")
            self.settle(self.refused(error, entry.queue_s, entry.run_s))
        elif entry.rows.n_numbers < LARGE_ANSWER:
            self.end(entry.answers, entry.queue_s, entry.run_s)
        else:
            self.predict.turns.take(partial(self.end, entry.answers, entry.queue_s, entry.run_s))

    def end(self, arrays: Arrays, queue_s: float, run_s: float) -> None:
        """Encode, and reply; packed, if that is wanted."""
        query, model = self.query, self.model
        if self.reply is None or query is None or model is None:
            return
        start = clock()
        try:
            answer = self.to.face.encode(query, arrays, model)
        except Exception:
            self.settle(self.failed("an answer could not be encoded"))
            return
        encode_s = clock() - start
        answer.timing = timing(self.decode_s, queue_s, run_s, encode_s)
        model.tally.answered(query.rows.n, self.decode_s, queue_s, run_s, encode_s)
        accept = self.framing.accepted
        if accept is not None and (how := accepted(accept)):
            self.elsewhere(partial(pack, answer.body, how), partial(self.packed, answer, how))
        else:
            self.settle(answer)

    def packed(self, answer: Answer, how: bytes, body: bytes) -> None:
        """Reply with a packed body."""
        answer.body = body
        answer.headers = (*answer.headers, (b"content-encoding", how))
        self.settle(answer)

    def unpack(self, encoding: bytes) -> None:
        """Unpack the body, and begin."""
        try:
            how = coding(encoding)
        except AnsweredError as error:
            self.settle(self.refused(error))
            return
        if how is None:
            self.begin()
        else:
            self.elsewhere(partial(unpack, self.body, how, self.predict.max_body_bytes), self.unpacked)

    def unpacked(self, body: bytes) -> None:
        """Begin with a body that was packed."""
        self.body = body
        self.begin()

    def elsewhere(self, work: Callable[[], bytes], then: Callable[[bytes], None]) -> None:
        """Do work in a thread, where it does not hold the loop, and go on with its result here."""

        def back(future: "asyncio.Future[bytes]") -> None:
            try:
                result = future.result()
            except AnsweredError as error:
                answer = self.refused(error)
            except Exception:
                answer = self.failed("a body could not be packed or unpacked")
            else:
                then(result)
                return
            self.settle(answer)

        asyncio.get_running_loop().run_in_executor(None, work).add_done_callback(back)

    def settle(self, answer: Answer) -> None:
        """Reply, once, and keep nothing: a connection that rests still knows its last exchange."""
        reply, self.reply = self.reply, None
        self.body, self.query, self.entry = b"", None, None
        if reply is not None:
            reply(answer)

    def refused(self, error: AnsweredError, queue_s: float = 0.0, run_s: float = 0.0) -> Answer:
        """The answer that an error is, counted."""
        tally = None if self.model is None else self.model.tally
        self.predict.telemetry.refused(error.status, error.code, tally, self.decode_s + queue_s + run_s)
        return refusal(error, timing(self.decode_s, queue_s, run_s, 0.0))

    def failed(self, what: str) -> Answer:
        """The answer to a fault of our own; the log has the error that is being handled."""
        logger.exception(what, extra=tagged(self.request_id))
        return self.refused(RunFailed("the service failed to handle this request", code="internal_error"))


def timing(decode_s: float, queue_s: float, run_s: float, encode_s: float) -> bytes:
    """The value of `Server-Timing`, durations in milliseconds."""
    return b"decode;dur=%.3f, queue;dur=%.3f, run;dur=%.3f, encode;dur=%.3f" % (
        1e3 * decode_s,
        1e3 * queue_s,
        1e3 * run_s,
        1e3 * encode_s,
    )
