"""Counting: as labels come, or as answers mature; the same state from the store as from the monitor."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from service.journal.counting import Counted, spread
from service.journal.database import Database
from service.journal.ledger import Label
from service.journal.policy import Policy
from service.journal.rows import Kept
from service.live.monitor import Monitor
from service.live.reference import Reference
from service.metadata import Metadata
from tests.journal.conftest import DAY_NS, NOW, Books, kept

GROUPED = Metadata(
    classes=3, calibrator={"method": "x", "temperature": 1.0, "group_temperatures": {"a": 1.0, "b": 2.0}}
)
HOUR_NS = 3600 * 10**9


def tell(books: Books, *labels: Label) -> None:
    with books.ledger.transaction():
        books.ledger.add(labels, NOW)


def mature(books: Books, now_ns: int) -> int:
    """Count what is old enough, and return how many steps that took."""
    for step in range(1, 100):
        with books.ledger.transaction():
            if not books.counting.mature(now_ns):
                return step
    raise AssertionError


def test_records_say_what_was_answered(books: Books) -> None:
    model = books.model("m/1", GROUPED.model_dump_json())
    p_of = [[0.5, 0.25, 0.25], [0.0, 0.0, 1.0], [0.25, 0.5, 0.25]]
    one = kept("a", model, p_of, apart=True, group='["b",null,"a"]', alpha=0.1, sets=bytes([0b101, 0b10, 0]))
    with books.ledger.transaction():
        rows, p, counts = books.counting.records(model, [Counted(one, row, 2, NOW + 5) for row in range(3)])
    assert rows["predicted"].tolist() == [0, 2, 1]
    assert rows["confidence"].tolist() == [0.5, 1.0, 0.5]
    assert rows["group"].tolist() == ["b", None, "a"]
    assert rows["log_p"] == pytest.approx([np.log(0.25), 0, np.log(0.25)], rel=1e-3)
    assert rows["brier"] == pytest.approx([0.25 + 0.0625 + 0.5625, 0, 0.0625 + 0.25 + 0.5625], rel=1e-3)
    assert (rows["labelled_ns"] - rows["predicted_ns"]).tolist() == [5, 5, 5]
    assert rows["apart"].all()
    assert rows["alpha"].tolist() == [0.1] * 3
    assert rows["in_set"].tolist() == [True, False, False]
    assert counts.all()
    assert p == pytest.approx(np.array([[0.5, 0.25, 0.25], [0, 0, 1], [0.25, 0.5, 0.25]]), rel=1e-3)


def test_records_of_an_answer_without_a_set_or_a_group_have_none(books: Books) -> None:
    model = books.model()
    with books.ledger.transaction():
        rows, _, _ = books.counting.records(model, [Counted(kept("a", model), 0, 0, NOW)])
    assert np.isnan(rows["alpha"]).all()
    assert (rows["in_set"].tolist(), rows["group"].tolist()) == ([False], [None])


@pytest.mark.parametrize("right", [True, False])
def test_of_a_confidence_alone_the_rest_is_spread_evenly(right: bool) -> None:
    p = np.array([0.7, 0.1, 0.1, 0.1])
    y = np.array([1, 0, 0, 0]) if right else np.array([0, 1, 0, 0])
    assert spread(0.7, right, 4) == pytest.approx((np.log(p @ y), ((p - y) ** 2).sum()))
    assert spread(1.0, False, 4)[0] == -np.inf


def test_a_row_without_a_class_is_kept_and_not_counted(books: Books) -> None:
    model = books.model()
    one = kept("a", model)
    one.classes = np.array([-1], "<i4").tobytes()
    books.add(one, kept("b", model))
    tell(books, Label("a", 0, 0), Label("b", 0, 0))
    with books.ledger.transaction():
        assert books.store.label((one.day, 1, 0)) == (0, NOW, None)
        assert books.store.label((one.day, 2, 0)) == (0, NOW, 0)
        assert books.store.counts()["m/1"]["labels"] == 2
    assert books.counting.monitors[model].n == 1


def test_matured_labels_count_in_the_order_of_the_answers_once_these_are_old_enough(
    open_database: Callable[[], Database],
) -> None:
    books = Books(open_database, Policy(72 * HOUR_NS))
    model = books.model()
    books.add(*(kept(f"{i}", model, at_ns=NOW + i * DAY_NS) for i in range(6)))
    tell(books, Label("2", 0, 1), Label("0", 0, 0), Label("4", 0, 0))
    assert mature(books, NOW + 2 * DAY_NS) == 1
    assert books.counting.monitors == {}
    mature(books, NOW + 5 * DAY_NS)  # 0, 1 and 2 are old enough; 1 has no label and is left out
    assert books.counting.monitors[model].n == 2
    with books.ledger.transaction():
        numbers = [books.store.label((20260921 + i, 1, 0))[2] for i in (0, 2, 4)]
    assert numbers == [0, 1, None]
    tell(books, Label("1", 0, 0))  # too late
    mature(books, NOW + 7 * DAY_NS)
    assert books.counting.monitors[model].n == 3


def test_labels_wait_until_their_answers_are_old_enough(open_database: Callable[[], Database]) -> None:
    books = Books(open_database, Policy(72 * HOUR_NS))
    model, other = books.model(), books.model("m/2")
    books.add(*(kept(f"{i}", model, at_ns=NOW + i * DAY_NS) for i in range(4)), kept("x", other), kept("y", model))
    tell(books, *(Label(f"{i}", 0, 1) for i in range(4)), Label("x", 0, 1))

    def waiting() -> dict[int, int]:
        with books.ledger.transaction():
            return books.store.waiting()

    assert waiting() == {model: 4, other: 1}
    mature(books, NOW + 4 * DAY_NS)  # 0, 1, x and y are old enough
    assert waiting() == {model: 2, other: 0}
    tell(books, Label("y", 0, 1))  # too late, and waits for nothing
    assert waiting() == {model: 2, other: 0}
    with books.ledger.transaction():
        assert books.counting.waiting.count() == {model: 2, other: 0}
        books.counting.waiting.known_until = np.inf  # the look has taken long
    mature(books, NOW + 9 * DAY_NS)
    with books.ledger.transaction():
        assert books.counting.waiting.count() == {model: 2, other: 0}
        assert books.counting.waiting.is_late
        books.counting.waiting.known_until = 0.0
        assert books.counting.waiting.count() == {model: 0, other: 0}
        assert not books.counting.waiting.is_late


def test_labels_that_count_as_they_come_do_not_wait(books: Books) -> None:
    books.add(kept("a", books.model()))
    tell(books, Label("a", 0, 0))
    assert books.counting.waiting.count() == {}


def test_a_default_counts_for_answers_that_got_no_label(open_database: Callable[[], Database]) -> None:
    about = Metadata(classes=3, labels=("ok", "fraud", "x")).model_dump_json()
    books = Books(open_database, Policy(HOUR_NS, "ok"))
    model = books.model("m/1", about)
    books.add(*(kept(f"{i}", model) for i in range(2500)))
    tell(books, Label("7", 0, "fraud"))
    assert mature(books, NOW + HOUR_NS) == 3
    summary = books.counting.monitors[model].summary
    assert (summary.rows, summary.right) == (2500, 2499)
    mature(books, NOW + 2 * HOUR_NS)
    assert books.counting.monitors[model].n == 2500


@pytest.mark.parametrize("default", ["okay", 3])
def test_a_default_that_is_no_class_of_the_model_is_told_once_and_left_out(
    open_database: Callable[[], Database], caplog: pytest.LogCaptureFixture, default: int | str
) -> None:
    books = Books(open_database, Policy(HOUR_NS, default))
    model = books.model("m/1", Metadata(classes=3, labels=("ok", "fraud", "x")).model_dump_json())
    books.add(*(kept(f"{i}", model) for i in range(2500)))
    tell(books, Label("7", 0, "fraud"))
    mature(books, NOW + HOUR_NS)
    assert books.counting.monitors[model].n == 1
    (record,) = caplog.records
    assert record.message == (
        f"m/1 has no class {default}, as --label-policy has it; expected one of its labels, or an index: answers that "
        "got no label are left out"
    )


def replay(books: Books, model: int, answers: Sequence[Kept]) -> Monitor:
    """A monitor of the labels in the store, by their numbers."""
    found: list[tuple[int, Counted]] = []
    with books.ledger.transaction():
        for one in answers:
            stored = books.store.find([one.key])[one.key]
            for row in range(stored.n):
                label, at_ns, number = books.store.label((stored.day, stored.seq, row))
                assert number is not None
                found.append((number, Counted(stored, row, label, at_ns)))
        labels = [counted for _, counted in sorted(found, key=lambda pair: pair[0])]
        rows, p, _ = books.counting.records(model, labels)
    rows["index"] = np.arange(len(rows))
    monitor = Monitor(Reference(), bound=0.02)
    monitor.update(rows, p)
    return monitor


def test_a_replay_of_the_store_equals_the_state_to_the_bit(books: Books) -> None:
    model = books.model()
    random = np.random.default_rng(0)
    answers = [kept(f"{i}", model, random.dirichlet([1, 1, 1], 4).tolist()) for i in range(300)]
    books.add(*answers)
    labels = [Label(f"{i}", row, int(random.integers(3))) for i in range(300) for row in range(4)]
    random.shuffle(labels)
    for at in range(0, len(labels), 77):
        tell(books, *labels[at : at + 77])
    assert replay(books, model, answers).state() == books.counting.monitors[model].state()
    assert books.counting.monitors[model].n == 1200
