"""What people do about a refit: propose, promote, dismiss; and what becomes of one that has earned its place.

A promotion is written by a process of its own, `calibrant live promote`, which asks here for the plan and says when it
is done: building heads is nothing for a process that serves, or for one that counts labels.
"""

import asyncio
import base64
import logging
import time
from dataclasses import dataclass
from typing import Any, Final

from service.journal.counting import Counting
from service.journal.ledger import Ledger
from service.journal.publication import Place, Refused, superseded, unwritable, write
from service.journal.refits import Refits
from service.journal.rows import row_of
from service.live.monitor import Monitor
from service.live.proposal import NO_LOGITS, Refit, describe, tag_of, unfit, why_not
from service.metadata import Metadata

logger = logging.getLogger(__name__)

DO: Final = ("propose", "dismiss", "plan", "promoted", "promote")
MOST_ROWS: Final = 5000
"""Of the newest labels, for the curve and the prediction sets of the new version."""
COVERAGE_S: Final = 30.0
"""For which a share of answers with labels is remembered: it takes a look at every answer."""
RETRY_NS: Final = 60 * 10**9

Answer = dict[str, Any]


@dataclass
class Subject:
    """A version and what is known of it, inside a transaction."""

    number: int
    name: str
    about: Metadata | None
    refit: Refit
    monitor: Monitor


class Promotions:
    """The refits of a store, for people and for the policy `promote`."""

    def __init__(self, ledger: Ledger, place: Place) -> None:
        self.ledger, self.place = ledger, place
        self.counting, self.store = ledger.counting, ledger.store
        self.refits: Refits = ledger.counting.refits
        self.covered: dict[int, tuple[float, float]] = {}
        self.lock = asyncio.Lock()
        self.tasks: set[asyncio.Task[Any]] = set()

    async def answer(self, message: dict[str, Any]) -> Answer:
        """Do what is asked; `refused` says why not."""
        try:
            match message["do"]:
                case "propose":
                    return self.propose(message["model"], message["by"])
                case "dismiss":
                    return self.dismiss(message["model"], message["by"], message.get("etag"))
                case "plan":
                    return self.plan(message)
                case "promoted":
                    return self.note(message)
                case _:
                    return await self.promote(message)
        except Refused as error:
            return {"refused": error.code, "message": str(error)}
        except self.store.db.errors as error:
            logger.warning("the store fails, segments keep what comes: %s", error)
            return {"away": str(error)}

    def subject(self, name: str) -> Subject:
        """What is known of `MODEL/VERSION`.

        Raises:
            Refused: nothing is, or refits are off.
        """
        if self.refits.policy == "off":
            raise Refused("refit_refused", "refits are off; expected --refit propose or promote")
        numbers = {known: number for number, known in self.store.models().items()}
        if name not in numbers:
            raise Refused("refit_refused", f"no answer of {name} was read yet; expected labelled answers of it")
        number = numbers[name]
        self.store.lock(number)
        about = self.counting.about(number)
        return Subject(number, name, about, self.refits.find(number, about), self.counting.monitor(number))

    def propose(self, name: str, by: str) -> Answer:
        """Begin to shadow with the next label."""
        with self.ledger.transaction():
            one = self.subject(name)
            if one.refit.is_running:
                raise Refused("refit_running", f"a refit of {name} is running; expected none, or that it is dismissed")
            if reason := unfit(one.about):
                raise Refused("refit_refused", reason)
            if not self.store.keeps_logits(one.number):
                raise Refused("refit_refused", NO_LOGITS)
            one.refit.propose("request", by, one.monitor.epoch_start, one.monitor.n, time.time_ns())
            self.save(one)
        return {}

    def dismiss(self, name: str, by: str, etag: str | None) -> Answer:
        """Throw the shadow away."""
        with self.ledger.transaction():
            one = self.running(name, etag)
            one.refit.dismiss(by, time.time_ns())
            self.save(one)
        return {}

    def running(self, name: str, etag: str | None) -> Subject:
        """The version, with a refit that runs, and is the one that was looked at."""
        one = self.subject(name)
        if not one.refit.is_running:
            raise Refused("refit_refused", f"no refit of {name} is running; expected one that was proposed")
        if etag not in (None, tag_of(one.refit)):
            raise Refused("stale", "the refit is not the one that was looked at; expected its ETag of now")
        return one

    def save(self, one: Subject) -> None:
        self.refits.save(one.number, one.refit)
        self.counting.changed.add(one.number)

    # --- promotion

    def check(self, message: dict[str, Any]) -> Subject:
        """The version whose shadow, or whose predecessor, may take its place.

        Raises:
            Refused: it may not.
        """
        name = message["model"]
        if message.get("back"):
            one, what, reason = self.subject(name), "the version before", superseded(self.place, name)
            shadow = None if one.refit.is_back else one.refit.back
            if shadow is None:
                raise Refused("refit_refused", f"{name} has replaced no version; expected one that was promoted")
        else:
            one, what = self.running(name, message.get("etag")), "the refit"
            reason, shadow = self.refusal(one, remembered=False), one.refit.shadow
        if reason:
            raise Refused("refit_refused", reason)
        if shadow is not None and not (shadow.has_earned or message.get("force")):
            e = 1.0 if shadow.guard is None else shadow.guard.max_e
            raise Refused("refit_refused", f"e of {what} was at most {e:.3g}; expected 100, or force")
        return one

    def refusal(self, one: Subject, *, remembered: bool = True) -> str | None:
        """Why the shadow of a version must not be promoted, whatever its E."""
        if not one.refit.is_running:
            return None
        labelled = self.labelled(one, remembered=remembered)
        reason = why_not(one.refit, one.about, one.monitor, labelled, sampled=self.place.sampled)
        return reason or superseded(self.place, one.name)

    def labelled(self, one: Subject, *, remembered: bool) -> float:
        """The share of the answers old enough for a label that have one, since the first that the shadow has seen."""
        if self.counting.policy.default is not None or len(one.refit.answered_ns) < 2:
            return 1.0
        at, share = self.covered.get(one.number, (-COVERAGE_S, 1.0))
        if not remembered or time.monotonic() - at > COVERAGE_S:
            first, last = one.refit.answered_ns
            lag_s = one.monitor.lags.quantiles()["p90"] or 0.0
            rows, labels = self.store.coverage(one.number, first, min(last, time.time_ns() - int(1e9 * lag_s)))
            share = labels / rows if rows else 1.0
            self.covered[one.number] = time.monotonic(), share
        return share

    def plan(self, message: dict[str, Any]) -> Answer:
        """What the process that writes the new version needs."""
        with self.ledger.transaction():
            one = self.check(message)
            back = bool(message.get("back"))
            shadow = None if back else one.refit.shadow
            rows = None if back else newest_rows(self.counting, one)
            story = story_of(one, message, back=back)
        return {"factor": None if shadow is None else shadow.factor, "story": story, "rows": rows}

    def note(self, message: dict[str, Any]) -> Answer:
        """Keep that a version was written; whoever promotes has seen the alarm of the one that it replaces."""
        with self.ledger.transaction():
            one = self.subject(message["model"])
            if message.get("back"):
                one.refit.put_back(message["version"], time.time_ns())
            elif not one.refit.is_running:
                raise Refused("refit_refused", f"no refit of {one.name} is running; expected one that was proposed")
            else:
                one.refit.promote(message["version"], message["by"], time.time_ns())
            one.monitor.acknowledge(message["by"], time.time_ns())
            self.counting.save(one.number, one.monitor)
            self.save(one)
        return {}

    async def promote(self, message: dict[str, Any]) -> Answer:
        """Have the new version written, and return its number.

        Raises:
            Refused: it must not be, or cannot be.
        """
        async with self.lock:
            with self.ledger.transaction():
                self.check(message)
            if reason := unwritable(self.place, message["model"]):
                raise Refused("models_read_only", f"{reason}; expected {self.place.command(message['model'])}")
            return {"version": await write(self.place, message)}

    # --- what everybody may read

    def report(self, number: int, name: str) -> dict[str, Any] | None:
        """The refit of a version inside a transaction; none where nothing has happened. What is due is done then."""
        if self.refits.policy == "off":
            return None
        about = self.counting.about(number)
        one = Subject(number, name, about, self.refits.find(number, about), self.counting.monitor(number))
        if not (one.refit.history or one.refit.back):
            return None
        told = describe(one.refit, None if about is None else about.temperature, self.refits.policy)
        refusal = self.refusal(one)
        by_hand = one.refit.is_running and unwritable(self.place, name)
        if told["state"] == "earned" and refusal is None and self.refits.policy == "promote":
            self.start(one, {"by": "the policy promote"})
        back = one.refit.back if one.refit.wants_back else None
        if back is not None and back.has_earned and not superseded(self.place, name):
            self.start(one, {"by": "the guard", "back": True})
        return told | {"refusal": refusal, "command": self.place.command(name) if by_hand else None}

    def start(self, one: Subject, message: dict[str, Any]) -> None:
        """Have a version written without being asked, by one host at a time; again a minute after it failed."""
        self.store.lock(one.number)
        refit, now_ns = self.refits.find(one.number, one.about), time.time_ns()
        if now_ns - refit.tried_ns < RETRY_NS:
            return
        refit.tried_ns = now_ns
        self.refits.save(one.number, refit)
        task = asyncio.get_running_loop().create_task(self.answer({"do": "promote", "model": one.name, **message}))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        task.add_done_callback(log_failure)


def log_failure(task: "asyncio.Task[Answer]") -> None:
    """Say why a version was not written that nobody has asked for."""
    if not task.cancelled() and "message" in task.result():
        logger.warning("a refit that has earned its place is not served: %s", task.result()["message"])


def newest_rows(counting: Counting, one: Subject) -> dict[str, Any] | None:
    """The newest answers and labels that the shadow has seen; none where some have got a label by default."""
    if counting.policy.default is not None:
        return None
    found = counting.store.counted_rows(one.number, one.refit.start, MOST_ROWS)
    rows = [(row_of(log_p, n, row), label) for log_p, n, row, label in found]
    rows = [pair for pair in rows if len(pair[0]) == len(rows[0][0])]
    if not rows:
        return None
    data = base64.b64encode(b"".join(row for row, _ in rows)).decode()
    return {"data": data, "labels": [label for _, label in rows]}


def story_of(one: Subject, message: dict[str, Any], *, back: bool) -> dict[str, Any]:
    """What the metadata of the new version say of how it came about."""
    shadow = one.refit.back if back else one.refit.shadow
    assert shadow is not None  # noqa: S101 - whoever calls has looked
    old = (one.about.refit if one.about is not None else None) or {}
    report, version = shadow.report(), one.name.rpartition("/")[2]
    labels = {"fitted": shadow.fitted, "judged": shadow.served.rows}
    measured = {"labels": labels, "evidence": report["evidence"], "nll": report["nll"], "ece": report["ece"]}
    story = {
        "from": version,
        "by": message["by"],
        "promoted": time.time(),
        "forced": bool(message.get("force")),
        **measured,
    }
    if back:
        return story | {"copy_of": old.get("from"), "because": "put back"}
    refit = one.refit
    proposed = None if refit.since_ns is None else refit.since_ns / 1e9
    return story | {"factor": shadow.factor, "because": refit.because, "proposed": proposed}
