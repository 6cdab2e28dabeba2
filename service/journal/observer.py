"""The observer that keeps what was answered: an append of bytes on the event loop, a write of them in a thread.

Nothing waits for the disk: while that is slow or full, rows are dropped and counted, and the memory stays bounded.
"""

import zlib
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

from service.codec.query import Query
from service.engine.answers import Batch, Share
from service.engine.single import Row
from service.errors import AnsweredError
from service.families import Answers
from service.journal.packing import hash_id, keeps_logits, name_of, pack_answer, pack_rows
from service.journal.record import MAX_ID
from service.journal.segments import Appender
from service.journal.singles import Singles
from service.journal.writer import Writer
from service.telemetry.observer import Headers, Nobody, Observer, Response
from service.telemetry.request import Request

MANY: Final = 128  # requests that are packed together
MANY_NUMBERS: Final = 2**20  # logits of such requests, but for single rows
MANY_BYTES: Final = 2**20  # of the logits of single rows of batches that are packed together


class Journal:
    """The observer. Use it from one event loop."""

    def __init__(
        self,
        appender: Appender,
        *,
        count: Callable[[int, int], None],
        sample: float = 1.0,
        keeps: Literal["logits", "confidence"] = "logits",
        id_key: bytes = b"",
        then: Observer | None = None,
    ) -> None:
        """Append with `appender`.

        Args:
            appender: of segments.
            count: told how many rows were kept, and how many were dropped.
            sample: the share of requests that are kept, by their ids: the same ones on every replica.
            keeps: `confidence` keeps the predicted class and its probability, and no logits.
            id_key: ids are replaced by their keyed hashes; empty keeps them as they are.
            then: another observer, which hears everything, too.
        """
        then = then or Nobody()
        # what is not for the journal goes straight there, which costs one call less
        self.began: Callable[[Request, Headers], None] = then.began
        self.ran: Callable[[Any, Sequence[Any], int, float], None] = then.ran
        self.refused: Callable[[Request | None, AnsweredError, Response], None] = then.refused
        self.gone: Callable[[Request], None] = then.gone
        self.then: Callable[[Request, Any, Response], None] = then.answered
        self.limit = round(sample * 2**32)
        self.keeps = keeps
        self.id_key = id_key
        # small rows are packed many at a time
        self.direct = keeps == "logits" and not id_key and sample >= 1
        self.batch: Batch | None = None  # the last one that small rows were part of
        self.batch_ids: list[bytes] = []  # of its rows, as `singles` wants them
        self.singles: Singles | None = None  # the small rows of that and those before it, of one model and width
        self.singles_model: Any = None
        self.many_bytes = MANY_BYTES
        self.model: Any = None  # of the small rows that ran alone
        self.ids: list[bytes] = []
        self.rows: list[Row] = []
        self.others: list[tuple[bytes, Any, Any]] = []  # requests whose logits came with them: id, query, model
        self.n_numbers = 0  # of logits in them
        self.many_numbers = MANY_NUMBERS
        self.writer = Writer(appender, count, self.collect)
        self.keep_labels = self.writer.keep_labels
        self.close = self.writer.close

    def answered(self, request: Request, arrays: Answers, response: Response) -> None:
        """Keep the rows of an answer."""
        query: Query = request.query
        if self.direct and query.plain and isinstance(arrays, Share):  # as of all that ran
            batch = arrays.batch
            if batch is not self.batch and batch.feed is not None:
                self.begin_batch(batch, request.model)
            if batch is self.batch:
                self.batch_ids[arrays.start] = request.request_id
            else:
                self.add_alone(request)
        else:
            self.add(request, arrays)
        self.then(request, arrays, response)

    def collect(self) -> None:
        """Hand over the rows that wait."""
        self.pack_singles()
        self.pack_alone()
        self.pack_others()

    def begin_batch(self, batch: Batch, model: Any) -> None:
        """Keep the small rows of this batch from now on, beside those of the batches before."""
        assert batch.feed is not None  # noqa: S101 - it was asked before
        k = batch.feed["logits"].shape[1]
        singles = self.singles
        if singles is None or model is not self.singles_model or k != singles.k or singles.n_bytes >= self.many_bytes:
            self.pack_singles()
            singles = self.singles = Singles(name_of(model), k)
            self.singles_model = model
        self.batch = batch
        self.batch_ids = singles.begin(batch.feed)
        self.writer.wake()

    def add_alone(self, request: Request) -> None:
        """Keep a small row that ran alone."""
        if not self.ids:
            self.writer.wake()
        if request.model is not self.model:
            self.pack_alone()
            self.model = request.model
        self.ids.append(request.request_id)
        self.rows.append(request.query.rows)
        if len(self.ids) >= MANY:
            self.pack_alone()

    def pack_singles(self) -> None:
        """Pack the small rows of batches."""
        singles, model = self.singles, self.singles_model
        self.batch = self.singles = self.singles_model = None
        if singles is not None and model.signature.family.chooses_one:
            self.writer.put(singles.pack(), singles.n)

    def add(self, request: Request, arrays: Answers) -> None:
        """Keep the rows of any answer, if they can be kept."""
        query, model = request.query, request.model
        if request.verb == "evaluate" or not model.signature.family.chooses_one or not query.rows.n:
            return
        if self.keeps == "confidence" or not keeps_logits(model.signature):
            self.pack(request.request_id, query, model, arrays)
            return
        # between two large requests the processor forgets the code that packs, which then takes five times as long
        self.others.append((request.request_id, query, model))
        self.n_numbers += query.rows.n_numbers
        self.writer.wake()
        if self.n_numbers >= self.many_numbers or len(self.others) >= MANY:
            self.pack_others()

    def pack_others(self) -> None:
        """Pack the requests whose logits came with them."""
        others, self.others, self.n_numbers = self.others, [], 0
        for request_id, query, model in others:
            self.pack(request_id, query, model, {})

    def pack(self, request_id: bytes, query: Any, model: Any, arrays: Answers) -> None:
        """Pack the rows of a request, if it is among those that shall be kept."""
        key = query.id.encode()[:MAX_ID] if query.id else request_id
        if zlib.crc32(key) >= self.limit:
            return
        if self.id_key:
            key = hash_id(key, self.id_key)
        block = pack_answer(query, model, arrays, key, best_only=self.keeps == "confidence")
        if block is None:
            self.writer.lose(query.rows.n)
        else:
            self.writer.put(block, query.rows.n)

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
