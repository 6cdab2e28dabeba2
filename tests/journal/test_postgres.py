"""PostgreSQL as the store: several hosts that count together, and a server that goes and comes back."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Thread

import numpy as np
import psycopg
import pytest

from service.journal.counting import Counting
from service.journal.database import Database
from service.journal.ledger import Label, Ledger, Outcome
from service.journal.policy import ARRIVAL
from service.journal.postgres import Postgres
from service.journal.store import Store
from tests.journal.conftest import NOW, Books, kept
from tests.journal.server import Server
from tests.processes import calibrant

N = 300


@pytest.fixture
def open_shared(postgres: Server) -> Callable[[], Database]:
    """Opens one and the same database."""
    return partial(Postgres, postgres.new_database())


def count(books: Books, names: list[str], outcomes: list[Outcome]) -> None:
    """Tell labels, a few at a time."""
    for at in range(0, len(names), 7):
        with books.ledger.transaction():
            outcomes.append(books.ledger.add([Label(name, 0, int(name) % 3) for name in names[at : at + 7]], NOW))


def test_two_hosts_count_the_labels_of_one_model_once_each_and_in_one_order(
    open_shared: Callable[[], Database],
) -> None:
    hosts = [Books(open_shared) for _ in range(2)]
    model = hosts[0].model()
    random = np.random.default_rng(0)
    hosts[0].add(*(kept(f"{i}", model, [random.dirichlet([1, 1, 1]).tolist()]) for i in range(N // 2)))
    hosts[1].add(*(kept(f"{i}", model, [random.dirichlet([1, 1, 1]).tolist()]) for i in range(N // 2, N)))
    outcomes: list[Outcome] = []
    names = [f"{i}" for i in range(N)]
    threads = [
        Thread(target=count, args=(host, names[shift:] + names[:shift], outcomes))
        for host, shift in zip(hosts, (0, 50), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one.accepted for one in outcomes) == 2 * N
    with hosts[0].ledger.transaction():
        (day,) = hosts[0].store.days
        numbers = [number for (number,) in hosts[0].store.db.rows(f"SELECT number FROM labels_{day} ORDER BY number")]
        assert numbers == list(range(N))
        assert hosts[0].store.counts()["m/1"]["counted"] == N
        states = [json.dumps(host.counting.monitor(model).state()) for host in hosts]
    assert states[0] == states[1]
    for host in hosts:
        host.store.db.close()


def test_two_hosts_that_start_and_make_a_day_at_once_both_do(open_shared: Callable[[], Database]) -> None:
    failures: list[Exception] = []

    def start() -> None:
        try:
            books = Books(open_shared)
            books.add(kept("a", books.model()))
            books.store.db.close()
        except psycopg.Error as error:
            failures.append(error)

    threads = [Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_server_that_was_killed_is_used_again_once_it_is_back(
    postgres: Server, open_shared: Callable[[], Database]
) -> None:
    store = Store(open_shared())
    ledger = Ledger(store, Counting(store, ARRIVAL, 0.02))

    def ask() -> None:
        with ledger.transaction():
            store.set_position("a", 1)

    ask()
    postgres.kill()
    try:
        for _ in range(2):
            with pytest.raises(store.db.errors):
                ask()
    finally:
        postgres.start()
    ask()
    store.db.close()


def test_a_server_that_is_not_there_is_told_at_the_start(tmp_path: Path) -> None:
    address = "postgresql://nobody@127.0.0.1:1/nothing"
    found = calibrant("live", "--journal", tmp_path / "j", "--journal-store", address)
    assert found.returncode == 3
    assert "calibrant live: the store cannot be opened: connection failed" in found.stderr


def test_an_address_of_something_else_is_refused(tmp_path: Path) -> None:
    found = calibrant("serve", "--journal", tmp_path / "j", "--journal-store", "mysql://x")
    assert found.returncode == 2
    sentence = "--journal-store (CALIBRANT_JOURNAL_STORE) cannot be used; expected postgresql://..."
    assert sentence in found.stderr
