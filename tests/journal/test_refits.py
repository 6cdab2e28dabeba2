"""Refits beside the monitors: fed in the same transaction, and the same from the store as from memory."""

import json
from collections.abc import Callable

import numpy as np
import pytest

from service.journal.counting import Counted, Counting
from service.journal.database import Database
from service.journal.ledger import Label, Ledger
from service.journal.policy import ARRIVAL
from service.journal.refits import Refits
from service.journal.rows import Kept
from service.journal.store import Store
from service.live.proposal import Policy, Refit, state_of
from service.metadata import Metadata
from tests.journal.conftest import NOW, Books, kept, values_of
from tests.live.made import EXACT
from tests.live.test_refit import rows

HEAD = Metadata(
    classes=10, calibrator={"method": "temperature", "temperature": 2.0}, reference_curve=EXACT.to_metadata()
)


class Shadowed(Books):
    """Books that shadow."""

    def __init__(
        self, open_database: Callable[[], Database], policy: Policy = "propose", head: Metadata = HEAD
    ) -> None:
        self.store = Store(open_database())
        self.counting = Counting(self.store, ARRIVAL, 0.02, Refits(self.store, policy))
        self.ledger = Ledger(self.store, self.counting)
        self.number = self.model("m/1", head.model_dump_json())
        self.answers: list[Kept] = []
        self.labels: list[Label] = []

    @property
    def refit(self) -> Refit:
        with self.ledger.transaction():
            return self.counting.refits.find(self.number, self.counting.about(self.number))

    def see(
        self, n: int, sharper: float, piece: int, seed: int = 0, *, apart: bool = False, bare: bool = False
    ) -> None:
        """Answers that are too sharp, and their labels, so many at once."""
        log_p, labels = rows(n, sharper, seed)
        self.answers = [
            kept(f"{seed}-{i}", self.number, [p], apart=apart) for i, p in enumerate(np.exp(log_p).tolist())
        ]
        if bare:
            for one in self.answers:
                one.log_p = None
        self.labels = [Label(f"{seed}-{i}", 0, label) for i, label in enumerate(labels.tolist())]
        self.add_all(self.answers)
        for start in range(0, n, piece):
            with self.ledger.transaction():
                self.ledger.add(self.labels[start : start + piece], NOW + 10**9)

    def add_all(self, answers: list[Kept]) -> None:
        with self.ledger.transaction():
            self.store.add_requests(answers[0].day, map(values_of, answers))


def test_a_replay_of_the_store_equals_the_state_to_the_bit(open_database: Callable[[], Database]) -> None:
    books = Shadowed(open_database)
    books.see(1500, 1.6, piece=77)
    assert state_of(books.refit, "propose") == "earned"
    assert books.refit.because == "alarm"
    again = Refit()
    with books.ledger.transaction():
        monitor = books.counting.monitor(books.number)
        found = books.store.find([one.key for one in books.answers])
        labels = [
            Counted(found[one.key], 0, int(label.label), NOW + 10**9)
            for one, label in zip(books.answers, books.labels, strict=True)
        ]
        records, _, _ = books.counting.records(books.number, labels)
        records["index"] = np.arange(len(records))
        again.see_alarm(monitor)
        books.counting.refits.feed(again, labels, records)
        stored = books.store.refit(books.number)
    assert json.dumps(again.state()) == json.dumps(books.refit.state()) == stored


def propose_and_fail(books: Shadowed) -> None:
    refit = books.refit
    with books.ledger.transaction():
        refit.propose("request", "ann", 0, 0, 1)
        raise RuntimeError


def test_a_new_process_goes_on_and_what_was_undone_is_forgotten(open_database: Callable[[], Database]) -> None:
    one = Shadowed(open_database)
    one.see(800, 1.6, piece=100)
    before = one.refit.state()
    with pytest.raises(RuntimeError):
        propose_and_fail(one)
    assert json.dumps(one.refit.state()) == json.dumps(before)
    assert json.dumps(Shadowed(open_database).refit.state()) == json.dumps(before)


def test_without_the_wish_nothing_is_shadowed(open_database: Callable[[], Database]) -> None:
    books = Shadowed(open_database, "off")
    books.see(800, 1.6, piece=100)
    assert books.counting.monitor(books.number).n == 800
    with books.ledger.transaction():
        assert books.store.refit(books.number) is None


def test_rows_at_a_temperature_of_their_own_are_left_out_and_bare_ones_told(
    open_database: Callable[[], Database],
) -> None:
    books = Shadowed(open_database)
    refit = books.refit
    refit.propose("request", "ann", 0, 0, 1)
    with books.ledger.transaction():
        books.counting.refits.save(books.number, refit)
    books.see(50, 1.6, 50, apart=True)
    books.see(50, 1.6, 50, seed=1, bare=True)
    books.see(50, 1.6, 50, seed=2)
    assert books.refit.shadow is not None
    assert (books.refit.shadow.n, books.refit.left_out) == (50, 50)


def test_a_promoted_version_has_the_one_before_it_to_beat(open_database: Callable[[], Database]) -> None:
    head = HEAD.model_copy(update={"refit": {"from": "1", "factor": 1.5}})
    books = Shadowed(open_database, head=head)
    books.see(900, 1 / 1.5, piece=300)
    assert books.refit.back is not None
    assert books.refit.back.factor == pytest.approx(1 / 1.5)
    assert books.refit.back.has_earned


def test_the_share_of_answers_with_a_label_and_the_newest_rows_come_from_the_store(
    open_database: Callable[[], Database],
) -> None:
    books = Shadowed(open_database)
    books.see(60, 1.0, 20)
    books.add_all([kept(f"bare{i}", books.number, at_ns=NOW + i) for i in range(40)])
    with books.ledger.transaction():
        assert books.store.coverage(books.number, NOW, NOW + 100) == (100, 60)
        assert books.store.coverage(books.number, NOW + 35, NOW + 100) == (5, 0)
        newest = books.store.counted_rows(books.number, 50, 5)
    assert [label for _, _, _, label in newest] == [one.label for one in reversed(books.labels[-5:])]
