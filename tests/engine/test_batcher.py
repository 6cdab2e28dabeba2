"""The batcher: what runs together, what is cut and joined, and how much may wait."""

import asyncio
import logging
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.batcher import ALONE_FROM, Batcher
from service.engine.queue import MAX_BATCH_NUMBERS
from service.engine.rows import Rows
from service.errors import InvalidValue, QueueFull
from tests.engine.runners import ENTROPY, NEVER_INLINE, PROBABILITIES, Client, Fake, Held, said, with_batcher


def test_what_arrives_together_runs_together() -> None:
    async def test(client: Client, _: Batcher, runner: Fake) -> None:
        entries = [client.send(1), client.send(2, 3), client.send(4)]
        await client.all(*entries)
        assert runner.sizes == [4]
        assert [said(e) for e in entries] == [[2], [4, 6], [8]]

    with_batcher(test, Fake())


def test_nothing_is_answered_from_inside_submit() -> None:
    async def test(client: Client, _: Batcher, __: Fake) -> None:
        entry = client.send(1)
        assert entry.answers is None
        await client.all(entry)

    with_batcher(test, Fake())


def test_what_arrives_while_a_batch_runs_is_the_next_batch() -> None:
    async def test(client: Client, _: Batcher, runner: Held) -> None:
        first = client.send(1)
        await runner.running()
        late = [client.send(2), client.send(3)]
        runner.release()
        await client.all(first, *late)
        assert runner.sizes == [1, 2]

    with_batcher(test, Held(), inline_s=NEVER_INLINE)


def test_a_cheap_run_happens_on_the_loop_and_a_dear_one_in_a_thread() -> None:
    async def test(client: Client, _: Batcher, runner: Fake) -> None:
        await client.all(client.send(1))
        assert (runner.threads[0] is threading.main_thread()) == here

    for here in (True, False):
        with_batcher(test, Fake(), inline_s=1.0 if here else NEVER_INLINE)


def test_a_request_larger_than_a_batch_is_cut_and_joined() -> None:
    async def test(client: Client, _: Batcher, runner: Fake) -> None:
        entry = client.send(*range(10))
        await client.all(entry)
        assert runner.sizes == [4, 4, 2]
        assert said(entry) == [2 * i for i in range(10)]

    with_batcher(test, Fake(), max_batch_rows=4)


def test_a_small_request_does_not_wait_for_all_of_a_large_one() -> None:
    async def test(client: Client, _: Batcher, runner: Held) -> None:
        large = client.send(*range(12))
        await runner.running()
        small = client.send(50)
        runner.release()
        await client.all(large, small)
        assert client.answered == [small, large]

    with_batcher(test, Held(), max_batch_rows=4, inline_s=NEVER_INLINE)


def test_a_request_that_fits_into_the_next_batch_is_not_cut() -> None:
    async def test(client: Client, _: Batcher, runner: Fake) -> None:
        await client.all(client.send(1, 2, 3), client.send(4, 5))
        assert runner.sizes == [3, 2]

    with_batcher(test, Fake(), max_batch_rows=4)


def test_a_cut_request_does_not_mind_that_its_batch_mates_want_other_outputs() -> None:
    async def test(client: Client, _: Batcher, runner: Held) -> None:
        large = client.send(*range(6))
        await runner.running()
        mate = client.send(9, bits=ENTROPY)
        runner.release()
        await client.all(large, mate)
        assert runner.bits == [PROBABILITIES, ENTROPY]
        assert said(large) == [2 * i for i in range(6)]
        assert said(mate, "log_probabilities") == [-9]

    with_batcher(test, Held(), max_batch_rows=4, inline_s=NEVER_INLINE)


def test_each_row_keeps_its_own_temperature_in_a_mixed_batch() -> None:
    async def test(client: Client, _: Batcher, runner: Fake) -> None:
        column = np.array([[0.5], [0.25]])
        entries = [client.send(1), client.send(2, temperature=3.0), client.send(3, 4, temperature=column)]
        await client.all(*entries)
        assert runner.feeds[0]["temperature"].tolist() == [[7.0], [3.0], [0.5], [0.25]]
        assert [said(e) for e in entries] == [[9], [7], [6.5, 8.25]]

    with_batcher(test, Fake())


def test_a_batch_without_temperatures_takes_the_heads_own() -> None:
    async def test(client: Client, _: Batcher, runner: Fake) -> None:
        await client.all(client.send(1), client.send(2))
        assert runner.feeds[0].keys() == {"logits"}

    with_batcher(test, Fake())


def test_a_row_without_a_mask_may_choose_every_class_in_a_mixed_batch() -> None:
    async def test(client: Client, _: Batcher, runner: Fake) -> None:
        await client.all(client.send(1, k=2), client.send(2, k=2, mask=np.array([[True, False]])))
        assert runner.feeds[0]["mask"].tolist() == [[True, True], [True, False]]

    with_batcher(test, Fake())


def test_a_batch_computes_what_any_of_its_entries_wants() -> None:
    async def test(client: Client, _: Batcher, runner: Fake) -> None:
        await client.all(client.send(1), client.send(2, bits=ENTROPY))
        assert runner.bits == [PROBABILITIES | ENTROPY]

    with_batcher(test, Fake())


def test_rows_of_different_k_never_share_a_batch_and_never_wait_for_each_other() -> None:
    async def test(client: Client, _: Batcher, runner: Held) -> None:
        three = client.send(1, k=3)
        await runner.running()
        five = client.send(1, k=5)
        await runner.running()  # though the first still runs
        runner.release()
        await client.all(three, five)
        assert sorted(feed["logits"].shape[1] for feed in runner.feeds) == [3, 5]

    with_batcher(test, Held(), inline_s=NEVER_INLINE)


def test_different_runners_never_share_a_batch() -> None:
    async def test(client: Client, batcher: Batcher, runner: Fake) -> None:
        other = Client(batcher, Fake())
        mine, theirs = client.send(1), other.send(2)
        await client.all(mine)
        await other.all(theirs)
        assert (runner.sizes, other.runner.sizes) == ([1], [1])

    with_batcher(test, Fake())


@settings(max_examples=100)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(1, 6), st.booleans())
def test_however_it_is_cut_everyone_gets_their_own_rows(sizes: list[int], most: int, inline: bool) -> None:
    async def test(client: Client, _: Batcher, runner: Fake) -> None:
        logits = np.split(np.arange(sum(sizes), dtype=float), np.cumsum(sizes)[:-1])
        entries = [client.send(*part, bits=ENTROPY if len(part) % 2 else PROBABILITIES) for part in logits]
        await client.all(*entries)
        assert [said(e) for e in entries] == [(2 * part).tolist() for part in logits]
        assert max(runner.sizes) <= most
        assert sum(runner.sizes) == sum(sizes)

    with_batcher(test, Fake(), max_batch_rows=most, inline_s=1.0 if inline else NEVER_INLINE)


def test_a_lone_request_waits_for_company_where_that_is_asked_for() -> None:
    async def test(client: Client, batcher: Batcher, runner: Fake) -> None:
        first = client.send(1)
        await asyncio.sleep(0)
        assert runner.sizes == []
        rest = [client.send(i) for i in range(3)]  # and the full batch does not wait
        await client.all(first, *rest)
        assert runner.sizes == [4]
        assert batcher.max_wait_s == 60

    with_batcher(test, Fake(), max_wait_s=60, max_batch_rows=4)


def test_waiting_for_company_ends() -> None:
    async def test(client: Client, _: Batcher, runner: Fake) -> None:
        await client.all(client.send(1))
        assert runner.sizes == [1]

    with_batcher(test, Fake(), max_wait_s=0.001)


def test_too_many_waiting_rows_are_refused_and_nothing_of_them_is_queued() -> None:
    async def test(client: Client, batcher: Batcher, runner: Held) -> None:
        first = client.send(1)
        await runner.running()
        waiting = client.send(2, 3, 4)
        with pytest.raises(QueueFull, match="the queue is full: 3 of at most 4 rows are waiting"):
            client.send(5, 6)
        assert batcher.n_waiting == 3
        last = client.send(7)
        runner.release()
        await client.all(first, waiting, last)

    with_batcher(test, Held(), max_queue_rows=4, inline_s=NEVER_INLINE)


def test_a_request_that_never_finds_room_is_told_so() -> None:
    async def test(client: Client, _: Batcher, __: Fake) -> None:
        with pytest.raises(InvalidValue, match="5 rows came in one request; at most 4") as error:
            client.send(*range(5))
        assert error.value.code == "too_many_rows"

    with_batcher(test, Fake(), max_queue_rows=4)


def test_room_is_counted_in_rows_that_wait_not_in_rows_that_run() -> None:
    async def test(client: Client, batcher: Batcher, runner: Held) -> None:
        first = client.send(1, 2, 3, 4)
        await runner.running()
        assert batcher.n_waiting == 0
        second = client.send(5, 6, 7, 8)
        runner.release()
        await client.all(first, second)

    with_batcher(test, Held(), max_queue_rows=4, inline_s=NEVER_INLINE)


def test_an_entry_says_in_its_repr_how_far_it_is(caplog: pytest.LogCaptureFixture) -> None:
    async def test(client: Client, batcher: Batcher, _: Fake) -> None:
        entry = client.send(1, 2)
        assert repr(entry) == "<Entry 0 of 2 rows sent, waiting>"
        assert repr(batcher) == "<Batcher 2 rows waiting in 1 queues>"
        await client.all(entry)
        assert repr(entry) == "<Entry 2 of 2 rows sent, settled>"

    with_batcher(test, Fake())
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING and r.name == "service.engine.batcher"]


def test_timings_of_an_entry_cover_its_queueing_and_its_runs() -> None:
    async def test(client: Client, _: Batcher, __: Fake) -> None:
        entry = client.send(*range(4))
        await client.all(entry)
        assert entry.queue_s > 0
        assert entry.run_s > 0

    with_batcher(test, Fake(), max_batch_rows=2)


class Watching:
    """An observer that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def ran(self, runner: Any, marks: Sequence[Any], n_rows: int, took_s: float) -> None:
        """A batch ran."""
        assert took_s > 0
        self.told.append((list(marks), n_rows))


def test_who_comes_alone_is_answered_at_once() -> None:
    observer = Watching()

    async def test(_: Client, batcher: Batcher, runner: Fake) -> None:
        found = batcher.run_now(
            runner, Rows({"logits": np.ones((2, 3), np.float32)}), PROBABILITIES, 60, "mine", n_connections=1
        )
        assert found is not None
        assert found[0]["probabilities"].tolist() == [[2] * 3] * 2
        assert found[1] > 0
        assert observer.told == [(["mine"], 2)]
        assert runner.threads == [threading.main_thread()]

    with_batcher(test, Fake(), observer=observer)


def test_nobody_is_answered_at_once_while_others_wait() -> None:
    async def test(client: Client, batcher: Batcher, runner: Fake) -> None:
        rows = Rows({"logits": np.ones((1, 1), np.float32)})
        entry = client.send(1)
        assert batcher.run_now(runner, rows, PROBABILITIES, 60, n_connections=1) is None
        await client.all(entry)
        await batcher.idle.wait()
        assert batcher.run_now(runner, rows, PROBABILITIES, 60, n_connections=1) is not None

    with_batcher(test, Fake())


@pytest.mark.parametrize(
    "options",
    [{"max_wait_s": 1e-3}, {"inline_s": NEVER_INLINE}, {"max_batch_rows": 1}, {"max_queue_rows": 1}],
    ids=lambda options: next(iter(options)),
)
def test_what_had_better_queue_is_not_run_at_once(options: dict[str, Any]) -> None:
    async def test(_: Client, batcher: Batcher, runner: Fake) -> None:
        rows = Rows({"logits": np.ones((2, 1), np.float32)})
        assert batcher.run_now(runner, rows, PROBABILITIES, 60, n_connections=1) is None
        assert not runner.feeds

    with_batcher(test, Fake(), **options)


def test_rows_that_fill_several_batches_are_not_run_at_once() -> None:
    async def test(_: Client, batcher: Batcher, runner: Fake) -> None:
        rows = Rows({"logits": np.ones((2, MAX_BATCH_NUMBERS), np.float32)})
        assert batcher.run_now(runner, rows, PROBABILITIES, 60, n_connections=1) is None

    with_batcher(test, Fake())


@pytest.mark.parametrize(
    ("n_connections", "binary", "n_numbers", "at_once"),
    [
        (1, False, 1, True),
        (2, False, 1, False),
        (2, False, ALONE_FROM, False),
        (2, True, ALONE_FROM - 1, False),
        (2, True, ALONE_FROM, True),
        (100, True, ALONE_FROM, True),
        (1, True, 1, True),
    ],
)
def test_with_others_connected_only_a_large_binary_request_is_run_at_once(
    n_connections: int, binary: bool, n_numbers: int, at_once: bool
) -> None:
    async def test(_: Client, batcher: Batcher, runner: Fake) -> None:
        rows = Rows({"logits": np.ones((1, n_numbers), np.float32)})
        ran = batcher.run_now(runner, rows, PROBABILITIES, 60, n_connections=n_connections, binary=binary)
        assert (ran is not None, runner.sizes) == (at_once, [1] * at_once)

    with_batcher(test, Fake(), inline_s=1.0)


def test_a_transport_that_does_not_know_its_connections_has_its_rows_queued() -> None:
    async def test(_: Client, batcher: Batcher, runner: Fake) -> None:
        rows = Rows({"logits": np.ones((1, 1), np.float32)})
        assert batcher.run_now(runner, rows, PROBABILITIES, 60) is None
        assert runner.sizes == []

    with_batcher(test, Fake(), inline_s=1.0)


def test_large_requests_at_a_time_wait_for_each_other() -> None:
    """What runs in a thread has a queue: who comes meanwhile shares the next batch, large and binary or not."""

    async def test(client: Client, batcher: Batcher, runner: Held) -> None:
        first = client.send(1)
        await runner.running()
        rows = Rows({"logits": np.ones((1, ALONE_FROM), np.float32)})
        batcher.inline_s = 1.0
        assert batcher.run_now(runner, rows, PROBABILITIES, 60, n_connections=2, binary=True) is None
        runner.release()
        await client.all(first)

    with_batcher(test, Held(), inline_s=NEVER_INLINE)
