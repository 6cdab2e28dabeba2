"""POST /v1/predict and its longer forms: from a body to rows, through the batcher, to an answer. Knows no transport."""

import logging
import re
import time
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

PATH: Final = re.compile(r"/v1/(?:models/(?P<model>[^/]+)/(?:versions/(?P<version>[^/]+)/)?)?predict")


class Target(NamedTuple):
    """Whom a path means; no model is the default one, no version the highest."""

    model: str | None
    version: str | None


@lru_cache(maxsize=4096)
def target(raw_path: bytes) -> Target | None:
    """The target of a percent-encoded path, if it is one of predict's."""
    match = PATH.fullmatch(unquote_to_bytes(raw_path).decode("utf-8", "replace"))
    return Target(match["model"], match["version"]) if match else None


class Predict:
    """The handler: callbacks only, so that both lanes can use it."""

    def __init__(self, repository: Repository, batcher: Batcher, default_model: str, default_timeout_s: float) -> None:
        self.repository = repository
        self.batcher = batcher
        self.default_model = default_model
        self.default_timeout_s = default_timeout_s

    def __call__(self, to: Target, body: bytes, reply: Reply) -> Entry | None:
        """Answer `body` by one call of `reply`, now or later; the entry that is returned can be abandoned."""
        started = clock()
        try:
            model = self.repository.find(to.model or self.default_model, to.version)
            query = decode(body, model)
            exchange = Exchange(model, query, reply, started)
            outputs = query.outputs if query.top_k is None else (*query.outputs, "top")
            timeout_s = query.timeout_s or self.default_timeout_s
            return self.batcher.submit(model.head, query.rows, wants(outputs), exchange.done, timeout_s)
        except AnsweredError as error:
            reply(refusal(error, b"decode;dur=%.3f" % (1e3 * (clock() - started))))
        except Exception:
            logger.exception("a request could not be handled")
            reply(refusal(RunFailed("the service failed to handle this request", code="internal_error")))
        return None


class Exchange:
    """One request from its queueing to its answer."""

    __slots__ = ("model", "query", "reply", "started")

    def __init__(self, model: Model, query: Query, reply: Reply, started: float) -> None:
        self.model = model
        self.query = query
        self.reply = reply
        self.started = started

    def done(self, entry: Entry) -> None:
        """Called by the batcher: encode, and reply."""
        start = clock()
        decode_s = entry.submitted - self.started
        if entry.answers is None:
            error = entry.error or RunFailed("the batch could not be run")
            self.reply(refusal(error, timing(decode_s, start - entry.submitted, entry.run_s, 0.0)))
            return
        try:
            body = encode(self.query, entry.answers, self.model)
        except Exception:
            logger.exception("an answer could not be encoded")
            self.reply(refusal(RunFailed("the service failed to encode its answer", code="internal_error")))
            return
        self.reply(Answer(200, body, timing(decode_s, entry.queue_s, entry.run_s, clock() - start)))


def timing(decode_s: float, queue_s: float, run_s: float, encode_s: float) -> bytes:
    """The value of `Server-Timing`, durations in milliseconds."""
    return b"decode;dur=%.3f, queue;dur=%.3f, run;dur=%.3f, encode;dur=%.3f" % (
        1e3 * decode_s,
        1e3 * queue_s,
        1e3 * run_s,
        1e3 * encode_s,
    )
