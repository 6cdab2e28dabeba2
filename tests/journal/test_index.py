"""The index of a day's requests by id: what is in its levels, whatever ends a transaction or a process."""

from collections.abc import Callable

import pytest

from service.journal import index
from service.journal.database import Database
from service.journal.ledger import digest
from service.journal.rows import Kept
from tests.journal.conftest import Books, kept, values_of

SMALL = (16, 64)


@pytest.fixture(autouse=True)
def small_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "MOST", SMALL)


def add(books: Books, start: int, stop: int, step: int = 7) -> None:
    """Store answers with the ids `start` to `stop`, so many in a transaction."""
    model = books.model()
    for at in range(start, stop, step):
        with books.ledger.transaction():
            some = [kept(f"{i}", model) for i in range(at, min(stop, at + step))]
            books.store.add_requests(some[0].day, map(values_of, some))


def fail_to_add(books: Books, some: list[Kept]) -> None:
    """Begin to store answers."""
    with books.ledger.transaction():
        books.store.add_requests(some[0].day, map(values_of, some))
        raise ZeroDivisionError


def levels(books: Books) -> list[int]:
    """How many keys there are in each level; of one that the database keeps up itself nothing."""
    if books.store.db.shared:
        return []
    (day,) = books.store.days
    return [books.store.db.rows(f"SELECT count(*) FROM keys_{day}_{level}")[0][0] for level in range(len(SMALL) + 1)]


def numbers(books: Books, n: int) -> list[int]:
    """The numbers of the requests with the ids 0 to n."""
    keys = [digest(f"{i}") for i in range(n)]
    with books.ledger.transaction():
        found = books.store.find(keys)
    return [found[key].seq for key in keys if key in found]


def test_ids_are_found_in_whichever_level_they_are(books: Books) -> None:
    add(books, 0, 500)
    assert numbers(books, 500) == list(range(1, 501))
    if there := levels(books):
        assert sum(there) == 500
        assert all(0 < n <= most for n, most in zip(there, SMALL, strict=False))


def test_more_than_a_level_holds_may_come_at_once(books: Books) -> None:
    add(books, 0, 500, step=500)
    assert numbers(books, 500) == list(range(1, 501))
    assert sum(levels(books)) in (0, 500)


def test_what_is_undone_is_in_no_level(books: Books) -> None:
    add(books, 0, 100)
    model = books.model()
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            fail_to_add(books, [kept(f"{i}", model) for i in range(100, 150)])
    assert len(numbers(books, 150)) == 100
    if isinstance(books.store.index, index.LevelledIndex):
        (day,) = books.store.days
        assert books.store.index.count(day) == levels(books)[:-1]
    add(books, 100, 300)
    assert len(numbers(books, 300)) == 300
    assert sum(levels(books)) in (0, 300)


def test_a_process_goes_on_where_another_one_was(books: Books, open_database: Callable[[], Database]) -> None:
    add(books, 0, 120)
    again = Books(open_database)
    add(again, 120, 400)
    assert len(numbers(again, 400)) == 400
    assert sum(levels(again)) in (0, 400)


def test_an_id_that_is_deleted_leaves_its_number_to_another(books: Books) -> None:
    add(books, 0, 50)
    with books.ledger.transaction():
        assert [books.store.forget(digest(f"{i}")) for i in (3, 49, 51)] == [(1, 0), (1, 0), (0, 0)]
    add(books, 50, 90)
    assert len(numbers(books, 90)) == 88
    assert sum(levels(books)) in (0, 88)


def test_a_day_of_an_earlier_version_gets_levels(books: Books, open_database: Callable[[], Database]) -> None:
    add(books, 0, 100)
    db = books.store.db
    (day,) = books.store.days
    if not db.shared:
        with books.ledger.transaction():
            books.store.index.drop(day)
            db.run(f"CREATE INDEX requests_{day}_key ON requests_{day} (key)")
    again = Books(open_database)
    assert numbers(again, 100) == list(range(1, 101))
    add(again, 100, 150)
    assert len(numbers(again, 150)) == 150
    assert levels(again)[:1] != [150]
    with again.ledger.transaction():
        again.store.drop_day(day)
    if not db.shared:
        assert not again.store.db.rows("SELECT name FROM sqlite_master WHERE name LIKE 'keys%' OR name LIKE '%key'")


def test_labels_that_wait_are_found_once_their_answers_are_stored(books: Books) -> None:
    with books.ledger.transaction():
        for i in (5, 250, 1000):
            books.store.put_off(digest(f"{i}"), 0, "1", 1, 1)
    add(books, 0, 300)
    with books.ledger.transaction():
        assert books.store.answered() == sorted([digest("5"), digest("250")])
