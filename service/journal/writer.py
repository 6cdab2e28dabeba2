"""From blocks to the disk, in a thread: the event loop hands over what has come ten times a second, and never waits."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

from service.errors import NotReady
from service.journal.record import pack_labels, pack_lost
from service.journal.segments import Appender

logger = logging.getLogger(__name__)

INTERVAL_S: Final = 0.1
IDLE: Final = 50  # intervals without an answer, after which the segment is finished
MAX_WAITING: Final = 32 * 2**20  # bytes that wait for the disk; beyond that rows are dropped


class Writer:
    """Blocks on their way to a segment. Use it from one event loop."""

    def __init__(self, appender: Appender, count: Callable[[int, int], None], collect: Callable[[], None]) -> None:
        """Append with `appender`.

        Args:
            appender: of segments.
            count: told how many rows were kept, and how many were dropped.
            collect: called before anything is handed over, to put what waits.
        """
        self.appender = appender
        self.count = count
        self.collect = collect
        self.parts: list[Any] = []  # of blocks; arrays of requests among them, which nobody changes any more
        self.n_bytes = self.n_rows = 0  # in them
        self.n_lost = 0  # that the live process has not been told of
        self.n_idle = 0
        self.failing = False
        self.timer: asyncio.TimerHandle | None = None
        self.writing: asyncio.Future[Any] | None = None
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="calibrant-journal")

    def __repr__(self) -> str:
        return f"<Writer {self.n_rows} rows waiting>"

    def put(self, block: Sequence[Any], n_rows: int) -> None:
        """Add the parts of a block to what the timer hands over, if there is room."""
        n_bytes = sum([memoryview(part).nbytes for part in block])
        if self.n_bytes + n_bytes > MAX_WAITING:
            self.lose(n_rows)
            return
        self.parts += block
        self.n_bytes += n_bytes
        self.n_rows += n_rows
        self.wake()

    def lose(self, n_rows: int) -> None:
        """Count rows that are not kept."""
        self.n_lost += n_rows
        self.count(0, n_rows)

    def wake(self) -> None:
        """Hand over in a moment."""
        if self.timer is None:
            self.timer = asyncio.get_running_loop().call_later(INTERVAL_S, self.ring)

    def ring(self) -> None:
        """Hand over what has come, and finish the segment once nothing comes any more."""
        self.timer = None
        self.collect()
        if self.parts:
            self.n_idle = 0
            if self.writing is None:
                self.hand_over()
        else:
            self.n_idle += 1
            if self.n_idle > IDLE:
                self.thread.submit(self.appender.close)
                return
        self.wake()

    def hand_over(self) -> None:
        """Let the thread write what is there."""
        parts, n_rows = self.parts, self.n_rows
        self.parts, self.n_bytes, self.n_rows = [], 0, 0
        if n_lost := self.n_lost:
            self.n_lost = 0
            parts.append(pack_lost(n_lost))
        work = partial(self.appender.append, parts, time.time_ns())
        self.writing = asyncio.get_running_loop().run_in_executor(self.thread, work)
        self.writing.add_done_callback(partial(self.written, n_rows, n_lost))

    def written(self, n_rows: int, n_lost: int, future: "asyncio.Future[Any]") -> None:
        """The thread is through with it."""
        self.writing = None
        error = future.exception()
        if error is None:
            self.count(n_rows, 0)
        else:
            self.lose(n_rows)
            self.n_lost += n_lost
        if (error is not None) != self.failing:
            self.failing = error is not None
            if self.failing:
                logger.warning("the journal cannot be written, its rows are dropped and counted: %s", error)
            else:
                logger.info("the journal is written again")

    async def keep_labels(self, body: bytes) -> None:
        """Write labels for the live process to find, and return when they are written.

        Raises:
            NotReady: the disk did not take them.
        """
        work = partial(self.appender.append, [pack_labels(body)], time.time_ns())
        self.n_idle = 0
        try:
            await asyncio.get_running_loop().run_in_executor(self.thread, work)
        except OSError as error:
            raise NotReady(f"the labels could not be written: {error.strerror or error}") from error
        self.wake()

    async def close(self) -> None:
        """Write what is left, and finish the segment."""
        self.collect()
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.writing is not None:
            await asyncio.wait([self.writing])
        if self.parts or self.n_lost:
            self.hand_over()
            assert self.writing is not None  # noqa: S101 - just begun
            await asyncio.wait([self.writing])
        await asyncio.get_running_loop().run_in_executor(self.thread, self.appender.close)
        self.thread.shutdown()
