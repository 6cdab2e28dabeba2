"""The queue and its one owner: rows in, one run for everybody who waits, each entry answered exactly once.

Knows asyncio; no ONNX, no HTTP. All bounds count rows. Everything here happens on the event loop, but for runs that
would hold it, which happen in a thread.

Entries that may share a batch (one runner, one shape) form a group. A group is idle, about to flush, or running; what
arrives while a batch runs is the next batch. No timer unless `max_wait_s` asks for one, no poll.
"""

import asyncio
import logging
import os
import statistics
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Final, Protocol

from service.engine.answers import Batch, Part
from service.engine.entry import Entry, Piece, rows_of
from service.engine.feed import joined
from service.engine.rows import Rows
from service.engine.runner import Arrays, Runner
from service.errors import AnsweredError, DeadlinePassed, InvalidValue, NotReady, QueueFull, RunFailed

logger = logging.getLogger(__name__)
clock = time.perf_counter
N_HAND_OVERS: Final = 25
TOO_LATE: Final = "the deadline passed before the answer was there"
# Wide rows fill a batch sooner: one that is larger gains nothing more, and takes memory and other people's time.
MAX_BATCH_NUMBERS: Final = 2**18


class Observer(Protocol):
    """Who is told of batches; called on the loop, and raises nothing."""

    def ran(self, runner: Runner, tags: Sequence[Any], n_rows: int, took_s: float, /) -> None:
        """A batch of `n_rows` ran; `tags` are its entries'."""


class Nobody:
    """An observer who does not look."""

    def ran(self, runner: Runner, tags: Sequence[Any], n_rows: int, took_s: float) -> None:
        """Nothing happens."""


def check_lengths(arrays: Arrays, n_rows: int) -> None:
    """Before the split: as many rows came out as went in.

    Raises:
        RunFailed: others did.
    """
    for name, values in arrays.items():
        if len(values) != n_rows:
            raise RunFailed(f"the head answered {len(values)} rows of {name} for {n_rows}")


def ran_badly(error: Exception, n_entries: int) -> AnsweredError:
    """What is said to those in a batch that could not be run; the log has the rest."""
    logger.error("a batch of %d entries failed", n_entries, exc_info=error)
    if isinstance(error, AnsweredError):
        return error
    return RunFailed(f"the batch could not be run: {type(error).__name__}")


class Batcher:
    """Owns every queue. Use it from one event loop, the one that is running when it is made."""

    def __init__(
        self,
        *,
        max_batch_rows: int = 1024,
        max_queue_rows: int = 8192,
        max_wait_s: float = 0.0,
        inline_s: float = 0.0003,
        observer: Observer | None = None,
    ) -> None:
        """Bounds in rows; a run expected to take longer than `inline_s` seconds goes to a thread."""
        self.observer = observer or Nobody()
        self.loop = asyncio.get_running_loop()
        self.max_batch_rows = max_batch_rows
        self.max_queue_rows = max_queue_rows
        self.max_wait_s = max_wait_s
        self.inline_s = inline_s
        self.groups: dict[Hashable, Group] = {}
        self.n_waiting = 0
        self.closed = False
        self.cause_of_death: BaseException | None = None
        self.alarm: asyncio.TimerHandle | None = None
        self.alarm_at = float("inf")
        self.idle = asyncio.Event()
        self.idle.set()
        self.threads = ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="calibrant-run")

    def __repr__(self) -> str:
        return f"<Batcher {self.n_waiting} rows waiting in {len(self.groups)} groups>"

    @property
    def alive(self) -> bool:
        """Whether it takes entries."""
        return not self.closed and self.cause_of_death is None

    async def measure_hand_over(self) -> None:
        """Measure what handing a run to a thread costs, and hand over the runs that take twenty times as long."""
        took = []
        for _ in range(N_HAND_OVERS):
            start = clock()
            await self.loop.run_in_executor(self.threads, int)
            took.append(clock() - start)
        self.inline_s = 20 * statistics.median(took)

    def bounds(self) -> dict[str, float]:
        """What it was told, for the record."""
        return {
            "max_batch_rows": self.max_batch_rows,
            "max_queue_rows": self.max_queue_rows,
            "max_wait_s": self.max_wait_s,
            "inline_s": self.inline_s,
        }

    def submit(
        self,
        runner: Runner,
        rows: Rows,
        bits: int,
        done: Callable[[Entry], None],
        timeout_s: float,
        tag: Any = None,
    ) -> Entry:
        """Queue `rows` for `runner` and the graph outputs of `bits`; `done(entry)` follows, never from inside here.

        Raises:
            QueueFull: no room among the waiting rows; nothing was queued.
            InvalidValue: more rows than would ever find room.
            NotReady: closed, or dead.
        """
        if rows.n > self.max_queue_rows:
            raise InvalidValue(
                f"{rows.n} rows came in one request; at most {self.max_queue_rows} can be queued", code="too_many_rows"
            )
        if rows.n > self.max_queue_rows - self.n_waiting or not self.alive:
            self.admit(rows.n)
        entry = Entry(rows, bits, done, clock() + timeout_s, tag)
        if entry.deadline < self.alarm_at:
            self.set_alarm(entry.deadline)
        key = (runner, rows.shape)
        group = self.groups.get(key)
        if group is None:
            group = self.groups[key] = Group(self, key, runner, max(1, rows.n_numbers // rows.n))
            self.idle.clear()
        self.n_waiting += rows.n
        group.add(entry)
        return entry

    def at_once(
        self, runner: Runner, rows: Rows, bits: int, timeout_s: float, tag: Any = None
    ) -> tuple[Part, float] | None:
        """The answers to `rows`, good until the next run, and the seconds that it took; for who comes alone.

        None where `submit` is the way: others wait or run, company is waited for, or the run would hold the loop.

        Raises:
            RunFailed: the run failed.
            DeadlinePassed: it took longer than `timeout_s`.
        """
        if (
            self.groups
            or self.max_wait_s
            or rows.n > min(self.max_batch_rows, self.max_queue_rows)
            or rows.n_numbers > MAX_BATCH_NUMBERS
            or runner.cost_s(rows.n_numbers) > self.inline_s
        ):
            return None
        start = clock()
        try:
            arrays = runner.run_alone(rows, bits)
            check_lengths(arrays, rows.n)
        except Exception as error:
            raise ran_badly(error, 1) from error
        took_s = clock() - start
        self.observer.ran(runner, (tag,), rows.n, took_s)
        if took_s > timeout_s:
            raise DeadlinePassed(TOO_LATE)
        return Part(Batch(arrays, of_single_rows=rows.n == 1), 0, rows.n), took_s

    def admit(self, n_rows: int = 1) -> None:
        """Pass where so many rows find room; ask before decoding, so that refusing stays cheap.

        Raises:
            QueueFull: no room among the waiting rows.
            NotReady: closed, or dead.
        """
        if n_rows > self.max_queue_rows - self.n_waiting:
            raise QueueFull(f"{self.n_waiting} rows are waiting, {self.max_queue_rows} may: try again in a moment")
        if not self.alive:
            raise NotReady("the service is stopping" if self.closed else "the batcher has died")

    def set_alarm(self, at: float) -> None:
        """Look for entries past their deadline at `at`: one timer for all, armed for the first of them."""
        if self.alarm is not None:
            self.alarm.cancel()
        self.alarm_at = at
        self.alarm = self.loop.call_later(max(0.0, at - clock()), self.ring)

    def ring(self) -> None:
        """Answer the entries whose deadline has passed, and set the alarm for the next."""
        self.alarm, self.alarm_at = None, float("inf")
        now, following = clock(), float("inf")
        for group in list(self.groups.values()):
            for entry in group.unanswered():
                if entry.deadline <= now:
                    entry.fail(DeadlinePassed(TOO_LATE))
                else:
                    following = min(following, entry.deadline)
        if following < float("inf"):
            self.set_alarm(following)

    def forget(self, group: "Group") -> None:
        """A group has nothing left to do."""
        del self.groups[group.key]
        if not self.groups:
            self.idle.set()

    def die(self, error: BaseException) -> None:
        """A fault of our own: answer everybody who waits, take nobody any more, and say so in `alive`."""
        logger.critical("the batcher has died", exc_info=error)
        self.cause_of_death = error
        for group in list(self.groups.values()):
            for entry in group.unanswered():
                entry.fail(NotReady("the batcher has died"))

    async def close(self) -> None:
        """Take nothing more, answer what is queued, and end the threads."""
        self.closed = True
        for group in list(self.groups.values()):
            group.hurry()
        if self.cause_of_death is None:
            await self.idle.wait()
        if self.alarm is not None:
            self.alarm.cancel()
        self.threads.shutdown(wait=False)


class Group:
    """The entries that may share a batch, first come, first served; one batch of them runs at a time."""

    __slots__ = ("batch", "batcher", "flush_timer", "key", "max_rows", "n_waiting", "runner", "waiting")

    def __init__(self, batcher: Batcher, key: Hashable, runner: Runner, numbers_a_row: int) -> None:
        self.batcher = batcher
        self.key = key
        self.runner = runner
        self.waiting: deque[Entry] = deque()
        self.n_waiting = 0
        self.max_rows = max(1, min(batcher.max_batch_rows, MAX_BATCH_NUMBERS // numbers_a_row))
        self.batch: list[Piece] = []
        if batcher.max_wait_s:
            self.flush_timer: asyncio.Handle = batcher.loop.call_later(batcher.max_wait_s, self.flush)
        else:
            self.flush_timer = batcher.loop.call_soon(self.flush)

    def __repr__(self) -> str:
        return f"<Group {len(self.waiting)} entries waiting, {len(self.batch)} running>"

    def add(self, entry: Entry) -> None:
        """Queue an entry; the flush is scheduled already."""
        self.waiting.append(entry)
        self.n_waiting += entry.rows.n
        batcher = self.batcher
        if batcher.max_wait_s and self.n_waiting >= batcher.max_batch_rows:
            self.hurry()

    def hurry(self) -> None:
        """Wait for no company any more."""
        if not self.batch:
            self.flush_timer.cancel()
            self.flush_timer = self.batcher.loop.call_soon(self.flush)

    def unanswered(self) -> list[Entry]:
        """Whoever waits or runs."""
        return [*self.waiting, *(entry for entry, _, _ in self.batch)]

    def flush(self) -> None:
        """Run the next batch, here or in a thread; with nothing left, go."""
        try:
            self.batch = self.next_batch()
            if not self.batch:
                self.batcher.forget(self)
                return
            self.run()
        except BaseException as error:
            self.batcher.die(error)
            raise

    def next_batch(self) -> list[Piece]:
        """Take what fits. What would fit whole into the next batch is not cut; what is cut goes to the back."""
        batch: list[Piece] = []
        room = most = self.max_rows
        while self.waiting and room:
            entry = self.waiting[0]
            left = entry.rows.n - entry.n_sent
            if entry.done is None:
                self.drop(left)
                continue
            if room < left <= most and batch:
                break
            n = min(left, room)
            start, entry.n_sent = entry.n_sent, entry.n_sent + n
            batch.append((entry, start, entry.n_sent))
            room -= n
            self.n_waiting -= n
            self.batcher.n_waiting -= n
            self.waiting.popleft()
            if n < left:
                self.waiting.append(entry)
                break
        return batch

    def drop(self, n_rows: int) -> None:
        """Forget the first entry, `n_rows` of which were still waiting: nobody wants it."""
        self.waiting.popleft()
        self.n_waiting -= n_rows
        self.batcher.n_waiting -= n_rows

    def run(self) -> None:
        """One run for the batch: on the loop where that is cheap, else in a thread."""
        start = clock()
        try:
            rows = [rows_of(piece) for piece in self.batch]
            feed = joined(rows, self.runner.temperature)
            bits = 0
            for entry, _, _ in self.batch:
                bits |= entry.bits
            n_numbers = sum([some.n_numbers for some in rows])
            work = partial(self.runner.run, feed, bits)
            if self.runner.cost_s(n_numbers) <= self.batcher.inline_s:
                self.deliver(start, work())
            else:
                self.batcher.threads.submit(work).add_done_callback(partial(self.hand_back, start))
                return
        except Exception as error:
            self.fail(error)
        self.go_on()

    def hand_back(self, start: float, future: "Future[Arrays]") -> None:
        """In the thread: back to the loop, unless that is gone."""
        if not self.batcher.loop.is_closed():
            self.batcher.loop.call_soon_threadsafe(self.finish, start, future)

    def finish(self, start: float, future: "Future[Arrays]") -> None:
        """On the loop again, after a run in a thread."""
        try:
            try:
                self.deliver(start, future.result())
            except Exception as error:
                self.fail(error)
            self.go_on()
        except BaseException as error:
            self.batcher.die(error)
            raise

    def deliver(self, start: float, arrays: Arrays) -> None:
        """Split a batch's arrays among its entries."""
        now = clock()
        n_rows = sum([stop - first for _, first, stop in self.batch])
        check_lengths(arrays, n_rows)
        self.batcher.observer.ran(self.runner, [entry.tag for entry, _, _ in self.batch], n_rows, now - start)
        batch = Batch(arrays, of_single_rows=n_rows == len(self.batch))
        at = 0
        for entry, first, stop in self.batch:
            n = stop - first
            entry.run_s += now - start
            if first == 0:
                entry.queue_s = start - entry.submitted
            if entry.deadline < now:
                entry.fail(DeadlinePassed(TOO_LATE))
            elif entry.done is not None:
                part = Part(batch, at, at + n)
                if n == entry.rows.n:
                    entry.answer(part)
                else:
                    entry.receive(part)
            at += n

    def fail(self, error: Exception) -> None:
        """The batch could not be run: everybody in it hears of it, nobody else does."""
        answer = ran_badly(error, len(self.batch))
        for entry, _, _ in self.batch:
            entry.fail(answer)

    def go_on(self) -> None:
        """The batch is answered: run what has come meanwhile, after the loop had its turn, or go."""
        self.batch = []
        if self.waiting:
            self.flush_timer = self.batcher.loop.call_soon(self.flush)
        else:
            self.batcher.forget(self)
