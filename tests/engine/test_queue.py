"""A queue by itself: what it says of itself, and what happens to its batcher when its own code fails."""

import asyncio
import logging
from typing import Any

import numpy as np
import pytest

from service.engine.batcher import Batcher
from service.errors import NotReady, RunFailed
from tests.engine.runners import NEVER_INLINE, Client, Fake, Held, said, with_batcher


class DeafLoop:
    """A loop that takes nothing more to be called soon."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loop, name)

    def call_soon(self, *_: Any) -> None:
        """Raise."""
        raise ZeroDivisionError


def test_a_queue_says_in_its_repr_what_waits_and_what_runs() -> None:
    async def test(client: Client, batcher: Batcher, runner: Held) -> None:
        entries = [client.send(1), client.send(2, 3)]
        (queue,) = batcher.queues.values()
        assert repr(queue) == "<Queue 2 entries waiting, 0 running>"
        await runner.running()
        entries.append(client.send(4))
        assert repr(queue) == "<Queue 1 entries waiting, 2 running>"
        runner.release()
        await client.all(*entries)

    with_batcher(test, Held(), inline_s=NEVER_INLINE)


class Undefined(Fake):
    """A runner that answers NaN to negative logits."""

    def run(self, feed: dict[str, Any], bits: int) -> dict[str, Any]:
        """The others as they are."""
        return {"probabilities": np.where(feed["logits"] < 0, np.nan, feed["logits"])}


@pytest.mark.parametrize("inline_s", [60.0, NEVER_INLINE], ids=["on the loop", "in a thread"])
def test_who_would_get_nan_hears_that_it_failed_and_the_others_are_answered(
    inline_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(client: Client, _: Batcher, __: Undefined) -> None:
        entries = [client.send(1), client.send(2, -1), client.send(3, float("inf"))]
        await client.all(*entries)
        assert said(entries[0]) == [1]
        assert said(entries[2]) == [3, float("inf")]
        assert isinstance(entries[1].error, RunFailed)
        assert str(entries[1].error) == "the head answered NaN in its probabilities; expected numbers for any values"

    with_batcher(test, Undefined(), inline_s=inline_s)
    (line,) = [record.getMessage() for record in caplog.records]
    assert "the head answered NaN in its probabilities" in line


def test_a_fault_behind_a_run_in_a_thread_answers_who_waits_and_ends_the_batcher(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nobody waits for ever: the batch has its answers, the others hear of it, and the service says that it is dead."""

    async def test(client: Client, batcher: Batcher, runner: Held) -> None:
        first = client.send(1)
        await runner.running()
        waiting = client.send(2)
        batcher.loop = DeafLoop(batcher.loop)  # type: ignore[assignment]  # it is one, as far as a queue looks
        runner.release()
        await client.all(first, waiting)
        assert said(first) == [2]
        assert isinstance(waiting.error, NotReady)
        assert isinstance(batcher.cause_of_death, ZeroDivisionError)
        assert not batcher.alive
        batcher.queues.clear()
        batcher.n_waiting = 0

    with caplog.at_level(logging.CRITICAL, "asyncio"):  # the loop's handler hears of it, too
        with_batcher(test, Held(), inline_s=NEVER_INLINE)
    assert "the batcher has died" in caplog.text


def test_a_queue_that_waits_for_company_is_hurried_once_it_has_enough() -> None:
    async def test(client: Client, batcher: Batcher, runner: Held) -> None:
        runner.release()
        first = client.send(1)
        (queue,) = batcher.queues.values()
        patient = queue.flush_timer
        assert isinstance(patient, asyncio.TimerHandle)
        second = client.send(2, 3)
        assert patient.cancelled()
        await client.all(first, second)
        assert runner.sizes == [3]

    with_batcher(test, Held(), max_wait_s=60.0, max_batch_rows=3, inline_s=NEVER_INLINE)
