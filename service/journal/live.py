"""The live process: it reads what servers have written, owns the store, joins labels and counts them.

One for a journal's folder: a second one waits until the first has ended. It ends with its parent.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from watchfiles import awatch

from service.journal import channel
from service.journal.answers import Heads
from service.journal.counting import Counting
from service.journal.database import Database
from service.journal.events import Events
from service.journal.ingest import Ingest
from service.journal.ledger import Ledger, Outcome, digest, from_json
from service.journal.lock import beat
from service.journal.policy import ARRIVAL, Policy
from service.journal.promotion import DO, Promotions
from service.journal.publication import Place
from service.journal.refits import Refits
from service.journal.requests import date_at, date_of
from service.journal.segments import SEGMENTS, remove_spares
from service.journal.state import read_state, write_state
from service.journal.store import Store
from service.live import proposal
from service.live.reference import Reference
from service.live.report import report

logger = logging.getLogger(__name__)

STORE: Final = "store.sqlite"
PAUSE_S: Final = 0.1  # between two looks at the segments
REST_S: Final = 5.0  # a segment that is finished says nothing, nor does a host that shares the store
RESTING_S: Final = 60.0
AWAY_S: Final = 1.0  # until a store that was away is tried again
PUBLISH_S: Final = 1.0
BEFORE_LABELS_S: Final = 0.1  # for which answers are read before labels are looked at
DAY_NS: Final = 86_400 * 10**9


@dataclass(frozen=True)
class Options:
    """How the live process works.

    Attributes:
        keep_days: how long answers and labels are kept.
        max_bytes: of the store; beyond that the oldest answers go first.
        label_wait_s: how long a label waits for its answer to be read.
        policy: when labels count.
        bound: of the calibration error, for the absolute alarm.
        refit: what happens at an alarm.
        labels_sampled: labels come for a sample of the answers.
    """

    keep_days: int = 30
    max_bytes: int = 2**30
    label_wait_s: float = 600.0
    policy: Policy = ARRIVAL
    bound: float = 0.02
    refit: proposal.Policy = "propose"
    labels_sampled: bool = False


class Live:
    """The process. Everything happens on its event loop, a transaction at a time."""

    def __init__(self, folder: Path, open_database: Callable[[], Database], heads: Heads, options: Options) -> None:
        """Open the store.

        Raises:
            the database's errors: it cannot be opened.
        """
        self.folder = folder
        self.options = options
        self.store = Store(open_database())
        self.counting = Counting(self.store, options.policy, options.bound, Refits(self.store, options.refit))
        self.ledger = Ledger(self.store, self.counting)
        place = Place(folder, heads.root, heads.default_model, sampled=options.labels_sampled)
        self.promotions = Promotions(self.ledger, place)
        self.ingest = Ingest(folder / SEGMENTS, self.store, heads, self.ledger)
        self.woken = asyncio.Event()
        self.stopping = False
        self.published = 0.0
        self.swept = self.bounded = 0.0
        self.models: dict[str, Any] = (read_state(folder) or {}).get("models", {})
        self.events = Events(self.models)
        self.stale = True

    async def run(self) -> None:
        """Work until `stop`, and once more then."""
        server = await channel.listen(self.folder, self.answer)
        beside = [asyncio.create_task(each) for each in (watch(self.folder / SEGMENTS, self.woken), beat(self.folder))]
        last = False
        # a disk without room for what is published is one, too
        failures: tuple[type[Exception], ...] = (*self.store.db.errors, OSError)
        try:
            while not last:
                last = self.stopping
                try:
                    await self.work()
                except failures as error:
                    logger.warning("the store fails, segments keep what comes: %s", error)
                    await asyncio.sleep(AWAY_S)
                    continue
                if last:
                    break
                await asyncio.sleep(PAUSE_S)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PUBLISH_S if self.stale else REST_S):
                        await self.woken.wait()
        finally:
            for task in beside:
                task.cancel()
            server.close()
            remove_spares(self.folder / SEGMENTS, 0.0)
            with contextlib.suppress(*failures):
                self.publish()
            self.store.db.close()

    def stop(self) -> None:
        """Read what is there, and end."""
        self.stopping = True
        self.woken.set()

    async def work(self) -> None:
        """Read what there is, count what has matured, forget what is old, and tell."""
        self.woken.clear()
        if self.stopping:
            self.woken.set()
        self.stale |= self.store.db.shared  # others may have counted
        for _ in self.ingest.read():
            self.stale = True
            await channel.give_way()
            if time.monotonic() - self.bounded > PUBLISH_S:
                self.bound(time.time_ns())
            self.tell()
        if time.monotonic() - self.swept > RESTING_S / 2:
            self.swept = time.monotonic()
            self.sweep(time.time_ns())
        while self.mature():
            await channel.give_way()
            self.tell()
        self.tell()

    def mature(self) -> bool:
        """Count answers that are old enough; whether there may be more."""
        with self.ledger.transaction():
            return self.options.policy.after_ns is not None and self.counting.mature(time.time_ns())

    def sweep(self, now_ns: int) -> None:
        """Try labels that wait again, give up on old ones, and forget what is over."""
        with self.ledger.transaction():
            self.ledger.rejoin(self.store.answered(), now_ns)
            if n := self.store.expire(now_ns - int(1e9 * self.options.label_wait_s)):
                self.stale = True
                logger.warning("%d labels have found no answer within %g s", n, self.options.label_wait_s)
        self.estimate()
        remove_spares(self.folder / SEGMENTS, RESTING_S)
        self.bound(now_ns)

    def bound(self, now_ns: int) -> None:
        """Forget the days that are over, and the oldest where the store is larger than it may be."""
        self.bounded = time.monotonic()
        last = date_at(now_ns - DAY_NS * self.options.keep_days)
        with self.ledger.transaction():
            dropped = self.store.bound(self.options.max_bytes, last)
        for day in dropped:
            logger.info("the oldest answers of %d and their labels are no longer kept", date_of(day))

    def estimate(self) -> None:
        """Say what the newest answers say before their labels come."""
        with self.ledger.transaction():
            names = self.store.models()
            for number, newest in self.ingest.newest.items():
                about = self.counting.about(number)
                if newest.is_new and about is not None:
                    told = self.models.setdefault(names[number], {})
                    told["shares"] = newest.shares(Reference.from_metadata(about))
                    self.stale = True

    async def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        """The answer to a message."""
        do = message["do"]
        if do in DO:
            found = await self.promotions.answer(message)
            self.show()
            return found
        try:
            if do == "labels":
                return self.add_labels(message)
            if do == "forget":
                return await self.forget(message["id"].encode())
            if do == "acknowledge":
                return self.acknowledge(message["model"], message["by"])
        except self.store.db.errors as error:
            logger.warning("the store fails, segments keep what comes: %s", error)
            return {"away": str(error)}
        return {"error": f"{do} is not something to do"}

    def add_labels(self, message: dict[str, Any]) -> dict[str, Any]:
        """Keep labels; those of answers that were just written are no longer unknown, if there are not too many."""
        end = time.monotonic() + BEFORE_LABELS_S
        for _ in self.ingest.read():
            if time.monotonic() > end:
                break
        labels = [from_json(values) for values in message["labels"]]
        with self.ledger.transaction():
            outcome = self.ledger.add(labels, time.time_ns())
        self.stale = True
        self.woken.set()
        return as_message(outcome)

    async def forget(self, key: bytes) -> dict[str, Any]:
        """Delete what came under an id, once all that was written is read."""
        for _ in self.ingest.read():
            await channel.give_way()
        with self.ledger.transaction():
            return dict(zip(("requests", "waiting"), self.store.forget(digest(key)), strict=True))

    def acknowledge(self, name: str, by: str) -> dict[str, Any]:
        """Begin a new epoch of a model's monitor."""
        with self.ledger.transaction():
            numbers = {known: number for number, known in self.store.models().items()}
            if name not in numbers:
                return {"error": f"no label of {name} has come"}
            epoch = self.counting.acknowledge(numbers[name], by, time.time_ns())
        self.show()
        return {"epoch": epoch}

    def show(self) -> None:
        """Publish what somebody has decided before they are answered; where that fails, the next turn does it."""
        self.stale = True
        self.woken.set()
        with contextlib.suppress(*self.store.db.errors, OSError):
            self.publish()

    def tell(self) -> None:
        """Publish, not too often, and often enough to show that it goes on."""
        self.stale |= bool(self.counting.changed)
        if time.monotonic() - self.published >= (PUBLISH_S if self.stale else REST_S):
            self.publish()

    def publish(self) -> None:
        """Write what everybody may read."""
        changed = self.counting.changed.copy()  # which stay changed where this fails
        with self.ledger.transaction():
            counts, n_pending = self.store.counts(), self.store.n_pending()
            waiting = self.counting.waiting.count()
            reports = {}
            for number, name in self.store.models().items():
                counts[name]["waiting"] = waiting.get(number, 0)
                counts[name]["refit"] = self.promotions.report(number, name)
                told = self.models.get(name, {}).get("counted", 0)
                if number in changed or counts[name]["counted"] != told:
                    monitor = self.counting.monitor(number)
                    groups = {group: report(monitor, group) for group in monitor.groups}
                    reports[name] = {"report": report(monitor), "groups": groups}
        for name, numbers in counts.items():
            self.models[name] = {"shares": None, **self.models.get(name, {}), **numbers, **reports.get(name, {})}
        self.events.log(self.models)
        state = {"at_ns": time.time_ns(), "pid": os.getpid(), "pending": n_pending, "lost": self.ingest.n_lost}
        write_state(self.folder, {**state, "models": self.models})
        self.counting.changed -= changed
        self.published, self.stale = time.monotonic(), self.counting.waiting.is_late


def as_message(outcome: Outcome) -> dict[str, Any]:
    """What became of labels, for the server that has sent them."""
    return {
        "accepted": outcome.accepted,
        "pending": outcome.pending,
        "unknown": list(outcome.unknown.items()),
        "conflicts": list(outcome.conflicts.items()),
    }


async def watch(segments: Path, woken: asyncio.Event) -> None:
    """Wake up when a segment grows, wherever the folder lies: watchfiles' own filter passes over some."""
    async for _ in awatch(segments, watch_filter=None, step=50, debounce=100, rust_timeout=60_000):
        woken.set()
