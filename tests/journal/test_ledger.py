"""Labels: kept once, whatever comes twice, too early, late or in contradiction."""

from collections.abc import Callable

from service.journal.database import Database
from service.journal.ledger import Label, Outcome
from service.metadata import Metadata
from tests.journal.conftest import NOW, Books, kept, values_of

ABOUT = Metadata(classes=3, labels=("cat", "dog", "cow")).model_dump_json()


def tell(books: Books, *labels: Label, now_ns: int = NOW) -> Outcome:
    with books.ledger.transaction():
        return books.ledger.add(labels, now_ns)


def counts(books: Books) -> dict[str, int]:
    with books.ledger.transaction():
        return books.store.counts()["m/1"] | {"pending": books.store.n_pending()}


def test_a_label_is_joined_by_id_and_row_by_index_or_name(books: Books) -> None:
    books.add(kept("a", books.model("m/1", ABOUT), [[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]]))
    assert tell(books, Label("a", 0, 0), Label("a", 1, "cow")) == Outcome(accepted=2)
    monitor = books.counting.monitors[1]
    assert (monitor.n, monitor.summary.right) == (2, 2)


def test_the_same_label_again_is_accepted_and_not_counted_again(books: Books) -> None:
    books.add(kept("a", books.model()))
    for _ in range(3):
        assert tell(books, Label("a", 0, 1), Label("a", 0, 1)) == Outcome(accepted=2)
    assert counts(books) == {"predictions": 0, "labels": 1, "conflicts": 0, "counted": 1, "pending": 0}


def test_another_label_for_the_same_row_is_a_conflict_and_the_first_one_stays(books: Books) -> None:
    books.add(kept("a", books.model()))
    assert tell(books, Label("a", 0, 1), Label("a", 0, 2)) == Outcome(accepted=1, conflicts={1: 1})
    assert tell(books, Label("a", 0, 0)) == Outcome(conflicts={0: 1})
    assert tell(books, Label("a", 0, 1)) == Outcome(accepted=1)
    assert counts(books)["conflicts"] == 2


def test_a_label_that_replaces_changes_the_measures_and_no_evidence(books: Books) -> None:
    books.add(kept("a", books.model()))
    tell(books, Label("a", 0, 1))
    evidence = books.counting.monitors[1].absolute.state()
    assert tell(books, Label("a", 0, 0, replace=True)) == Outcome(accepted=1)
    monitor = books.counting.monitors[1]
    assert (monitor.n, monitor.summary.right, monitor.summary.rows) == (1, 1, 1)
    assert monitor.absolute.state() == evidence
    assert tell(books, Label("a", 0, 0)) == Outcome(accepted=1)


def test_rows_and_classes_that_there_are_not_are_told_apart(books: Books) -> None:
    books.add(kept("a", books.model("m/1", ABOUT)), kept("b", books.model("other/1")))
    outcome = tell(
        books, Label("a", 1, 0), Label("a", 0, 3), Label("a", 0, "dgo"), Label("b", 0, 3), Label("b", 0, "dog")
    )
    assert (outcome.accepted, outcome.pending) == (0, 0)
    assert outcome.unknown == {
        0: "the request has 1 row; expected a row below that",
        1: "the model has 3 classes; expected an index below that",
        2: "the model has no class 'dgo'; expected a label of it, or an index",
        3: "the model has 3 classes; expected an index below that",
        4: "the model has no class 'dog'; expected a label of it, or an index",
    }


def test_a_label_that_comes_before_its_answer_waits_and_counts_then(books: Books) -> None:
    model = books.model("m/1", ABOUT)
    early = tell(books, Label("a", 0, "dog"), Label("never", 0, 1))
    assert early.pending == 2
    assert set(early.unknown) == {0, 1}
    one = kept("a", model)
    with books.ledger.transaction():
        books.store.add_requests(one.day, [values_of(one)])
        books.ledger.rejoin([one.key], NOW)
    assert counts(books) == {"predictions": 0, "labels": 1, "conflicts": 0, "counted": 1, "pending": 1}
    with books.ledger.transaction():
        assert books.store.expire(NOW) == 0
        assert books.store.expire(NOW + 1) == 1
    assert counts(books)["pending"] == 0


def test_of_two_labels_that_wait_for_one_row_the_first_is_kept(books: Books) -> None:
    model = books.model()
    tell(books, Label("a", 0, 2))
    tell(books, Label("a", 0, 1))
    one = kept("a", model)
    with books.ledger.transaction():
        books.store.add_requests(one.day, [values_of(one)])
        books.ledger.rejoin(books.store.answered(), NOW)
    assert tell(books, Label("a", 0, 2)) == Outcome(accepted=1)


def test_a_label_that_replaces_takes_the_place_of_one_that_waits(books: Books) -> None:
    tell(books, Label("a", 0, 1), Label("a", 0, 2, replace=True), Label("a", 0, 0))
    model = books.model()
    books.add(kept("a", model))
    with books.ledger.transaction():
        books.ledger.rejoin(books.store.answered(), NOW)
        (day,) = books.store.days
        assert books.store.db.rows(f"SELECT label FROM labels_{day}") == [(2,)]


def test_what_was_counted_is_what_a_new_process_finds(books: Books, open_database: Callable[[], Database]) -> None:
    model = books.model()
    books.add(*(kept(f"{i}", model) for i in range(250)))
    tell(books, *(Label(f"{i}", 0, i % 3) for i in range(250)))
    again = Books(open_database)
    assert tell(again, *(Label(f"{i}", 0, i % 3) for i in range(250))) == Outcome(accepted=250)
    with again.ledger.transaction():
        assert again.counting.monitor(model).state() == books.counting.monitors[model].state()
    assert again.counting.monitors[model].n == 250
