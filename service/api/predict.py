"""POST /v1/predict and its longer forms: from a body to rows, through the batcher, to an answer. Knows no transport."""

import asyncio
import logging
import re
import time
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from service.api.answer import Answer, Reply, refusal
from service.batching import Batcher, Entry
from service.codec.decode import decode
from service.codec.encode import encode
from service.codec.query import Query
from service.errors import AnsweredError, RunFailed
from service.repository import Model, Repository
from service.rows import wants

logger = logging.getLogger(__name__)
clock = time.perf_counter

# From here on, decoding or encoding takes about half a millisecond, and waits for a turn of its own.
LARGE_BODY: Final = 2**18
LARGE_ANSWER: Final = 2**15
PATH: Final = re.compile(r"/v1/(?:models/(?P<model>[^/]+)/(?:versions/(?P<version>[^/]+)/)?)?predict")
MAX_REMEMBERED: Final = 256  # bytes of a path; whoever sends longer ones shall not fill the memory


class Target(NamedTuple):
    """Whom a path means; no model is the default one, no version the highest."""

    model: str | None
    version: str | None


def target(raw_path: bytes) -> Target | None:
    """The target of a percent-encoded path, if it is one of predict's."""
    return remembered(raw_path) if len(raw_path) <= MAX_REMEMBERED else parsed(raw_path)


def parsed(raw_path: bytes) -> Target | None:
    """As `target`."""
    match = PATH.fullmatch(unquote_to_bytes(raw_path).decode("utf-8", "replace"))
    return Target(match["model"], match["version"]) if match else None


remembered = lru_cache(maxsize=4096)(parsed)


class Predict:
    """The handler: callbacks only, so that both lanes can use it."""

    def __init__(self, repository: Repository, batcher: Batcher, default_model: str, default_timeout_s: float) -> None:
        self.repository = repository
        self.batcher = batcher
        self.default_model = default_model
        self.default_timeout_s = default_timeout_s
        self.turns = Turns()

    def __call__(self, to: Target, body: bytes, reply: Reply) -> "Exchange":
        """Answer `body` by one call of `reply`, now or later; what is returned can be abandoned."""
        exchange = Exchange(self, to, body, reply)
        if len(body) < LARGE_BODY:
            exchange.begin()
        else:
            self.turns.take(exchange.begin)
        return exchange


class Turns:
    """Work that holds the loop for milliseconds: one piece a turn of the loop, and small requests get between."""

    def __init__(self) -> None:
        self.waiting: deque[Callable[[], None]] = deque()

    def take(self, work: Callable[[], None]) -> None:
        """Do `work` when its turn comes; it raises nothing."""
        self.waiting.append(work)
        if len(self.waiting) == 1:
            self.let_others()

    def let_others(self) -> None:
        """Come back after whatever the loop finds ready now, and what that leads to."""
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, self.next)

    def next(self) -> None:
        """Do one piece, and let others before the next."""
        try:
            self.waiting[0]()
        finally:
            self.waiting.popleft()
            if self.waiting:
                self.let_others()


class Exchange:
    """One request, from its body to its answer; the reply is called once, unless the exchange is abandoned before."""

    __slots__ = ("body", "decode_s", "entry", "model", "predict", "query", "reply", "started", "to")

    model: Model

    def __init__(self, predict: Predict, to: Target, body: bytes, reply: Reply) -> None:
        self.predict = predict
        self.to = to
        self.body = body
        self.reply: Reply | None = reply
        self.query: Query | None = None
        self.entry: Entry | None = None
        self.started = clock()
        self.decode_s = 0.0

    def abandon(self) -> None:
        """The client has gone: its rows are dropped at their turn, and nothing is written any more."""
        self.reply = None
        if self.entry is not None:
            self.entry.abandon()

    def begin(self) -> None:
        """Decode, and queue the rows."""
        if self.reply is None:
            return
        started = clock()
        predict = self.predict
        try:
            predict.batcher.admit()
            model = self.model = predict.repository.find(self.to.model or predict.default_model, self.to.version)
            query = self.query = decode(self.body, model)
            self.body = b""
            self.decode_s = clock() - started
            timeout_s = query.timeout_s or predict.default_timeout_s
            self.entry = predict.batcher.submit(model.head, query.rows, wants(query.needs), self.done, timeout_s)
        except AnsweredError as error:
            answer = refusal(error, timing(clock() - started, 0.0, 0.0, 0.0))
        except Exception:
            answer = failed("a request could not be handled")
        else:
            return
        # not before the error is gone, and with it the frames that hold the body
        self.settle(answer)

    def done(self, entry: Entry) -> None:
        """The batcher has the answers: encode them, and reply."""
        if entry.answers is None:
            error = entry.error or RunFailed("the batch could not be run")
            self.settle(refusal(error, timing(self.decode_s, entry.queue_s, entry.run_s, 0.0)))
        elif entry.rows.n_numbers < LARGE_ANSWER:
            self.end()
        else:
            self.predict.turns.take(self.end)

    def end(self) -> None:
        """Encode, and reply."""
        entry, query = self.entry, self.query
        if self.reply is None or query is None or entry is None or entry.answers is None:
            return
        start = clock()
        try:
            body = encode(query, entry.answers, self.model)
            answer = Answer(200, body, timing(self.decode_s, entry.queue_s, entry.run_s, clock() - start))
        except Exception:
            answer = failed("an answer could not be encoded")
        self.settle(answer)

    def settle(self, answer: Answer) -> None:
        """Reply, once, and keep nothing: a connection that rests still knows its last exchange."""
        reply, self.reply = self.reply, None
        self.body, self.query, self.entry = b"", None, None
        if reply is not None:
            reply(answer)


def failed(what: str) -> Answer:
    """The answer to a fault of our own; the log has the error that is being handled."""
    logger.exception(what)
    return refusal(RunFailed("the service failed to handle this request", code="internal_error"))


def timing(decode_s: float, queue_s: float, run_s: float, encode_s: float) -> bytes:
    """The value of `Server-Timing`, durations in milliseconds."""
    return b"decode;dur=%.3f, queue;dur=%.3f, run;dur=%.3f, encode;dur=%.3f" % (
        1e3 * decode_s,
        1e3 * queue_s,
        1e3 * run_s,
        1e3 * encode_s,
    )
