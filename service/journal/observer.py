"""The observer that keeps what was answered: an append of bytes on the event loop, a write of them in a thread.

Nothing waits for the disk: while that is slow or full, rows are dropped and counted, and the memory stays bounded.
"""

import asyncio
import logging
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, Literal

from service.engine.single import Row
from service.errors import NotReady
from service.journal.packing import hash_id, pack_answer, pack_rows
from service.journal.record import MAX_ID, pack_labels, pack_lost
from service.journal.segments import Appender
from service.telemetry.observer import Nobody, Observer, Request, Response

logger = logging.getLogger(__name__)

INTERVAL_S: Final = 0.1
IDLE: Final = 50  # intervals without an answer, after which the segment is finished
MANY: Final = 128  # single rows that are packed together
MAX_WAITING: Final = 32 * 2**20  # bytes that wait for the disk; beyond that rows are dropped


class Journal(Nobody):
    """The observer. Use it from one event loop."""

    def __init__(
        self,
        appender: Appender,
        *,
        sample: float = 1.0,
        keeps: Literal["logits", "confidence"] = "logits",
        id_key: bytes = b"",
        count: Callable[[int, int], None],
        then: Observer | None = None,
    ) -> None:
        """Append with `appender`.

        Args:
            appender: of segments.
            sample: the share of requests that are kept, by their ids: the same ones on every replica.
            keeps: `confidence` keeps the predicted class and its probability, and no logits.
            id_key: ids are replaced by their keyed hashes; empty keeps them as they are.
            count: told how many rows were kept, and how many were dropped.
            then: another observer, which hears everything, too: straight from here it costs one call less a request.
        """
        then = then or Nobody()
        self.then = then.answered
        for event in ("began", "ran", "refused", "gone"):
            setattr(self, event, getattr(then, event))
        self.appender = appender
        self.limit = round(sample * 2**32)
        self.keeps = keeps
        self.id_key = id_key
        self.count = count
        # small rows that come alone are packed many at a time
        self.direct = keeps == "logits" and not id_key and sample >= 1
        self.model: Any = None  # of the rows that wait to be packed
        self.ids: list[bytes] = []
        self.rows: list[Row] = []
        self.parts: list[Any] = []  # of blocks; arrays of requests among them, which nobody changes any more
        self.n_bytes = self.n_rows = 0  # in them
        self.n_lost = 0  # that the live process has not been told of
        self.n_idle = 0
        self.failing = False
        self.timer: asyncio.TimerHandle | None = None
        self.writing: asyncio.Future[Any] | None = None
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="calibrant-journal")

    def answered(self, request: Request, arrays: Mapping[str, Any], response: Response) -> None:
        """Keep the rows of an answer."""
        query = request.query
        if query.plain and self.direct:
            if request.model is not self.model:
                self.pack_singles()
                self.model = request.model
            self.ids.append(request.request_id)
            self.rows.append(query.rows)
            if len(self.ids) >= MANY:
                self.pack_singles()
            elif self.timer is None:
                self.wake()
        else:
            self.add(request, arrays)
        self.then(request, arrays, response)

    # --- from answers to bytes

    def add(self, request: Request, arrays: Mapping[str, Any]) -> None:
        """Keep the rows of any answer, if they can be kept, and are among those that shall be."""
        query, rows = request.query, request.query.rows
        if request.verb == "evaluate" or not request.model.signature.family.chooses_one or not rows.n:
            return
        key = request.request_id if query.id is None else query.id.encode()[:MAX_ID]
        if zlib.crc32(key) >= self.limit:
            return
        if self.id_key:
            key = hash_id(key, self.id_key)
        block = pack_answer(request, arrays, key, best_only=self.keeps == "confidence")
        if block is None:
            self.lose(rows.n)
        else:
            self.put(block, rows.n)

    def pack_singles(self) -> None:
        """Pack the small rows that came alone: those of one width together."""
        if not self.ids:
            return
        ids, rows, model = self.ids, self.rows, self.model
        self.ids, self.rows = [], []
        if not model.signature.family.chooses_one:
            return
        widths = {*map(len, [row.numbers for row in rows])}
        for k in widths:
            if len(widths) > 1:
                some = [i for i, row in enumerate(rows) if row.n_numbers == k]
                self.put(pack_rows([ids[i] for i in some], [rows[i] for i in some], model, k), len(some))
            else:
                self.put(pack_rows(ids, rows, model, k), len(ids))

    def put(self, block: Sequence[Any], n_rows: int) -> None:
        """Add the parts of a block to what the timer hands over, if there is room."""
        n_bytes = sum([memoryview(part).nbytes for part in block])
        if self.n_bytes + n_bytes > MAX_WAITING:
            self.lose(n_rows)
            return
        self.parts += block
        self.n_bytes += n_bytes
        self.n_rows += n_rows
        if self.timer is None:
            self.wake()

    def lose(self, n_rows: int) -> None:
        """Count rows that are not kept."""
        self.n_lost += n_rows
        self.count(0, n_rows)

    # --- from bytes to the disk

    def wake(self) -> None:
        """Hand over in a moment."""
        self.timer = asyncio.get_running_loop().call_later(INTERVAL_S, self.ring)

    def ring(self) -> None:
        """Hand over what has come, and finish the segment once nothing comes any more."""
        self.timer = None
        self.pack_singles()
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
        if self.timer is None:
            self.wake()

    async def close(self) -> None:
        """Write what is left, and finish the segment."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.pack_singles()
        if self.writing is not None:
            await asyncio.wait([self.writing])
        if self.parts or self.n_lost:
            self.hand_over()
            assert self.writing is not None  # noqa: S101 - just begun
            await asyncio.wait([self.writing])
        await asyncio.get_running_loop().run_in_executor(self.thread, self.appender.close)
        self.thread.shutdown()
