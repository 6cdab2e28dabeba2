"""Labels: joined with the answers that they belong to, kept once, and counted once.

The first label of a row wins; the same one again is no news, and another one is a conflict unless it shall replace the
first. A label may come before its answer was read: it waits. But for `transaction`, everything wants one to
be open.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from service.errors import count
from service.journal.channel import WAITS
from service.journal.counting import Counted, Counting
from service.journal.rows import Kept, n_classes, row_of
from service.journal.store import Store

DIGEST: Final = 16  # bytes


class Label(NamedTuple):
    """A label as it came: of a row of the request `id`, by index or name; when it was known, if that is told."""

    id: str
    row: int
    label: int | str
    at_ns: int | None = None
    replace: bool = False


@dataclass
class Outcome:
    """What became of labels, by their places in what was sent.

    Attributes:
        accepted: how many are kept, those that were kept before among them.
        pending: how many wait for their answer to be read.
        unknown: place to why.
        conflicts: place to the class that is kept.
    """

    accepted: int = 0
    pending: int = 0
    unknown: dict[int, str] = field(default_factory=dict)
    conflicts: dict[int, int] = field(default_factory=dict)


class Joined(NamedTuple):
    """A label and the answer that it belongs to."""

    place: int
    kept: Kept
    row: int
    label: int
    at_ns: int
    replace: bool


class Ledger:
    """The labels of a store."""

    def __init__(self, store: Store, counting: Counting) -> None:
        self.store = store
        self.counting = counting

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One of the store's; where it is undone, what is in memory is read again."""
        try:
            with self.store.db.transaction():
                if self.store.db.shared:
                    self.store.look()
                yield
        except BaseException:
            self.counting.forget()
            with suppress(*self.store.db.errors):
                self.store.look()
            raise

    def add(self, labels: Sequence[Label], now_ns: int) -> Outcome:
        """Keep labels, and count those that count."""
        keyed = [(digest(one.id), one) for one in labels]
        return self.join(keyed, now_ns)

    def join(self, keyed: Sequence[tuple[bytes, Label]], now_ns: int) -> Outcome:
        """The same, by the digests of their ids."""
        outcome = Outcome()
        found = self.store.find(list({key for key, _ in keyed}))
        joined: list[Joined] = []
        for place, (key, label) in enumerate(keyed):
            kept = found.get(key)
            if kept is None:
                self.put_off(key, label, place, now_ns, outcome)
                continue
            try:
                number = self.read_label(label, kept)
            except ValueError as error:
                outcome.unknown[place] = str(error)
                continue
            joined.append(Joined(place, kept, label.row, number, label.at_ns or now_ns, label.replace))
        self.keep(joined, outcome)
        return outcome

    def read_label(self, label: Label, kept: Kept) -> int:
        """The class of a label.

        Raises:
            ValueError: there is no such row or class; the sentence says what was expected.
        """
        if label.row >= kept.n:
            raise ValueError(f"the request has {count(kept.n, 'row')}; expected a row below that")
        about = self.counting.about(kept.model)
        if isinstance(label.label, str):
            names = about.labels or () if about else ()
            if label.label not in names:
                raise ValueError(f"the model has no class {label.label[:40]!r}; expected a label of it, or an index")
            return names.index(label.label)
        k = about.classes if about else None
        if k is None and kept.log_p is not None:
            k = n_classes(row_of(kept.log_p, kept.n, label.row))
        if k is not None and label.label >= k:
            raise ValueError(f"the model has {count(k, 'class', 'classes')}; expected an index below that")
        return label.label

    def keep(self, joined: Iterable[Joined], outcome: Outcome) -> None:
        """Write the labels that are new, and let them count; of each model in turn, in order: two may do it at once."""
        by_model: dict[int, list[Joined]] = {}
        for one in joined:
            by_model.setdefault(one.kept.model, []).append(one)
        for model, some in sorted(by_model.items()):
            self.store.lock(model)
            there = self.there(some)
            new: list[Joined] = []
            for one in some:
                place = one.kept.day, one.kept.seq, one.row
                before = there.get(place)
                if before is None:
                    there[place] = one.label
                    new.append(one)
                elif before != one.label and one.replace:
                    there[place] = one.label
                    self.counting.replace(one.kept, one.row, one.label)
                elif before != one.label:
                    outcome.conflicts[one.place] = before
                    continue
                outcome.accepted += 1
            conflicts = sum(one.place in outcome.conflicts for one in some)
            self.store.count(model, "conflicts", conflicts)
            self.store.count(model, "labels", len(new))
            self.counting.insert(model, [Counted(one.kept, one.row, one.label, one.at_ns) for one in new])

    def there(self, joined: Iterable[Joined]) -> dict[tuple[int, int, int], int]:
        """The labels that there are for these requests: day, seq and row to class."""
        days: dict[int, set[int]] = {}
        for one in joined:
            days.setdefault(one.kept.day, set()).add(one.kept.seq)
        found = {}
        for day, numbers in days.items():
            for seq, row, label, _ in self.store.labelled(day, sorted(numbers)):
                found[day, seq, row] = label
        return found

    # --- labels that came before their answers were read

    def put_off(self, key: bytes, label: Label, place: int, now_ns: int, outcome: Outcome) -> None:
        """Keep a label whose answer is not known for some time."""
        text = json.dumps(label.label)
        at_ns = label.at_ns or now_ns
        outcome.unknown[place] = WAITS
        self.store.put_off(key, label.row, text, at_ns, now_ns, replace=label.replace)
        outcome.pending += 1

    def rejoin(self, keys: Sequence[bytes], now_ns: int) -> None:
        """Try again with the labels that wait for answers of these ids."""
        waiting = self.store.pending(keys)
        if not waiting:
            return
        found = self.store.find(list({key for key, *_ in waiting}))
        keyed = [(key, Label("", row, json.loads(text), at_ns)) for key, row, text, at_ns in waiting if key in found]
        self.store.drop_pending(key for key, _ in keyed)
        self.join(keyed, now_ns)


def digest(given: str | bytes) -> bytes:
    """What stands for an id in the store."""
    data = given.encode() if isinstance(given, str) else given
    return hashlib.blake2b(data, digest_size=DIGEST).digest()


def as_json(label: Label) -> list[Any]:
    """A label as it is sent to the live process."""
    return list(label)


def from_json(values: Sequence[Any]) -> Label:
    """Read back what `as_json` made."""
    return Label(*values)
