"""Which requests of a day have an id: by its digest, in an order that they do not come in.

An index that takes each digest as it comes has every one on another page. With a million of them SQLite wrote 8.6 KB
for a request of 100 bytes, and was busy with that for two thirds of the time.
"""

from collections.abc import Sequence
from typing import Any, Final

from service.journal.database import Database

MOST: Final = (2**14, 2**18)  # keys in a level that is not the last, which holds any number
LAST: Final = len(MOST)
N_SLICES: Final = 16  # of a level, by the first byte of the keys
N_BYTES: Final = 16  # of a digest, at most
Condition = tuple[str, Sequence[Any]]


class PlainIndex:
    """The database's own index, which others that share the database see as well."""

    def __init__(self, db: Database) -> None:
        self.db = db

    def make(self, day: int) -> None:
        """Make what a new day needs."""
        self.db.make(f"CREATE INDEX IF NOT EXISTS requests_{day}_key ON requests_{day} (key)")

    def drop(self, day: int) -> None:
        """Forget a day, whose requests are gone."""

    def look(self) -> None:
        """A transaction was undone."""

    def adopt(self, day: int) -> None:
        """Take over a day that may be from an earlier version."""

    def add(self, day: int, after: int) -> None:
        """Take in the requests behind the number `after`."""

    def forget(self, day: int, key: bytes) -> None:
        """Forget a key, whose requests were deleted."""

    def among(self, day: int, keys: Sequence[bytes]) -> Condition:  # noqa: ARG002 - the day's other index wants it
        """The condition that a request has one of these keys, and its values."""
        return self.db.among("key", keys)

    def holds(self, day: int, column: str) -> str:
        """The condition that there is a request with the key in a column of another table."""
        return f"EXISTS (SELECT 1 FROM requests_{day} r WHERE r.key = {column})"  # noqa: S608 - our own names


class LevelledIndex(PlainIndex):
    """Tables of keys in their order, each larger than the one before: a log-structured merge tree (O'Neil et al. 1996).

    New keys go to the first, which is small. One that is full hands on a slice of its keys, those between two bounds,
    to the next one: so many at once that a page there takes several.
    """

    def __init__(self, db: Database) -> None:
        super().__init__(db)
        self.sizes: dict[int, list[int]] = {}  # of a day, keys in each level but the last; counted when it is needed
        self.turns = [0] * LAST  # the slice that each level hands on next

    def make(self, day: int) -> None:
        for level in range(LAST + 1):
            self.db.run(
                f"CREATE TABLE IF NOT EXISTS keys_{day}_{level} (key BLOB NOT NULL, seq BIGINT NOT NULL, "
                "PRIMARY KEY (key, seq)) WITHOUT ROWID"
            )

    def drop(self, day: int) -> None:
        for level in range(LAST + 1):
            self.db.run(f"DROP TABLE IF EXISTS keys_{day}_{level}")
        self.sizes.pop(day, None)

    def look(self) -> None:
        self.sizes.clear()

    def adopt(self, day: int) -> None:
        if self.db.rows("SELECT 1 FROM sqlite_master WHERE name = ?", (f"requests_{day}_key",)):
            self.make(day)
            self.db.run(f"INSERT INTO keys_{day}_{LAST} SELECT key, seq FROM requests_{day} ORDER BY key")  # noqa: S608 - a number
            self.db.run(f"DROP INDEX requests_{day}_key")

    def add(self, day: int, after: int) -> None:
        sizes = self.count(day)
        new = f"SELECT key, seq FROM requests_{day} WHERE seq > ? ORDER BY key"  # noqa: S608 - a number
        sizes[0] += self.db.run(f"INSERT INTO keys_{day}_0 {new}", (after,))
        for level, most in enumerate(MOST):
            for _ in range(N_SLICES):
                if sizes[level] <= most:
                    break
                n = self.hand_on(day, level)
                sizes[level] -= n
                if level + 1 < LAST:
                    sizes[level + 1] += n

    def count(self, day: int) -> list[int]:
        """How many keys there are in each level of a day but the last; whoever changes that changes the list."""
        if day not in self.sizes:
            counts = [self.db.rows(f"SELECT count(*) FROM keys_{day}_{level}") for level in range(LAST)]  # noqa: S608 - numbers
            self.sizes[day] = [int(n) for ((n,),) in counts]
        return self.sizes[day]

    def hand_on(self, day: int, level: int) -> int:
        """Move the next slice of a level to the one behind it; returns how many keys that were."""
        turn = self.turns[level]
        self.turns[level] = (turn + 1) % N_SLICES
        bounds = bytes([turn * 256 // N_SLICES]), bytes([(turn + 1) * 256 // N_SLICES - 1]) + b"\xff" * N_BYTES
        slice_ = f"FROM keys_{day}_{level} WHERE key BETWEEN ? AND ?"
        self.db.run(f"INSERT INTO keys_{day}_{level + 1} SELECT key, seq {slice_}", bounds)
        return self.db.run(f"DELETE {slice_}", bounds)

    def forget(self, day: int, key: bytes) -> None:
        for level in range(LAST + 1):
            self.db.run(f"DELETE FROM keys_{day}_{level} WHERE key = ?", (key,))  # noqa: S608 - numbers
        self.sizes.pop(day, None)

    def among(self, day: int, keys: Sequence[bytes]) -> Condition:
        condition, values = self.db.among("key", keys)
        parts = [f"SELECT seq FROM keys_{day}_{level} WHERE {condition}" for level in range(LAST + 1)]  # noqa: S608 - numbers
        return f"seq IN ({' UNION ALL '.join(parts)})", [*values] * len(parts)

    def holds(self, day: int, column: str) -> str:
        parts = [f"EXISTS (SELECT 1 FROM keys_{day}_{level} k WHERE k.key = {column})" for level in range(LAST + 1)]  # noqa: S608 - as above
        return f"({' OR '.join(parts)})"
