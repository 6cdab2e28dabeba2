"""The database of the store, in its dialect of SQL: SQLite in one file, one writer. Statements have `?` for values."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from service.errors import CannotStart


def check_extra() -> None:
    """Look for what PostgreSQL needs, without loading it.

    Raises:
        CannotStart: the extra is not installed.
    """
    if find_spec("psycopg") is None:
        raise CannotStart(
            "--journal-store needs the extra postgres, psycopg is missing: pip install 'calibrant[postgres]'"
        )


class Database:
    """A database. Use it from one thread; everything but `transaction` wants one to be open."""

    serial = "INTEGER PRIMARY KEY"
    bytes_type = "BLOB"
    shared = False  # whether others write, too
    errors: tuple[type[Exception], ...] = (sqlite3.Error,)

    def __init__(self, path: Path | str) -> None:
        """Open `path`, or make it.

        Raises:
            sqlite3.Error: that is no database, or the disk refuses.
        """
        Path(path).touch(mode=0o600)
        self.connection: Any = sqlite3.connect(path, isolation_level=None, timeout=5.0)
        # synchronous NORMAL: what is lost with the power is the last moment, never the file
        self.connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")
        # what is deleted is overwritten where its page is written anyway; some builds write every free page for that,
        # a dropped day in whole, others overwrite nothing
        self.connection.execute("PRAGMA secure_delete = FAST")

    def close(self) -> None:
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it, or nothing."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise

    def make(self, script: str) -> None:
        """Run statements that make tables; `{serial}` and `{bytes}` in them are what this database calls these."""
        for statement in script.replace("{serial}", self.serial).replace("{bytes}", self.bytes_type).split(";"):
            if statement.strip():
                self.run(statement)

    def run(self, statement: str, values: Sequence[Any] = ()) -> int:
        """Run a statement, and return how many rows it changed."""
        return int(self.connection.execute(statement, values).rowcount)

    def run_many(self, statement: str, values: Iterable[Sequence[Any]]) -> None:
        self.connection.executemany(statement, values)

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        found: list[Any] = self.connection.execute(statement, values).fetchall()
        return found

    def columns(self, table: str) -> set[str]:
        """The names of a table's columns."""
        return {name for (name,) in self.rows("SELECT name FROM pragma_table_info(?)", (table,))}

    def among(self, column: str, keys: Sequence[Any]) -> tuple[str, Sequence[Any]]:
        """The condition that a column is one of `keys`, and its values.

        A power of two of them, with the last one again: prepared statements are kept, and 128 of as many lengths took
        5 MB, in pieces that other memory came to lie between.
        """
        n = 1 << (len(keys) - 1).bit_length()
        return f"{column} IN ({','.join('?' * n)})", [*keys, *[keys[-1]] * (n - len(keys))]

    def lock(self, model: int) -> None:
        """See that nobody else counts labels of a model until the transaction ends; here there is nobody else."""

    def add_rows(self, table: str, columns: str, rows: Iterable[Sequence[Any]]) -> None:
        """Insert many rows at once."""
        marks = ", ".join("?" * len(columns.split(", ")))
        self.run_many(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)  # noqa: S608 - our own names

    def used_bytes(self) -> int:
        """What the tables take, without what is free to be used again."""
        ((used,),) = self.rows(
            "SELECT (page_count - freelist_count) * page_size FROM "
            "pragma_page_count(), pragma_freelist_count(), pragma_page_size()"
        )
        return int(used)
