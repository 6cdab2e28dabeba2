"""One request's rows on their way through the queue."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import numpy as np

from service.engine.answers import Batch, Share
from service.engine.rows import Runnable
from service.errors import AnsweredError, DeadlinePassed
from service.families import Answers
from service.families.outputs import graph_outputs

logger = logging.getLogger(__name__)
clock: Final = time.perf_counter
TOO_LATE: Final = (
    "the deadline passed before the answer was ready; expected more time, of the request (timeout_ms, timeout over /v2 "
    "and gRPC) or of all (--default-timeout-ms)"
)


class Entry:
    """One request's rows on their way: the only place that knows whether they are still wanted.

    `done(entry)` is called once, on the loop, with either `answers` or `error` set; never after `abandon`.
    """

    __slots__ = (
        "answers",
        "bits",
        "deadline",
        "done",
        "error",
        "mark",
        "n_received",
        "n_sent",
        "queue_s",
        "rows",
        "run_s",
        "shares",
        "submitted",
    )

    def __init__(
        self, rows: Runnable, bits: int, done: Callable[["Entry"], None], timeout_s: float, mark: Any = None
    ) -> None:
        self.rows = rows
        self.bits = bits
        self.done: Callable[[Entry], None] | None = done
        self.answers: Answers | None = None
        self.error: AnsweredError | None = None
        self.shares: list[Share] | None = None
        self.n_sent = 0
        self.n_received = 0
        self.mark = mark  # whatever the observer shall see of it
        self.submitted = clock()
        self.deadline = self.submitted + timeout_s
        self.queue_s = 0.0
        self.run_s = 0.0

    def __repr__(self) -> str:
        state = "waiting" if self.done else "settled"
        return f"<Entry {self.n_sent} of {self.rows.n} rows sent, {state}>"

    def abandon(self) -> None:
        """Nobody waits any more: what is queued of it is dropped at its turn."""
        self.done = None

    def answer(self, answers: Answers) -> None:
        """Answer, unless that has been done."""
        self.answers = answers
        self.settle()

    def fail(self, error: AnsweredError) -> None:
        """Answer with an error, unless it is answered."""
        self.error = error
        self.settle()

    def settle(self) -> None:
        """Call `done`, the first time only. What it raises is its own fault and stays its own."""
        done, self.done = self.done, None
        if done is not None:
            try:
                done(self)
            except Exception:
                logger.exception("an answer could not be delivered")

    def receive(self, share: Share) -> None:
        """Take the answers to the next rows of an entry that was cut; with the last of them it is answered."""
        if self.shares is None:
            self.shares = []
        self.shares.append(share)
        self.n_received += share.stop - share.start
        if self.n_received == self.rows.n:
            # a share has more outputs than were asked for where its batch-mates wanted them
            self.answer(
                {name: np.concatenate([share[name] for share in self.shares]) for name in graph_outputs(self.bits)}
            )


Piece = tuple[Entry, int, int]  # the rows from start to stop of an entry, in a batch


def rows_of(piece: Piece) -> Runnable:
    entry, start, stop = piece
    return entry.rows if stop - start == entry.rows.n else entry.rows.part(start, stop)


def share_out(
    batch: Batch, pieces: Iterable[Piece], refused: Mapping[int, AnsweredError], start: float, now: float
) -> None:
    """Give each entry its share of a batch that ran from `start` to `now`; those that are `refused` hear why."""
    at = 0
    for i, (entry, first, stop) in enumerate(pieces):
        n = stop - first
        entry.run_s += now - start
        if first == 0:
            entry.queue_s = start - entry.submitted
        if entry.deadline < now:
            entry.fail(DeadlinePassed(TOO_LATE))
        elif i in refused:
            entry.fail(refused[i])
        elif entry.done is not None:
            part = Share(batch, at, at + n)
            if n == entry.rows.n:
                entry.answer(part)
            else:
                entry.receive(part)
        at += n
