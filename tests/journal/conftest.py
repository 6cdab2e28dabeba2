"""A store to test against, and answers in it."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from service.journal.counting import Counting
from service.journal.database import Database
from service.journal.ledger import Ledger, digest
from service.journal.policy import ARRIVAL, Policy
from service.journal.postgres import Postgres
from service.journal.requests import Values
from service.journal.rows import Kept, pack_log_p
from service.journal.store import Store
from tests.journal.server import Server

NOW: int = 1_790_000_000 * 10**9  # 2026-09-21 13:33:20 UTC
DAY_NS = 86_400 * 10**9


def day_of(at_ns: int) -> int:
    return int(time.strftime("%Y%m%d", time.gmtime(at_ns / 1e9)))


def values_of(one: Kept) -> Values:
    """The values of a request, as the store takes them."""
    arrays = one.classes, one.confidences, one.log_p
    return one.key, one.at_ns, one.model, one.n, int(one.apart), *arrays, one.group, one.alpha, one.sets


def kept(
    name: str,
    model: int,
    p: list[list[float]] | None = None,
    *,
    at_ns: int = NOW,
    apart: bool = False,
    group: str | None = None,
    alpha: float | None = None,
    sets: bytes | None = None,
) -> Kept:
    """An answer with these probabilities."""
    values = np.array([[0.7, 0.2, 0.1]] if p is None else p, np.float32)
    with np.errstate(divide="ignore"):
        log_p, _ = pack_log_p(np.log(values))
    classes, best = values.argmax(axis=1).astype("<i4"), values.max(axis=1)
    return Kept(
        digest(name),
        day_of(at_ns),
        0,
        at_ns,
        model,
        len(values),
        apart,
        classes.tobytes(),
        best.tobytes(),
        log_p.tobytes(),
        group,
        alpha,
        sets,
    )


class Books:
    """A store and its ledger, under a policy."""

    def __init__(self, open_database: Callable[[], Database], policy: Policy = ARRIVAL) -> None:
        self.store = Store(open_database())
        self.counting = Counting(self.store, policy, 0.02)
        self.ledger = Ledger(self.store, self.counting)

    def add(self, *answers: Kept) -> None:
        """Store answers, a day after the other."""
        with self.ledger.transaction():
            for one in answers:
                self.store.add_requests(one.day, [values_of(one)])

    def model(self, name: str = "m/1", about: str | None = None) -> int:
        """The number of a model."""
        with self.ledger.transaction():
            number = self.store.model(name)
            if about is not None:
                self.store.describe(number, about)
            return number


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server."""
    server = Server()
    yield server
    server.stop()


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def open_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Database]]:
    """Opens the same database each time."""
    opened: list[Database] = []
    if request.param == "SQLite":
        open_one: Callable[[], Database] = partial(Database, tmp_path / "store.sqlite")
    else:
        open_one = partial(Postgres, request.getfixturevalue("postgres").new_database())

    def open_another() -> Database:
        opened.append(open_one())
        return opened[-1]

    yield open_another
    for one in opened:
        one.close()


@pytest.fixture
def books(open_database: Callable[[], Database]) -> Books:
    """Books that count labels as they come."""
    return Books(open_database)
