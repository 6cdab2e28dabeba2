"""The queue and its one owner: rows in, one run for everybody who waits, each entry answered exactly once.

Knows asyncio; no ONNX, no HTTP. All bounds count rows. Everything here happens on the event loop, but for runs that
would hold it, which happen in a thread.

Entries that may share a batch (one runner, one shape) form a queue. A queue is idle, about to flush, or running; what
arrives while a batch runs is the next batch. No timer unless `max_wait_s` asks for one, no poll.
"""

import asyncio
import logging
import os
import statistics
import time
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

from service.engine.alarm import Alarm
from service.engine.answers import Batch, Share
from service.engine.deadline import check_deadline
from service.engine.entry import TOO_LATE, Entry
from service.engine.queue import MAX_BATCH_NUMBERS, Queue
from service.engine.refusal import ValueRefused
from service.engine.rows import Runnable
from service.engine.runner import HEAD_STOPPED, Runner, batch_error, check_lengths, check_numbers
from service.engine.watchdog import Watchdog
from service.errors import DeadlinePassed, InvalidValue, NotReady, QueueFull
from service.telemetry.observer import Nobody, Observer

logger = logging.getLogger(__name__)
clock: Final = time.perf_counter
N_HAND_OVERS: Final = 25
MANY: Final = 2  # connections, where a transport does not know how many there are
HASTY_S: Final = (
    10.0  # a shorter deadline is held against what runs take; it is below that of a request that names none
)
# A binary request of so many numbers is run by itself: it gains nothing from batching, and its numbers are still in
# the processor's cache now.
ALONE_FROM: Final = 2**15


class Batcher:
    """Owns every queue. Use it from one event loop, the one that is running when it is made."""

    def __init__(
        self,
        *,
        max_batch_rows: int = 1024,
        max_queue_rows: int = 8192,
        max_wait_s: float = 0.0,
        inline_s: float = 0.0003,
        run_timeout_s: float = 0.0,
        observer: Observer | None = None,
        on_stop: Callable[[], None] | None = None,
    ) -> None:
        """Bounds in rows; a run expected to take longer than `inline_s` seconds goes to a thread.

        Where a run takes longer than `run_timeout_s`, its batch fails, its runner is stopped, and `on_stop()` is called
        then; 0 lets it run.
        """
        self.observer = observer or Nobody()
        self.on_stop = on_stop
        self.loop = asyncio.get_running_loop()
        self.max_batch_rows = max_batch_rows
        self.max_queue_rows = max_queue_rows
        self.max_wait_s = max_wait_s
        self.inline_s = inline_s
        self.queues: dict[Hashable, Queue] = {}
        self.n_waiting = 0
        self.closed = False
        self.cause_of_death: BaseException | None = None
        self.alarm = Alarm(self.loop, self.unanswered)
        self.idle = asyncio.Event()
        self.idle.set()
        self.threads = new_threads()
        self.watchdog = Watchdog(run_timeout_s, self.give_up_soon)

    def __repr__(self) -> str:
        return f"<Batcher {self.n_waiting} rows waiting in {len(self.queues)} queues>"

    @property
    def alive(self) -> bool:
        """Whether it takes entries."""
        return not self.closed and self.cause_of_death is None

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
        rows: Runnable,
        bits: int,
        done: Callable[[Entry], None],
        timeout_s: float,
        mark: Any = None,
    ) -> Entry:
        """Queue `rows` for `runner` and the graph outputs of `bits`; `done(entry)` follows, never from inside here.

        Raises:
            QueueFull: no room among the waiting rows, or no answer expected within `timeout_s`; nothing was queued.
            DeadlinePassed: the deadline is over already.
            InvalidValue: more rows than would ever find room.
            NotReady: closed, or dead, or the runner was stopped.
        """
        if rows.n > self.max_queue_rows:
            raise InvalidValue(
                f"{rows.n} rows came in one request; at most {self.max_queue_rows} can be queued (--max-queue-rows)",
                code="too_many_rows",
            )
        if rows.n > self.max_queue_rows - self.n_waiting or not self.alive:
            self.admit(rows.n)
        if runner.stopped:
            raise NotReady(runner.stopped, code=HEAD_STOPPED)
        queue = self.queues.get(key := (runner, rows.shape))
        if timeout_s < HASTY_S or self.n_waiting > self.max_batch_rows:
            check_deadline(self, queue, runner, rows, timeout_s)
        entry = Entry(rows, bits, done, timeout_s, mark)
        if entry.deadline < self.alarm.at:
            self.alarm.set(entry.deadline)
        if queue is None:
            queue = self.queues[key] = Queue(self, key, runner, max(1, rows.n_numbers // rows.n))
            self.idle.clear()
        self.n_waiting += rows.n
        queue.add(entry)
        return entry

    def run_now(
        self,
        runner: Runner,
        rows: Runnable,
        bits: int,
        timeout_s: float,
        mark: Any = None,
        n_connections: int = MANY,
        binary: bool = False,
    ) -> tuple[Share, float] | None:
        """The answers to `rows`, good until the next run, and the seconds that the run took.

        None where `submit` is the way: the rows may gain from batching (somebody else is connected, waits or runs; a
        wait was asked for), or the run would hold the loop.

        Raises:
            RunFailed: the run failed.
            DeadlinePassed: it took longer than `timeout_s`.
        """
        if n_connections > 1 and not (binary and rows.n_numbers >= ALONE_FROM):
            return None
        if self.queues or self.max_wait_s or runner.stopped or not self.fits_alone(runner, rows):
            return None
        start = clock()
        self.watchdog.on_loop = (runner,)
        try:
            arrays = runner.run_alone(rows, bits)
            check_lengths(arrays, rows.n)
            check_numbers(arrays)
        except ValueRefused:
            return None  # a queue finds out which row it is
        except Exception as error:
            raise batch_error(error, 1) from error
        finally:
            self.watchdog.on_loop = None
        took_s = clock() - start
        self.observer.ran(runner, (mark,), rows.n, took_s)
        if took_s > timeout_s:
            raise DeadlinePassed(TOO_LATE)
        return Share(Batch(arrays, of_single_rows=rows.n == 1), 0, rows.n), took_s

    def fits_alone(self, runner: Runner, rows: Runnable) -> bool:
        """Whether `rows` are one batch, whose run does not hold the loop."""
        return (
            rows.n <= min(self.max_batch_rows, self.max_queue_rows)
            and rows.n_numbers <= MAX_BATCH_NUMBERS
            and runner.cost_s(rows.n_numbers) <= self.inline_s
        )

    def admit(self, n_rows: int = 1) -> None:
        """Pass where so many rows find room; ask before decoding, so that refusing stays cheap.

        Raises:
            QueueFull: no room among the waiting rows.
            NotReady: closed, or dead.
        """
        if n_rows > self.max_queue_rows - self.n_waiting:
            raise QueueFull(
                f"the queue is full: {self.n_waiting} of at most {self.max_queue_rows} rows are waiting; "
                "try again in a moment (--max-queue-rows)"
            )
        if not self.alive:
            raise NotReady("the service is stopping" if self.closed else "the batcher has died")

    def unanswered(self) -> list[Entry]:
        """Whoever waits or runs, in any queue."""
        return [entry for queue in self.queues.values() for entry in queue.unanswered()]

    def forget(self, queue: "Queue") -> None:
        """A queue has nothing left to do."""
        del self.queues[queue.key]
        if not self.queues:
            self.idle.set()

    def give_up_soon(self, runner: Runner) -> None:
        """As `give_up`, from another thread; of a loop that is gone nobody waits for anything."""
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.give_up, runner)

    def give_up(self, runner: Runner) -> None:
        """A run of this runner did not end: answer whoever waits for it, and let the others have new threads."""
        for queue in [queue for queue in self.queues.values() if queue.runner is runner]:
            queue.give_up()
        if self.watchdog.holds(runner):
            threads, self.threads = self.threads, new_threads()
            threads.shutdown(wait=False, cancel_futures=True)
        if self.on_stop is not None:
            self.on_stop()

    def die(self, error: BaseException) -> None:
        """A fault of our own: answer everybody who waits, take nobody any more, and say so in `alive`."""
        logger.critical("the batcher has died", exc_info=error)
        self.cause_of_death = error
        for entry in self.unanswered():
            entry.fail(NotReady("the batcher has died"))

    async def close(self) -> None:
        """Take nothing more, answer what is queued, and end the threads."""
        self.closed = True
        for queue in list(self.queues.values()):
            queue.hurry()
        if self.cause_of_death is None:
            await self.idle.wait()
        self.alarm.cancel()
        self.threads.shutdown(wait=False)
        self.watchdog.close()


async def measure_hand_over(batcher: Batcher) -> None:
    """Measure what handing a run to a thread costs, and hand over the runs that take twenty times as long."""
    took = []
    for _ in range(N_HAND_OVERS):
        start = clock()
        await batcher.loop.run_in_executor(batcher.threads, int)
        took.append(clock() - start)
    batcher.inline_s = 20 * statistics.median(took)


def new_threads() -> ThreadPoolExecutor:
    """Threads for runs, one a core."""
    return ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="calibrant-run")
