"""Calls that come close together: begun together, with the answers that each gets alone."""

import asyncio
from collections.abc import Iterator
from functools import partial

import grpc
import numpy as np
import pytest

from service.rpc.gatherer import COUNT_EVERY, Gatherer
from service.rpc.infer import INFER
from service.transports.endpoints import Target
from tests.rpc.calls import Caller, calling, request

N = 16
TARGET = Target(INFER, "softmax", None)


def test_who_calls_alone_is_not_waited_with() -> None:
    async def gather() -> int:
        gatherer = Gatherer(10)
        begun: list[int] = []
        for i in range(3 * COUNT_EVERY):
            gatherer.add(partial(begun.append, i))
            await asyncio.sleep(0)
        return len(begun)

    assert asyncio.run(gather()) == 3 * COUNT_EVERY


def test_it_waits_for_as_many_as_came_together_and_looks_how_many_there_are_now_and_then() -> None:
    async def gather() -> None:
        gatherer, begun = Gatherer(0.02), 0

        def begin() -> None:
            nonlocal begun
            begun += 1

        for _ in range(3):  # in one turn
            gatherer.add(begin)
        await asyncio.sleep(0)
        assert (begun, gatherer.expected) == (3, 3)
        for _ in range(5):  # one after the other, while it waits the whole time
            gatherer.add(begin)
            await asyncio.sleep(0.001)
        assert begun == 3
        await asyncio.sleep(0.03)
        assert (begun, gatherer.expected) == (8, 5)
        for _ in range(2):  # once more, and it is sure
            for _ in range(5):
                gatherer.add(begin)
                await asyncio.sleep(0)
            await asyncio.sleep(0.03)
        assert begun == 18
        for i in range(COUNT_EVERY - 2):
            for _ in range(5):
                assert begun == 18 + 5 * i
                gatherer.add(begin)
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert begun == 23 + 5 * i  # as soon as they are there

    asyncio.run(gather())


def test_where_fewer_come_it_waits_for_fewer() -> None:
    async def gather() -> list[int]:
        gatherer, expected = Gatherer(0.005), []
        for n in (8, 1, 1, 1, 1):
            for _ in range(n):
                gatherer.add(lambda: None)
            await asyncio.sleep(0.02)
            expected.append(gatherer.expected)
        return expected

    assert asyncio.run(gather()) == [8, 4, 2, 1, 1]


@pytest.fixture(params=[None, 0.0], ids=["gathered", "as they come"])
def caller(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Caller]:
    if request.param is not None:
        monkeypatch.setattr("service.rpc.server.Gatherer", partial(Gatherer, request.param))
    with calling() as found:
        yield found


def test_many_at_once_get_what_each_gets_alone(caller: Caller) -> None:
    rows = np.random.default_rng(7).standard_normal((N, 1, 10)).astype(np.float32)
    messages = [request(("logits", "FP32", row), outputs=["probabilities", "entropy"]) for row in rows]
    alone = [caller.infer(message).message for message in messages]
    infer = caller.method("ModelInfer")
    for _ in range(20):
        calls = [infer.future(message, timeout=30) for message in messages]
        assert [call.result() for call in calls] == alone


def test_one_that_is_wrong_or_gone_harms_no_other(caller: Caller) -> None:
    good = request(("logits", "FP32", [[1, 2, 3]]))
    wrong = request(("logits", "FP32", [[1, np.nan, 3]]))
    infer = caller.method("ModelInfer")
    expected = caller.infer(good).message
    for _ in range(20):
        calls = [infer.future(wrong if i == 3 else good, timeout=30) for i in range(N)]
        calls[5].cancel()
        calls[7].cancel()
        for i, call in enumerate(calls):
            if i == 3:
                assert call.exception().code() == grpc.StatusCode.INVALID_ARGUMENT
            elif i not in (5, 7):
                assert call.result() == expected


def test_they_are_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    gatherer = Gatherer(30)
    gatherer.expected, gatherer.n_until_count = N, COUNT_EVERY
    monkeypatch.setattr("service.rpc.server.Gatherer", lambda: gatherer)
    with calling() as caller:
        infer, message = caller.method("ModelInfer"), request(("logits", "FP32", [[1, 2, 3]]))
        for call in [infer.future(message, timeout=60) for _ in range(N)]:
            call.result()
        assert caller.running
        counted = caller.running.client.get("/metrics").text
    assert f'calibrant_batch_rows_sum{{model="softmax",version="1"}} {N}.0' in counted
    assert 'calibrant_batches_total{model="softmax",version="1"} 1.0' in counted


def test_a_fault_of_our_own_is_that_call_s_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    gatherer = Gatherer(30)
    gatherer.expected, gatherer.n_until_count = 2, COUNT_EVERY
    monkeypatch.setattr("service.rpc.server.Gatherer", lambda: gatherer)
    monkeypatch.setattr("service.rpc.server.Target", lambda _, model, __: 1 / 0 if model == "digits" else TARGET)
    with calling() as caller:
        infer = caller.method("ModelInfer")
        calls = [
            infer.future(request(("logits", "FP32", [[1.0] * 10]), model_name=name), timeout=60)
            for name in ("digits", "softmax")
        ]
        assert calls[0].exception().code() == grpc.StatusCode.UNKNOWN
        assert calls[1].result().model_name == "softmax"
