"""The observer that keeps what was answered: an append of bytes on the event loop, a write of them in a thread.

Nothing waits for the disk: while that is slow or full, rows are dropped and counted, and the memory stays bounded.
"""

import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from service.engine.single import Row
from service.journal.packing import hash_id, pack_answer, pack_batch, pack_rows
from service.journal.record import MAX_ID
from service.journal.segments import Appender
from service.journal.writer import Writer
from service.telemetry.observer import Nobody, Observer, Request, Response

MANY: Final = 128  # single rows that are packed together


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
        self.limit = round(sample * 2**32)
        self.keeps = keeps
        self.id_key = id_key
        # small rows are packed many at a time
        self.direct = keeps == "logits" and not id_key and sample >= 1
        self.batch: Any = None  # the last one that small rows were part of, their ids, and their places in it
        self.batch_model: Any = None
        self.batch_ids: list[bytes] = []
        self.places: list[int] = []
        self.model: Any = None  # of the small rows that ran alone
        self.ids: list[bytes] = []
        self.rows: list[Row] = []
        self.writer = Writer(appender, count, self.collect)
        self.keep_labels = self.writer.keep_labels
        self.close = self.writer.close

    def answered(self, request: Request, arrays: Mapping[str, Any], response: Response) -> None:
        """Keep the rows of an answer."""
        query = request.query
        if query.plain and self.direct:
            batch = arrays.batch  # type: ignore[attr-defined]  # a share of one, as of all that ran
            if batch is not self.batch and batch.feed is not None:
                self.pack_batch()
                self.batch, self.batch_model = batch, request.model
            if batch is self.batch:
                self.batch_ids.append(request.request_id)
                self.places.append(arrays.start)  # type: ignore[attr-defined]
            else:
                self.add_alone(request)
            if self.writer.timer is None:
                self.writer.wake()
        else:
            self.add(request, arrays)
        self.then(request, arrays, response)

    def collect(self) -> None:
        """Hand over the small rows that wait."""
        self.pack_batch()
        self.pack_alone()

    def add_alone(self, request: Request) -> None:
        """Keep a small row that ran alone."""
        if request.model is not self.model:
            self.pack_alone()
            self.model = request.model
        self.ids.append(request.request_id)
        self.rows.append(request.query.rows)
        if len(self.ids) >= MANY:
            self.pack_alone()

    def pack_batch(self) -> None:
        """Pack the rows of the last batch: their logits lie there in one piece already."""
        batch, ids, places = self.batch, self.batch_ids, self.places
        if not ids:
            return
        self.batch, self.batch_ids, self.places = None, [], []
        if self.batch_model.signature.family.chooses_one:
            self.writer.put(pack_batch(batch.feed, ids, places, self.batch_model), len(ids))

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
            self.writer.lose(rows.n)
        else:
            self.writer.put(block, rows.n)

    def pack_alone(self) -> None:
        """Pack the small rows that ran alone: those of one width together."""
        if not self.ids:
            return
        ids, rows, model = self.ids, self.rows, self.model
        self.ids, self.rows = [], []
        if not model.signature.family.chooses_one:
            return
        widths = {row.n_numbers for row in rows}
        for k in widths:
            if len(widths) > 1:
                some = [i for i, row in enumerate(rows) if row.n_numbers == k]
                self.writer.put(pack_rows([ids[i] for i in some], [rows[i] for i in some], model, k), len(some))
            else:
                self.writer.put(pack_rows(ids, rows, model, k), len(ids))
