"""The exchange: its client may leave at any point, its work may fail at any point, and it replies once or never."""

import asyncio
import gzip
import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from service.app import Service
from service.errors import QueueFull
from service.transports import exchange, handler
from service.transports.endpoints import INFER, Headers, Target
from service.transports.exchange import OWN_TURN_FROM as ANSWER_OWN_TURN_FROM
from service.transports.exchange import Exchange
from service.transports.handler import OWN_TURN_FROM
from service.transports.response import Response
from service.transports.turns import N_TURNS, Turns
from tests.api.bodies import refused
from tests.conftest import Running
from tests.transports.infer import PATH
from tests.transports.played import with_app

LOGITS = b'{"inputs":[{"name":"logits","datatype":"FP32","shape":[1,2],"data":[1,2]}]}'


class Requests:
    """Requests to a handler, and the replies that came."""

    def __init__(self, app: Service) -> None:
        self.app = app
        self.replies: dict[str, Response] = {}
        self.leaving: list[Exchange] = []  # whose clients leave once somebody else has a reply
        self.news = asyncio.Event()

    def begin(self, name: str, body: bytes, headers: Headers = ()) -> Exchange:
        """Begin an infer."""

        def reply(response: Response) -> None:
            assert name not in self.replies
            self.replies[name] = response
            for leaving in self.leaving:
                leaving.abandon()
            self.news.set()

        target = Target(INFER, "softmax", None)
        begun = self.app.handler.begin(target, headers, name.encode(), body, reply, n_bytes=len(body))
        assert isinstance(begun, Exchange)
        return begun

    async def wait(self, *names: str) -> None:
        """Until these are answered."""
        async with asyncio.timeout(10):
            while not {*names} <= self.replies.keys():
                self.news.clear()
                await self.news.wait()


async def turns() -> None:
    """Let whatever waits for its turn have it."""
    for _ in range(10 * N_TURNS):
        await asyncio.sleep(0)


def test_a_client_that_leaves_before_its_turn_is_not_decoded() -> None:
    async def test(app: Any) -> None:
        requests = Requests(app)
        large = LOGITS.ljust(OWN_TURN_FROM)
        first, second = requests.begin("first", large), requests.begin("second", large)
        second.abandon()
        await requests.wait("first")
        await turns()
        assert requests.replies.keys() == {"first"}
        assert [first.decode_s > 0, second.decode_s > 0] == [True, False]

    with_app(test)


def test_the_wait_for_a_turn_counts_against_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    hasty = LOGITS.replace(b'{"inputs"', b'{"parameters":{"timeout":30000000},"inputs"').ljust(OWN_TURN_FROM)

    async def test(app: Any) -> None:
        requests = Requests(app)
        requests.begin("soon", hasty)
        monkeypatch.setattr(handler, "clock", lambda: time.perf_counter() - 60)
        requests.begin("late", hasty)
        await requests.wait("soon", "late")
        assert [requests.replies[name].status for name in ("soon", "late")] == [200, 504]

    with_app(test)


def test_a_large_body_whose_turn_would_come_too_late_is_refused_at_once() -> None:
    async def test(app: Any) -> None:
        requests, large = Requests(app), LOGITS.ljust(OWN_TURN_FROM)
        requests.begin("first", large)
        app.handler.turns.piece_s = 1e6
        requests.begin("second", large)
        assert requests.replies["second"].status == 429
        assert b'"code":"deadline_too_close"' in requests.replies["second"].body
        await requests.wait("first")
        assert requests.replies["first"].status == 200

    with_app(test)


def test_a_body_that_unpacks_to_a_large_one_has_a_turn_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    spaces = bytes(random.Random(0).choices(b" \t\n\r", k=OWN_TURN_FROM))  # equal ones would be packed too well
    waited = []

    async def test(app: Any) -> None:
        def decode(self: Turns, work: Callable[[], None]) -> None:
            waited.append(work)
            undisturbed(self, work)

        undisturbed = Turns.decode
        monkeypatch.setattr(Turns, "decode", decode)
        requests = Requests(app)
        for name, body, n_waited in (("small", LOGITS, 0), ("large", LOGITS + spaces, 1)):
            requests.begin(name, gzip.compress(body), [(b"content-encoding", b"gzip")])
            await requests.wait(name)
            assert (requests.replies[name].status, len(waited)) == (200, n_waited)

    with_app(test)


def test_a_large_body_is_refused_before_it_comes_where_those_before_it_take_too_long() -> None:
    async def test(app: Any) -> None:
        requests, turns = Requests(app), app.handler.turns
        requests.begin("first", LOGITS.ljust(OWN_TURN_FROM))
        most_s = handler.HEAD_SHARE * app.handler.default_timeout_s
        turns.piece_s = 0.49 * most_s  # the first has two pieces before it
        app.handler.admit(OWN_TURN_FROM)
        turns.n_coming = 0
        turns.piece_s = 0.51 * most_s
        app.handler.admit(OWN_TURN_FROM - 1)
        with pytest.raises(QueueFull, match=r"large bodies wait for about .* s, expected at most .* s; try again"):
            app.handler.admit(OWN_TURN_FROM)
        requests.begin("second", LOGITS.ljust(OWN_TURN_FROM))  # which came meanwhile
        await requests.wait("first", "second")
        assert {name: reply.status for name, reply in requests.replies.items()} == {"first": 200, "second": 200}

    with_app(test)


def test_an_answer_that_waited_too_long_to_be_encoded_is_none() -> None:
    rows = ANSWER_OWN_TURN_FROM // 1000 + 1
    body = b'{"inputs":[{"name":"logits","datatype":"FP32","shape":[%d,1000],"data":[%s]}]}' % (
        rows,
        b",".join([b"1"] * 1000 * rows),
    )

    async def test(app: Any) -> None:
        requests = Requests(app)
        begun = requests.begin("late", body)
        encode = app.handler.turns.encode

        def encode_late(work: Any) -> None:
            encode(partial(work.func, *work.args[:-1], time.perf_counter() - 1))

        app.handler.turns.encode = encode_late
        await requests.wait("late")
        assert requests.replies["late"].status == 504
        assert begun.encode_s == 0

    with_app(test)


def test_a_client_that_leaves_before_its_answer_has_its_turn_is_not_encoded() -> None:
    """Two large answers of one batch: while the first is written, the second's client leaves."""
    rows = ANSWER_OWN_TURN_FROM // 1000 + 1
    data = np.ones((rows, 1000), np.float32).tobytes()
    header = (
        b'{"inputs":[{"name":"logits","datatype":"FP32","shape":[%d,1000],"parameters":{"binary_data_size":%d}}]}'
        % (rows, len(data))
    )
    headers = ((b"inference-header-content-length", b"%d" % len(header)),)

    async def test(app: Any) -> None:
        app.batcher.max_wait_s = 60.0  # so that they share a batch, and are not run by themselves
        requests = Requests(app)
        first, second = (requests.begin(name, header + data, headers) for name in ("first", "second"))
        requests.leaving = [second]
        (queue,) = app.batcher.queues.values()
        queue.hurry()
        await requests.wait("first")
        await turns()
        assert requests.replies.keys() == {"first"}
        assert [first.encode_s > 0, second.encode_s > 0] == [True, False]

    with_app(test)


@pytest.mark.parametrize(
    ("name", "headers"),
    [("unpack", {"content-encoding": "gzip"}), ("pack", {"accept-encoding": "gzip"})],
    ids=["of a request", "of an answer"],
)
def test_a_fault_in_the_compression_gets_500_and_a_log(
    running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, headers: Any
) -> None:
    monkeypatch.setattr(exchange, name, lambda *_: 1 / 0)
    body = gzip.compress(LOGITS) if name == "unpack" else LOGITS
    refused(running.client.post(PATH, content=body, headers=headers), 500, "internal_error", "failed to handle")
    (record,) = [record for record in caplog.records if record.name == "service.transports.exchange"]
    assert record.getMessage() == "a body could not be packed or unpacked"
    assert "ZeroDivisionError" in caplog.text
    monkeypatch.undo()
    assert running.client.post(PATH, content=LOGITS).status_code == 200
