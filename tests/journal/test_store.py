"""The store: what is in it, by id and by day, and that a transaction is all or nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from service.journal.database import Database
from service.journal.ledger import digest
from service.journal.requests import ADDED, in_order
from tests.journal.conftest import DAY_NS, NOW, Books, kept, values_of


def find(books: Books, *names: str) -> list[int]:
    """When the answers of these ids were given, days before now."""
    with books.ledger.transaction():
        found = books.store.find([digest(name) for name in names])
    return [(NOW - found[digest(name)].at_ns) // DAY_NS for name in names if digest(name) in found]


def test_answers_are_found_by_id_on_whichever_day_they_were_given(books: Books) -> None:
    model = books.model()
    books.add(*(kept(f"{i}", model, at_ns=NOW - i * DAY_NS) for i in range(5)))
    assert find(books, "3", "0", "nobody", "4") == [3, 0, 4]


def test_more_ids_than_one_statement_holds_are_found(books: Books) -> None:
    model = books.model()
    books.add(*(kept(f"{i}", model) for i in range(1203)))
    assert len(find(books, *(f"{i}" for i in range(1203)))) == 1203


def test_what_was_stored_comes_back(books: Books) -> None:
    model = books.model()
    one = kept("a", model, [[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]], apart=True, group='["a","b"]', alpha=0.1, sets=b"\3\4")
    books.add(one)
    with books.ledger.transaction():
        found = books.store.find([digest("a")])[digest("a")]
    one.seq = found.seq
    assert found == one


def test_a_day_of_an_earlier_version_gets_the_columns_that_it_lacks(
    books: Books, open_database: Callable[[], Database]
) -> None:
    model = books.model()
    books.add(kept("old", model, group='"acme"', alpha=0.1, sets=b"\1"))
    with books.ledger.transaction():
        (day,) = books.store.days
        for column in ADDED:
            books.store.db.run(f"ALTER TABLE requests_{day} DROP COLUMN {column}")
    newer = Books(open_database)
    newer.add(kept("new", model, group='"acme"', alpha=0.1, sets=b"\1"))
    with newer.ledger.transaction():
        found = newer.store.find([digest("old"), digest("new")])
    old, new = found[digest("old")], found[digest("new")]
    assert (old.group, old.alpha, old.sets) == (None, None, None)
    assert (new.group, new.alpha, new.sets) == ('"acme"', 0.1, b"\1")
    newer.store.db.close()


def test_a_day_that_is_dropped_is_not_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    books = Books(lambda: Database(path))
    for at_ns in (NOW - DAY_NS, NOW):
        one = kept("a", books.model(), [[0.5] * 1000], at_ns=at_ns)
        with books.ledger.transaction():
            books.store.add_requests(one.day, [values_of(one)] * 2000)
    with books.ledger.transaction():
        before = books.store.db.used_bytes()
    books.store.db.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    with books.ledger.transaction():
        assert books.store.bound(before - 1, 0) == [20260920]
        dropped = before - books.store.db.used_bytes()
    assert Path(f"{path}-wal").stat().st_size < dropped / 10
    books.store.db.close()


def test_of_two_answers_under_one_id_the_first_of_the_newest_day_is_meant(books: Books) -> None:
    model = books.model()
    books.add(kept("a", model, at_ns=NOW - DAY_NS), kept("a", model, at_ns=NOW), kept("a", model, at_ns=NOW + 10**9))
    with books.ledger.transaction():
        assert books.store.find([digest("a")])[digest("a")].at_ns == NOW


def test_a_day_that_is_large_goes_on_in_another_one_of_its_date(books: Books) -> None:
    model = books.model()
    books.store.day_rows = 2
    names = ["a", "b", "a", "c", "d"]
    books.add(kept("0", model, at_ns=NOW - DAY_NS), *[kept(name, model, at_ns=NOW + i) for i, name in enumerate(names)])
    books.add(kept("1", model, at_ns=NOW + DAY_NS))
    days = [20260920, 20260921, 20260921000001, 20260921000002, 20260922]
    assert sorted(books.store.days, key=in_order) == days
    with books.ledger.transaction():
        assert books.store.find([digest("a")])[digest("a")].at_ns == NOW, "the first of its date"
        assert books.store.find([digest("d")])[digest("d")].day == 20260921000002
        matured = books.store.matured(model, NOW + 2 * DAY_NS, 4)
        assert [one.at_ns for one in matured] == [NOW - DAY_NS, NOW, NOW + 1, NOW + 2]
        books.store.set_matured(model, matured[-1].day, matured[-1].seq)
        assert [one.day for one in books.store.matured(model, NOW + 2 * DAY_NS, 4)] == [*days[2:4], days[4]]
        assert books.store.bound(2**40, 20260920) == days[:1]
        assert books.store.bound(1, 0) == days[1:4]


def test_a_day_is_dropped_with_its_labels_and_others_stay(books: Books, open_database: Callable[[], Database]) -> None:
    model = books.model()
    books.add(kept("old", model, at_ns=NOW - DAY_NS), kept("new", model))
    with books.ledger.transaction():
        books.store.add_labels([(20260920, 1, 0, 2, NOW, 0), (20260921, 1, 0, 2, NOW, 1)])
        before = books.store.db.used_bytes()
    with books.ledger.transaction():
        books.store.drop_day(20260920)
    assert find(books, "old", "new") == [0]
    with books.ledger.transaction():
        assert books.store.labelled(20260921, [1]) == [(1, 0, 2, NOW)]
        assert books.store.db.used_bytes() < before
    assert Books(open_database).store.days == {20260921}


def test_deleting_an_id_leaves_nothing_of_it(books: Books) -> None:
    model = books.model()
    books.add(kept("a", model, at_ns=NOW - DAY_NS), kept("a", model), kept("b", model))
    with books.ledger.transaction():
        books.store.add_labels([(20260921, 1, 0, 2, NOW, 0), (20260921, 2, 0, 2, NOW, 1)])
        books.store.put_off(digest("a"), 1, "3", NOW, NOW)
        assert books.store.forget(digest("a")) == (2, 1)
    assert find(books, "a", "b") == [0]
    with books.ledger.transaction():
        assert books.store.labelled(20260921, [1, 2]) == [(2, 0, 2, NOW)]
        assert books.store.n_pending() == 0


def test_a_transaction_that_fails_leaves_nothing_not_even_the_days_it_made(books: Books) -> None:
    model = books.model()

    class Trouble(Exception):
        """Something goes wrong."""

    def fail() -> None:
        with books.ledger.transaction():
            books.store.add_requests(20260921, [values_of(kept("a", model))])
            books.store.set_position("segment", 7)
            raise Trouble

    with pytest.raises(Trouble):
        fail()
    assert books.store.days == set()
    with books.ledger.transaction():
        assert books.store.positions() == {}
    books.add(kept("b", model))
    assert find(books, "a", "b") == [0]


def test_the_file_is_for_its_owner_alone(books: Books, tmp_path_factory: pytest.TempPathFactory) -> None:
    if books.store.db.shared:
        pytest.skip("is no file")
    path = tmp_path_factory.mktemp("own") / "store.sqlite"
    Database(path).close()
    assert path.stat().st_mode & 0o777 == 0o600
