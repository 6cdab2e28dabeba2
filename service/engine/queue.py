"""The entries that may share a batch, in the order in which they came, and the runs that empty the queue.

A queue is idle, about to flush, or running; what arrives while a batch runs is the next batch.
"""

import asyncio
import time
from collections import deque
from collections.abc import Hashable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Final, Protocol

from service.engine.answers import Batch
from service.engine.entry import Entry, Piece, rows_of, share_out
from service.engine.feed import build_feed
from service.engine.refusal import Ran, Run, ValueRefused, run_apart, run_whole
from service.engine.runner import (
    HEAD_STOPPED,
    RUN_TIMEOUT,
    Arrays,
    Runner,
    batch_error,
    check_lengths,
    find_nan,
    run_bits,
)
from service.engine.watchdog import Watchdog
from service.errors import AnsweredError, NotReady, RunFailed
from service.telemetry.observer import Observer

clock: Final = time.perf_counter
# Wide rows fill a batch sooner: one that is larger gains nothing more, and takes memory and other people's time.
MAX_BATCH_NUMBERS: Final = 2**18


NONE_REFUSED: Final[Mapping[int, AnsweredError]] = {}


class Owner(Protocol):
    """What a queue needs of the batcher that owns it; see there."""

    loop: asyncio.AbstractEventLoop
    threads: ThreadPoolExecutor
    watchdog: Watchdog
    observer: Observer
    max_batch_rows: int
    max_wait_s: float
    inline_s: float
    n_waiting: int

    def forget(self, queue: "Queue", /) -> None:
        """The queue has nothing left to do."""

    def die(self, error: BaseException, /) -> None:
        """A fault of our own."""


class Queue:
    """The entries that may share a batch, first come, first served; one batch of them runs at a time."""

    __slots__ = (
        "batch",
        "cost_s",
        "flush_timer",
        "key",
        "max_rows",
        "n_waiting",
        "numbers_a_row",
        "owner",
        "runner",
        "running",
        "started",
        "waiting",
    )

    def __init__(self, owner: Owner, key: Hashable, runner: Runner, numbers_a_row: int) -> None:
        self.owner = owner
        self.key = key
        self.runner = runner
        self.waiting: deque[Entry] = deque()
        self.n_waiting = 0
        self.numbers_a_row = numbers_a_row
        self.max_rows = most_rows(owner.max_batch_rows, numbers_a_row)
        self.batch: list[Piece] = []
        self.running: Future[Ran] | None = None  # of the batch, where it is in a thread
        self.started = self.cost_s = 0.0  # when the last run began, and what it was expected to cost, seconds
        if owner.max_wait_s:
            self.flush_timer: asyncio.Handle = owner.loop.call_later(owner.max_wait_s, self.flush)
        else:
            self.flush_timer = owner.loop.call_soon(self.flush)

    def __repr__(self) -> str:
        return f"<Queue {len(self.waiting)} entries waiting, {len(self.batch)} running>"

    def add(self, entry: Entry) -> None:
        """Queue an entry; the flush is scheduled already."""
        self.waiting.append(entry)
        self.n_waiting += entry.rows.n
        owner = self.owner
        if owner.max_wait_s and self.n_waiting >= owner.max_batch_rows:
            self.hurry()

    def hurry(self) -> None:
        """Wait for no company any more."""
        if not self.batch:
            self.flush_timer.cancel()
            self.flush_timer = self.owner.loop.call_soon(self.flush)

    def unanswered(self) -> list[Entry]:
        """Whoever waits or runs."""
        return [*self.waiting, *(entry for entry, _, _ in self.batch)]

    def flush(self) -> None:
        """Run the next batch, here or in a thread; with nothing left, go."""
        try:
            self.fill_batch()
            if not self.batch:
                self.owner.forget(self)
                return
            self.run()
        except BaseException as error:
            self.owner.die(error)
            raise

    def fill_batch(self) -> None:
        """Take what fits. What would fit whole into the next batch is not cut; what is cut goes to the back.

        An entry is in the batch before it leaves those that wait, so that no fault in between loses it.
        """
        batch = self.batch = []
        room = most = self.max_rows
        while self.waiting and room:
            entry = self.waiting[0]
            left = entry.rows.n - entry.n_sent
            if entry.done is None:  # nobody wants it
                self.waiting.popleft()
                self.n_waiting -= left
                self.owner.n_waiting -= left
                continue
            if room < left <= most and batch:
                break
            n = min(left, room)
            start, entry.n_sent = entry.n_sent, entry.n_sent + n
            batch.append((entry, start, entry.n_sent))
            room -= n
            self.n_waiting -= n
            self.owner.n_waiting -= n
            self.waiting.popleft()
            if n < left:
                self.waiting.append(entry)
                break

    def run(self) -> None:
        """One run for the batch: on the loop where that is cheap, else in a thread."""
        self.started = clock()
        try:
            rows = [rows_of(piece) for piece in self.batch]
            feed = build_feed(rows, self.runner.temperature)
            bits = 0
            for entry, _, _ in self.batch:
                bits |= entry.bits
            n_numbers = sum([some.n_numbers for some in rows])
            run = partial(run_bits, self.runner, bits)
            self.cost_s = self.runner.cost_s(n_numbers)
            here = self.cost_s <= self.owner.inline_s
            if here and self.run_here(run, feed):
                if self.runner.pace.refused_at:
                    self.runner.pace.see(self.cost_s, clock() - self.started)
            else:
                attempt = run_apart if here else run_whole  # several runs would hold the loop
                spans = [(first, stop) for _, first, stop in self.batch]
                work = partial(attempt, run, feed, spans)
                self.running = self.owner.threads.submit(self.owner.watchdog.run, self.runner, work)
                self.running.add_done_callback(self.hand_back)
                return
        except Exception as error:
            self.fail(error)
        self.go_on()

    def run_here(self, run: Run, feed: Arrays) -> bool:
        """Run and deliver; false where ONNX Runtime refuses a value, and somebody must find out whose it is."""
        watchdog = self.owner.watchdog
        watchdog.on_loop = (self.runner,)
        try:
            arrays = run(feed)
        except ValueRefused:
            return False
        finally:
            watchdog.on_loop = None
        self.deliver(arrays, feed=feed)
        return True

    def hand_back(self, future: "Future[Ran]") -> None:
        """In the thread: back to the loop, unless that is gone."""
        if not self.owner.loop.is_closed():
            self.owner.loop.call_soon_threadsafe(self.finish, future)

    def finish(self, future: "Future[Ran]") -> None:
        """On the loop again, after a run in a thread, unless it was given up meanwhile."""
        if future is not self.running:
            return
        self.running = None
        try:
            if future.cancelled():  # it had not begun when its thread was given up
                self.run()
                return
            took_s = clock() - self.started
            try:
                self.deliver(*future.result())
                self.runner.pace.see(self.cost_s, took_s)  # one that fails tells nothing
            except Exception as error:
                self.fail(error)
            self.go_on()
        except BaseException as error:
            self.owner.die(error)
            raise

    def deliver(
        self, arrays: Arrays, refused: Mapping[int, AnsweredError] = NONE_REFUSED, feed: Arrays | None = None
    ) -> None:
        """Split a batch's arrays among its entries; those that are `refused`, by their number, hear why."""
        start, now = self.started, clock()
        n_rows = sum([stop - first for _, first, stop in self.batch])
        check_lengths(arrays, n_rows)
        if failed := find_nan(self.runner, arrays, self.batch):
            refused = {**refused, **failed}
        self.owner.observer.ran(self.runner, [entry.mark for entry, _, _ in self.batch], n_rows, now - start)
        single = n_rows == len(self.batch)
        share_out(Batch(arrays, of_single_rows=single, feed=feed if single else None), self.batch, refused, start, now)

    def fail(self, error: Exception) -> None:
        """The batch could not be run: everybody in it hears of it, nobody else does."""
        answer = batch_error(error, len(self.batch))
        for entry, _, _ in self.batch:
            entry.fail(answer)

    def give_up(self) -> None:
        """The batch will not end: whoever is in it hears of it, whoever waits is refused, and nothing is left."""
        for entry, _, _ in self.batch:
            entry.fail(RunFailed(self.runner.stopped, code=RUN_TIMEOUT))
        for entry in self.waiting:
            entry.fail(NotReady(self.runner.stopped, code=HEAD_STOPPED))
        self.flush_timer.cancel()
        self.owner.n_waiting -= self.n_waiting
        self.running = None
        self.owner.forget(self)

    def go_on(self) -> None:
        """The batch is answered: run what has come meanwhile, after the loop had its turn, or go."""
        self.batch = []
        if self.waiting:
            self.flush_timer = self.owner.loop.call_soon(self.flush)
        else:
            self.owner.forget(self)


def most_rows(max_batch_rows: int, numbers_a_row: int) -> int:
    """The most rows of one batch."""
    return max(1, min(max_batch_rows, MAX_BATCH_NUMBERS // numbers_a_row))
