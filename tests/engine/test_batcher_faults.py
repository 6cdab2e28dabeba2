"""The batcher when something goes wrong: whoever is concerned hears of it, once, and nobody else does."""

import asyncio
import gc
import logging
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from service.engine.batcher import Batcher
from service.engine.entry import Entry
from service.engine.queue import Queue
from service.engine.rows import Rows
from service.errors import DeadlinePassed, NotReady, RunFailed
from tests.engine.runners import ENTROPY, NEVER_INLINE, PROBABILITIES, Client, Fake, Held, said, with_batcher

BOTH = pytest.mark.parametrize("inline_s", [1.0, NEVER_INLINE], ids=["on the loop", "in a thread"])


def test_a_client_that_leaves_does_not_hurt_its_batch_mates() -> None:
    async def test(client: Client, _: Batcher, runner: Held) -> None:
        gone, mate = client.send(1), client.send(2)
        await runner.running()
        gone.abandon()
        runner.release()
        await client.all(mate)
        assert said(mate) == [4]
        assert client.answered == [mate]

    with_batcher(test, Held(), inline_s=NEVER_INLINE)


def test_an_entry_that_is_abandoned_in_the_queue_is_dropped_at_its_turn() -> None:
    async def test(client: Client, batcher: Batcher, runner: Held) -> None:
        first = client.send(1)
        await runner.running()
        gone, mate = client.send(2, 3), client.send(4)
        gone.abandon()
        runner.release()
        await client.all(first, mate)
        assert runner.sizes == [1, 1]
        assert batcher.n_waiting == 0

    with_batcher(test, Held(), inline_s=NEVER_INLINE)


def test_the_rest_of_a_cut_entry_is_dropped_when_it_is_abandoned() -> None:
    async def test(client: Client, _: Batcher, runner: Held) -> None:
        gone = client.send(*range(8))
        await runner.running()
        gone.abandon()
        mate = client.send(9)
        runner.release()
        await client.all(mate)
        assert runner.sizes == [2, 1]

    with_batcher(test, Held(), max_batch_rows=2, inline_s=NEVER_INLINE)


def test_when_everyone_has_left_nothing_runs() -> None:
    async def test(client: Client, batcher: Batcher, runner: Fake) -> None:
        client.send(1).abandon()
        async with asyncio.timeout(10):
            await batcher.idle.wait()
        assert runner.sizes == []
        assert client.answered == []

    with_batcher(test, Fake())


def test_a_deadline_that_passes_in_the_queue_is_answered_while_the_batch_before_still_runs() -> None:
    async def test(client: Client, _: Batcher, runner: Held) -> None:
        running = client.send(1)
        await runner.running()
        late, patient = client.send(2, timeout_s=0.001), client.send(3)
        await client.all(late)
        assert isinstance(late.error, DeadlinePassed)
        assert client.answered == [late]
        runner.release()
        await client.all(running, patient)
        assert runner.sizes == [1, 1]

    with_batcher(test, Held(), inline_s=NEVER_INLINE)


def test_a_deadline_covers_the_run_too() -> None:
    async def test(client: Client, _: Batcher, runner: Held) -> None:
        late, mate = client.send(1, timeout_s=0.001), client.send(2)
        await runner.running()
        await client.all(late)
        assert isinstance(late.error, DeadlinePassed)
        runner.release()
        await client.all(mate)
        assert said(mate) == [4]
        assert client.answered == [late, mate]

    with_batcher(test, Held(), inline_s=NEVER_INLINE)


def test_an_answer_that_comes_after_the_deadline_is_not_given() -> None:
    class Slow(Fake):
        def run(self, feed: dict[str, Any], bits: int) -> dict[str, Any]:
            entries[0].deadline = 0.0
            return super().run(feed, bits)

    entries: list[Entry] = []

    async def test(client: Client, _: Batcher, __: Fake) -> None:
        entries.extend([client.send(1), client.send(2)])
        await client.all(*entries)
        assert isinstance(entries[0].error, DeadlinePassed)
        assert said(entries[1]) == [4]

    with_batcher(test, Slow())


def test_the_first_deadline_sets_the_alarm_whatever_came_before_it() -> None:
    async def test(client: Client, _: Batcher, runner: Held) -> None:
        patient = client.send(1, timeout_s=3000)
        hasty = client.send(2, timeout_s=0.001)
        await client.all(hasty)
        middle = client.send(3, timeout_s=0.002)
        await client.all(middle)
        assert client.answered == [hasty, middle]
        runner.release()
        await client.all(patient)

    with_batcher(test, Held(), inline_s=NEVER_INLINE)


def test_after_the_last_answer_no_timer_is_armed_again() -> None:
    async def test(client: Client, batcher: Batcher, _: Fake) -> None:
        await client.all(client.send(1), client.send(2, timeout_s=30))
        assert batcher.alarm.timer is not None
        assert not batcher.queues
        batcher.alarm.ring()
        assert batcher.alarm.timer is None

    with_batcher(test, Fake())


@BOTH
def test_a_run_that_fails_fails_its_own_batch_only(inline_s: float, caplog: pytest.LogCaptureFixture) -> None:
    async def test(client: Client, batcher: Batcher, runner: Fake) -> None:
        runner.raises = [ValueError("a secret")]
        doomed = [client.send(1), client.send(2)]
        await client.all(*doomed)
        assert [str(e.error) for e in doomed] == ["the batch could not be run: ValueError"] * 2
        after = client.send(3)
        await client.all(after)
        assert said(after) == [6]
        assert batcher.alive

    with_batcher(test, Fake(), inline_s=inline_s)
    assert "a batch of 2 entries failed" in caplog.text
    assert "ValueError: a secret" in caplog.text


@BOTH
def test_an_error_with_an_answer_of_its_own_keeps_it(inline_s: float) -> None:
    async def test(client: Client, _: Batcher, runner: Fake) -> None:
        runner.raises = [RunFailed("the head could not run")]
        entry = client.send(1)
        await client.all(entry)
        assert str(entry.error) == "the head could not run"

    with_batcher(test, Fake(), inline_s=inline_s)


@BOTH
def test_an_answer_of_another_length_is_nobodys_answer(inline_s: float) -> None:
    async def test(client: Client, _: Batcher, runner: Fake) -> None:
        runner.missing_rows = 1
        entries = [client.send(1), client.send(2)]
        await client.all(*entries)
        assert [str(e.error) for e in entries] == ["the head answered 1 row of probabilities for 2"] * 2

    with_batcher(test, Fake(), inline_s=inline_s)


def test_a_cut_entry_whose_first_part_failed_is_not_run_further() -> None:
    async def test(client: Client, batcher: Batcher, runner: Fake) -> None:
        runner.raises = [ValueError()]
        doomed = client.send(*range(6))
        await client.all(doomed)
        async with asyncio.timeout(10):
            await batcher.idle.wait()
        assert isinstance(doomed.error, RunFailed)
        assert runner.sizes == [2]

    with_batcher(test, Fake(), max_batch_rows=2)


@BOTH
def test_a_callback_that_raises_harms_nobody(inline_s: float, caplog: pytest.LogCaptureFixture) -> None:
    async def test(client: Client, batcher: Batcher, runner: Fake) -> None:
        def rude(_: Entry) -> None:
            raise ValueError("no thanks")

        before = client.send(1)
        rows = Rows({"logits": before.rows.inputs["logits"]})
        batcher.submit(runner, rows, PROBABILITIES, rude, 60)
        after = client.send(3)
        await client.all(before, after)
        assert (said(before), said(after)) == ([2], [6])
        assert batcher.alive

    with_batcher(test, Fake(), inline_s=inline_s)
    assert "an answer could not be delivered" in caplog.text


@pytest.fixture
def _quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The death of a batcher reaches the loop's handler, too."""
    with caplog.at_level(logging.CRITICAL + 1, "asyncio"):
        yield


class Broken(deque[Entry]):
    """Entries that wait, of which the first `n_good` can be taken."""

    n_good = 0

    def __getitem__(self, i: Any) -> Any:
        if not self.n_good:
            raise ZeroDivisionError
        self.n_good -= 1
        return super().__getitem__(i)


@pytest.mark.usefixtures("_quiet")
@pytest.mark.parametrize("i", [0, 1], ids=["the first entry", "one behind an entry that is in the batch already"])
def test_a_dead_batcher_answers_who_waits_and_takes_nobody(i: int) -> None:
    async def test(client: Client, batcher: Batcher, _: Fake) -> None:
        entries = [client.send(1), client.send(2)]
        (queue,) = batcher.queues.values()
        queue.waiting = waiting = Broken(queue.waiting)
        waiting.n_good = i
        await client.all(*entries)
        assert [str(e.error) for e in entries] == ["the batcher has died"] * 2
        assert not batcher.alive
        assert isinstance(batcher.cause_of_death, ZeroDivisionError)
        with pytest.raises(NotReady, match="has died"):
            client.send(3)
        await batcher.close()
        batcher.queues.clear()
        batcher.n_waiting = 0

    with_batcher(test, Fake())


def test_closing_waits_for_no_company() -> None:
    async def test(client: Client, batcher: Batcher, runner: Fake) -> None:
        entry = client.send(1)
        await asyncio.wait_for(batcher.close(), 30)
        assert entry.answers is not None
        assert runner.sizes == [1]

    with_batcher(test, Fake(), max_wait_s=3600)


def test_closing_answers_what_is_queued_and_takes_nothing_more() -> None:
    async def test(client: Client, batcher: Batcher, runner: Held) -> None:
        entries = [client.send(1)]
        await runner.running()
        entries += [client.send(2), client.send(3, 4, 5)]
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)  # so that it begins
        with pytest.raises(NotReady, match="stopping"):
            client.send(6)
        assert not closing.done()
        runner.release()
        await client.all(*entries)
        await closing

    with_batcher(test, Held(), max_batch_rows=2, inline_s=NEVER_INLINE)


def test_a_run_that_outlives_its_loop_is_let_go() -> None:
    runner = Held()

    async def main() -> None:
        client = Client(Batcher(inline_s=NEVER_INLINE), runner)
        client.send(1)
        await runner.running()
        threads.append(client.batcher.threads)

    threads: list[Any] = []
    asyncio.run(main())
    runner.release()
    threads[0].shutdown(wait=True)
    assert runner.sizes == [1]


def test_whatever_happens_every_entry_is_answered_once() -> None:
    async def test(client: Client, _: Batcher, runner: Fake) -> None:
        entries = []
        for i in range(200):
            if i % 11 == 0:
                runner.raises.append(ValueError())
            entries.append(client.send(*range(i % 7 + 1), k=i % 3 + 1, bits=(PROBABILITIES, ENTROPY)[i % 2]))
            if i % 5 == 0:
                await asyncio.sleep(0)
            if i % 13 == 0:
                entries.pop().abandon()
        await client.all(*entries)
        assert len(client.answered) == len({id(e) for e in client.answered})
        assert all((e.answers is None) != (e.error is None) for e in entries)

    with_batcher(test, Fake(), max_batch_rows=4)
    with_batcher(test, Fake(), max_batch_rows=4, inline_s=NEVER_INLINE)


def test_what_was_answered_is_not_kept() -> None:
    async def test(client: Client, batcher: Batcher, _: Fake) -> None:
        await client.all(client.send(1))
        client.answered.clear()
        gc.collect()
        assert not [o for o in gc.get_objects() if isinstance(o, Queue) and o.owner is batcher]

    with_batcher(test, Fake())


def test_a_run_at_once_that_fails_says_so(caplog: pytest.LogCaptureFixture) -> None:
    async def test(_: Client, batcher: Batcher, runner: Fake) -> None:
        rows = Rows({"logits": np.ones((2, 1), np.float32)})
        runner.raises = [ValueError("secret"), NotReady("own words")]
        with pytest.raises(NotReady, match="own words"):
            batcher.run_now(runner, rows, PROBABILITIES, 60, n_connections=1)
        with pytest.raises(RunFailed, match="the batch could not be run: ValueError"):
            batcher.run_now(runner, rows, PROBABILITIES, 60, n_connections=1)
        runner.missing_rows = 1
        with pytest.raises(RunFailed, match="the head answered 1 row of probabilities for 2"):
            batcher.run_now(runner, rows, PROBABILITIES, 60, n_connections=1)
        runner.missing_rows = 0
        with pytest.raises(DeadlinePassed):
            batcher.run_now(runner, rows, PROBABILITIES, 0, n_connections=1)

    with_batcher(test, Fake())
    assert [record.getMessage() for record in caplog.records] == ["a batch of 1 entry failed"] * 3
