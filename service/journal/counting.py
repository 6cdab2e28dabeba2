"""Labels counted: each once, in an order that stays, into the monitor of its model's version.

The monitor's state is written with the numbers of the labels that it has counted, in one transaction. Under `arrival` a
label counts when it comes; under `matured` in the order of the answers, once these are old enough, with a default label
or none for those that have got none by then.
"""

import json
import logging
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.journal.policy import Policy
from service.journal.refits import Refits
from service.journal.rows import MOST_CLASSES, Kept, row_of, unpack_log_p
from service.journal.store import Store
from service.live.monitor import Monitor
from service.live.records import RECORD
from service.live.reference import Reference
from service.metadata import Metadata

logger = logging.getLogger(__name__)

STEP: Final = 1000  # answers that mature at once
MOST_LOOKING: Final = 0.05  # of the time, at how many labels wait


class Counted(NamedTuple):
    """A label with the answer that it belongs to."""

    kept: Kept
    row: int
    label: int
    at_ns: int


class Waiting:
    """How many labels of each model wait until their answers are old enough.

    Attributes:
        is_late: whether what was told last is as of a moment ago, as it takes long to count them.
    """

    def __init__(self, store: Store, policy: Policy) -> None:
        self.store, self.policy = store, policy
        self.is_late = False
        self.known: dict[int, int] = {}
        self.known_until = 0.0

    def count(self) -> dict[int, int]:
        """By the number of the model; nothing of a policy under which labels count as they come."""
        if self.policy.after_ns is None:
            return {}
        begun = time.monotonic()
        self.is_late = begun < self.known_until
        if not self.is_late:
            self.known = self.store.waiting()
            now = time.monotonic()
            self.known_until = now + (now - begun) / MOST_LOOKING
        return self.known


class Counting:
    """The monitors of a store, and who calls them."""

    def __init__(self, store: Store, policy: Policy, bound: float, refits: Refits | None = None) -> None:
        """Without `refits` none is proposed."""
        self.store = store
        self.refits = refits or Refits(store, "off")
        self.policy = policy
        self.bound = bound
        self.monitors: dict[int, Monitor] = {}
        self.abouts: dict[int, Metadata] = {}
        self.changed: set[int] = set()
        self.without_default: set[int] = set()
        self.waiting = Waiting(store, policy)

    def forget(self) -> None:
        """A transaction was undone: what is in memory may be ahead of the store."""
        self.monitors.clear()
        self.abouts.clear()
        self.refits.forget()

    def about(self, model: int) -> Metadata | None:
        """What the head file said of itself."""
        if model not in self.abouts:
            text = self.store.about(model)
            if text is None:
                return None
            self.abouts[model] = Metadata.model_validate_json(text)
        return self.abouts[model]

    def monitor(self, model: int) -> Monitor:
        """The monitor of a model, as the store has it."""
        counted, state = self.store.state(model)
        known = self.monitors.get(model)
        if known is None or known.n != counted or self.store.db.shared:
            about = self.about(model)
            reference = Reference() if about is None else Reference.from_metadata(about)
            if state is None:
                known = Monitor(reference, bound=self.bound, policy=self.policy.name)
            else:
                known = Monitor.restore(reference, json.loads(state))
            self.monitors[model] = known
        return known

    def save(self, model: int, monitor: Monitor) -> None:
        """Write the state of a monitor."""
        self.store.set_state(model, monitor.n, json.dumps(monitor.state()))
        self.changed.add(model)

    def acknowledge(self, model: int, by: str, at_ns: int) -> int:
        """Begin a new epoch of a model's monitor; returns its number."""
        self.store.lock(model)
        monitor = self.monitor(model)
        monitor.acknowledge(by, at_ns)
        self.save(model, monitor)
        return len(monitor.epochs)

    def insert(self, model: int, labels: Sequence[Counted]) -> None:
        """Write labels that are new, numbered where they count now."""
        if not labels:
            return
        numbers: list[int | None] = [None] * len(labels)
        if self.policy.after_ns is None:
            numbers = self.count(model, labels)
        self.store.add_labels(
            (one.kept.day, one.kept.seq, one.row, one.label, one.at_ns, number)
            for one, number in zip(labels, numbers, strict=True)
        )
        self.changed.add(model)

    def count(self, model: int, labels: Sequence[Counted]) -> list[int | None]:
        """Count labels in this order, and return their numbers; rows without a predicted class have none."""
        monitor = self.monitor(model)
        rows, probabilities, counts = self.records(model, labels)
        chosen = np.flatnonzero(counts)
        numbers: list[int | None] = [None] * len(labels)
        for i, at in enumerate(chosen.tolist()):
            numbers[at] = monitor.n + i
        rows = rows[chosen]
        rows["index"] = np.arange(monitor.n, monitor.n + len(rows))
        monitor.update(rows, None if probabilities is None else probabilities[chosen])
        self.save(model, monitor)
        self.refits.count(model, self.about(model), monitor, [labels[i] for i in chosen.tolist()], rows)
        return numbers

    def records(
        self, model: int, labels: Sequence[Counted]
    ) -> tuple[NDArray[Any], NDArray[np.float64] | None, NDArray[np.bool_]]:
        """Records `[n]`, probabilities `[n, K]` where they were kept, and whether each row has a predicted class."""
        about = self.about(model)
        rows = np.zeros(len(labels), RECORD)
        kept_p: list[NDArray[np.float64]] = []
        names: list[str | None] = [None] * len(labels)
        for i, (record, (kept, row, label, at_ns)) in enumerate(zip(rows, labels, strict=True)):
            predicted = int(np.frombuffer(kept.classes, "<i4", 1, 4 * row)[0])
            confidence = float(np.frombuffer(kept.confidences, "<f4", 1, 4 * row)[0])
            if kept.log_p is None:
                k = about.classes if about and about.classes else 2
                log_p, brier = spread(confidence, predicted == label, k)
            else:
                every = unpack_log_p(row_of(kept.log_p, kept.n, row))
                p = np.exp(every)
                log_p, brier = float(every[label]), float((p * p).sum() - 2 * p[label] + 1)
                kept_p.append(p)
            record["predicted"], record["label"], record["confidence"] = predicted, label, confidence
            record["log_p"], record["brier"], record["apart"] = log_p, brier, kept.apart
            record["predicted_ns"], record["labelled_ns"] = kept.at_ns, at_ns
            record["alpha"] = np.nan if kept.alpha is None else kept.alpha
            record["in_set"] = kept.set_holds(row, label)
            names[i] = kept.group_of(row)
        rows["group"] = names
        whole = len(kept_p) == len(labels) > 0 and len({len(p) for p in kept_p}) == 1 and len(kept_p[0]) <= MOST_CLASSES
        return rows, np.array(kept_p) if whole else None, rows["predicted"] >= 0

    def replace(self, kept: Kept, row: int, label: int) -> None:
        """Take another label for a row: the measures change, evidence stays."""
        before, at_ns, number = self.store.label((kept.day, kept.seq, row))
        if number is not None:
            monitor = self.monitor(kept.model)
            rows, _, _ = self.records(kept.model, [Counted(kept, row, one, at_ns) for one in (before, label)])
            monitor.replace(rows[:1], rows[1:])
            self.save(kept.model, monitor)
        self.store.replace_label((kept.day, kept.seq, row), label)

    def mature(self, now_ns: int) -> bool:
        """Count the next answers that are old enough; whether there may be more."""
        if self.policy.after_ns is None:
            return False
        more = False
        for model in self.store.models():
            self.store.lock(model)
            answers = self.store.matured(model, now_ns - self.policy.after_ns, STEP)
            if not answers:
                continue
            more |= len(answers) == STEP
            self.count_matured(model, answers)
            self.store.set_matured(model, answers[-1].day, answers[-1].seq)
        return more

    def count_matured(self, model: int, answers: Sequence[Kept]) -> None:
        """Count the labels of answers in their order, and number them."""
        there: dict[tuple[int, int, int], tuple[int, int]] = {}
        for day in sorted({one.day for one in answers}):
            for seq, row, label, at_ns in self.store.labelled(day, [one.seq for one in answers if one.day == day]):
                there[day, seq, row] = label, at_ns
        default = self.default(model)
        labels: list[Counted] = []
        given: list[bool] = []
        for kept in answers:
            for row in range(kept.n):
                found = there.get((kept.day, kept.seq, row))
                if found is not None or default is not None:
                    label, at_ns = found or (default or 0, kept.at_ns + (self.policy.after_ns or 0))
                    labels.append(Counted(kept, row, label, at_ns))
                    given.append(found is not None)
        if not labels:
            return
        numbers = self.count(model, labels)
        self.store.number_labels(
            (number, one.kept.day, one.kept.seq, one.row)
            for number, one, came in zip(numbers, labels, given, strict=True)
            if came
        )

    def default(self, model: int) -> int | None:
        """The class of answers that got no label; none where they are left out."""
        wanted, about = self.policy.default, self.about(model)
        if wanted is None:
            return None
        found: int | None = None
        if isinstance(wanted, str):
            names = () if about is None else about.labels or ()
            found = names.index(wanted) if wanted in names else None
        elif about is None or about.classes is None or wanted < about.classes:
            found = wanted
        if found is None and model not in self.without_default:
            self.without_default.add(model)
            logger.warning(
                "%s has no class %s, as --label-policy has it; expected one of its labels, or an index: answers that "
                "got no label are left out",
                self.store.models()[model],
                wanted,
            )
        return found


def spread(confidence: float, right: bool, k: int) -> tuple[float, float]:
    """Log-probability of the label and Brier score of a row of which only the confidence was kept.

    As if the other classes had equal shares of the rest.
    """
    rest = (1 - confidence) / max(1, k - 1)
    of_label = confidence if right else rest
    squares = confidence**2 + (k - 1) * rest**2
    return float(np.log(of_label)) if of_label > 0 else -np.inf, squares - 2 * of_label + 1
