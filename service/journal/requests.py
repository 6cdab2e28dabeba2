"""What the store knows of requests: how far segments are read, which models there are, and what was answered.

A day that grows large goes on in another one of the same date, so that the oldest of it can be dropped, and its index
stays small: 20261231, 20261231000001, ... in the order of their digits.
"""

import math
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

from service.journal.database import Database
from service.journal.index import LevelledIndex, PlainIndex
from service.journal.rows import Kept

CHUNK: Final = 512  # keys that are looked for at once
SHARE: Final = 1 / 8  # of what may be kept, from which a day goes on in another one
DATES: Final = 10**8  # the numbers of days that are their date
MOST_OF_A_DATE: Final = 10**6
TABLES: Final = """
CREATE TABLE IF NOT EXISTS segments (name TEXT PRIMARY KEY, position BIGINT NOT NULL);
CREATE TABLE IF NOT EXISTS days (day BIGINT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS models (
    id {serial}, name TEXT UNIQUE NOT NULL, about TEXT, state TEXT,
    predictions BIGINT NOT NULL DEFAULT 0, labels BIGINT NOT NULL DEFAULT 0, conflicts BIGINT NOT NULL DEFAULT 0,
    counted BIGINT NOT NULL DEFAULT 0, matured_day BIGINT NOT NULL DEFAULT 0, matured_seq BIGINT NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS refits (model BIGINT PRIMARY KEY, state TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS pending (
    key {bytes} NOT NULL, row BIGINT NOT NULL, label TEXT NOT NULL, labelled_ns BIGINT NOT NULL,
    received_ns BIGINT NOT NULL, PRIMARY KEY (key, row));
"""
OF_A_DAY: Final = """
CREATE TABLE IF NOT EXISTS requests_{day} (
    seq {serial}, key {bytes} NOT NULL, at_ns BIGINT NOT NULL, model BIGINT NOT NULL, n BIGINT NOT NULL,
    apart BIGINT NOT NULL, classes {bytes} NOT NULL, confidences {bytes} NOT NULL, log_p {bytes},
    group_name TEXT, alpha DOUBLE PRECISION, sets {bytes});
CREATE TABLE IF NOT EXISTS labels_{day} (
    seq BIGINT NOT NULL, row BIGINT NOT NULL, label BIGINT NOT NULL, labelled_ns BIGINT NOT NULL, number BIGINT,
    PRIMARY KEY (seq, row));
"""
COLUMNS: Final = "key, at_ns, model, n, apart, classes, confidences, log_p, group_name, alpha, sets"
Values = tuple[Any, ...]  # of a request, in the order of the columns
ADDED: Final = {"group_name": "TEXT", "alpha": "DOUBLE PRECISION", "sets": "{bytes}"}
"""Columns that the days of a store from before them do not have yet."""


class Requests:
    """Segments, models and requests in a database. Everything wants an open transaction."""

    def __init__(self, db: Database) -> None:
        """Make the tables that are not there, and learn which days are."""
        self.db = db
        self.index = PlainIndex(db) if db.shared else LevelledIndex(db)
        self.days: set[int] = set()
        self.day_rows = math.inf  # requests, after which a day goes on in another one
        with db.transaction():
            db.make(TABLES)
            self.look()
            for day in self.days:
                there = db.columns(f"requests_{day}")
                for name in ADDED.keys() - there:
                    db.make(f"ALTER TABLE requests_{day} ADD COLUMN {name} {ADDED[name]}")
                self.index.adopt(day)

    def look(self) -> None:
        """Learn which days there are; a transaction that was undone may have made one."""
        self.index.look()
        self.days = {int(day) for (day,) in self.db.rows("SELECT day FROM days")}

    # --- segments

    def positions(self) -> dict[str, int]:
        """How far each segment is read, bytes."""
        return {name: int(position) for name, position in self.db.rows("SELECT name, position FROM segments")}

    def position(self, name: str) -> int:
        """How far a segment is read, bytes."""
        found = self.db.rows("SELECT position FROM segments WHERE name = ?", (name,))
        return int(found[0][0]) if found else 0

    def set_position(self, name: str, position: int) -> None:
        self.db.run(
            "INSERT INTO segments VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET position = excluded.position",
            (name, position),
        )

    def forget_segment(self, name: str) -> None:
        self.db.run("DELETE FROM segments WHERE name = ?", (name,))

    # --- models

    def model(self, name: str) -> int:
        """The number of `MODEL/VERSION`, a new one where it is new."""
        self.db.run("INSERT INTO models (name) VALUES (?) ON CONFLICT (name) DO NOTHING", (name,))
        return int(self.db.rows("SELECT id FROM models WHERE name = ?", (name,))[0][0])

    def models(self) -> dict[int, str]:
        """The names by number."""
        return dict(self.db.rows("SELECT id, name FROM models ORDER BY id"))

    def about(self, model: int) -> str | None:
        """What the head file says of itself, as JSON, if a head was there when its rows came."""
        found: str | None = self.db.rows("SELECT about FROM models WHERE id = ?", (model,))[0][0]
        return found

    def describe(self, model: int, about: str) -> None:
        """Keep what the head file says of itself."""
        self.db.run("UPDATE models SET about = ? WHERE id = ?", (about, model))

    def count(self, model: int, what: str, n: int) -> None:
        """Add to one of a model's counts."""
        self.db.run(f"UPDATE models SET {what} = {what} + ? WHERE id = ?", (n, model))  # noqa: S608 - a column's name

    def counts(self) -> dict[str, dict[str, Any]]:
        """The counts of each model."""
        names = ("predictions", "labels", "conflicts", "counted")
        found = self.db.rows(f"SELECT name, {', '.join(names)} FROM models ORDER BY name")  # noqa: S608 - as above
        return {name: dict(zip(names, map(int, values), strict=True)) for name, *values in found}

    # --- requests

    def add_day(self, day: int) -> None:
        """Make the tables of a day."""
        if day not in self.days:
            self.db.make(OF_A_DAY.replace("{day}", str(day)))
            self.index.make(day)
            self.db.run("INSERT INTO days VALUES (?) ON CONFLICT (day) DO NOTHING", (day,))
            self.days.add(day)

    def drop_day(self, day: int) -> None:
        """Forget what was answered on a day, and its labels."""
        self.db.run(f"DROP TABLE IF EXISTS requests_{day}")
        self.db.run(f"DROP TABLE IF EXISTS labels_{day}")
        self.index.drop(day)
        self.db.run("DELETE FROM days WHERE day = ?", (day,))
        self.days.discard(day)

    def last(self, day: int) -> int:
        """The number of the last request of a day, 0 where there is none."""
        return int(self.db.rows(f"SELECT coalesce(max(seq), 0) FROM requests_{day}")[0][0])  # noqa: S608 - a number

    def bound(self, max_bytes: int, last: int) -> list[int]:
        """Drop days up to the date `last`, and the oldest while the store is larger, but for the newest.

        Returns which. Learns as well how many requests make a day too large, by what those that are there take.
        """
        dropped: list[int] = []
        used = self.db.used_bytes()
        for day in sorted(self.days, key=in_order):
            if date_of(day) > last and (used <= max_bytes or len(self.days) == 1):
                break
            self.drop_day(day)
            dropped.append(day)
            used = self.db.used_bytes()
        most = SHARE * max_bytes
        self.day_rows = max(1.0, sum(map(self.last, self.days)) * most / used) if used > most else math.inf
        return dropped

    def add_requests(self, date: int, kept: Iterable[Values]) -> None:
        """Store requests of a date."""
        day = max((one for one in self.days if date_of(one) == date), key=in_order, default=date)
        self.add_day(day)
        while (last := self.last(day)) >= self.day_rows:
            day = next_of(day)
            self.add_day(day)
        self.db.add_rows(f"requests_{day}", COLUMNS, kept)
        self.index.add(day, last)

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Kept]:
        """The requests of these ids; of several under one the newest date's first."""
        found: dict[bytes, Kept] = {}
        for day in sorted(self.days, key=lambda day: (-date_of(day), day)):
            left = [key for key in keys if key not in found]
            for at in range(0, len(left), CHUNK):
                condition, values = self.index.among(day, left[at : at + CHUNK])
                statement = f"SELECT seq, {COLUMNS} FROM requests_{day} WHERE {condition} ORDER BY seq"  # noqa: S608 - as above
                for row in self.db.rows(statement, values):
                    one = read_kept(day, row)
                    found.setdefault(one.key, one)
        return found

    def forget(self, key: bytes) -> tuple[int, int]:
        """Delete what came under an id, its labels too; returns how many requests and waiting labels there were."""
        n = 0
        for day in self.days:
            condition, values = self.index.among(day, [key])
            requests = f"FROM requests_{day} WHERE {condition}"
            self.db.run(f"DELETE FROM labels_{day} WHERE seq IN (SELECT seq {requests})", values)  # noqa: S608 - as above
            n += self.db.run(f"DELETE {requests}", values)
            self.index.forget(day, key)
        return n, self.db.run("DELETE FROM pending WHERE key = ?", (key,))


def date_at(at_ns: float) -> int:
    """The date of a moment, nanoseconds since 1970."""
    return int(time.strftime("%Y%m%d", time.gmtime(at_ns / 1e9)))


def date_of(day: int) -> int:
    """The date of a day, YYYYMMDD."""
    return day if day < DATES else day // MOST_OF_A_DATE


def next_of(day: int) -> int:
    """The day of the same date that is behind a day."""
    return day + 1 if day >= DATES else day * MOST_OF_A_DATE + 1


def in_order(day: int) -> str:
    """What days are sorted by: the oldest first."""
    return str(day)


def read_kept(day: int, row: Sequence[Any]) -> Kept:
    """A request of a day, from its number and the columns."""
    seq, key, at_ns, model, n, apart, classes, confidences, log_p, group, alpha, sets = row
    log_p, sets = (None if one is None else bytes(one) for one in (log_p, sets))
    arrays = bytes(classes), bytes(confidences), log_p
    return Kept(bytes(key), day, seq, at_ns, model, n, bool(apart), *arrays, group, alpha, sets)
