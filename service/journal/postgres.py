"""PostgreSQL as the database of the store: for several hosts that serve the same models. The only importer of psycopg.

Each host reads its own segments; a model's labels are counted by one of them at a time.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import psycopg

from service.journal.database import Database

CONNECT_S: Final = 5
TABLES_LOCK: Final = 7_243_392_001  # a number of our own; making tables twice at once fails, in spite of IF NOT EXISTS


class Postgres(Database):
    """A database on a server. It connects again where the connection was lost."""

    serial = "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
    bytes_type = "BYTEA"
    shared = True
    errors: tuple[type[Exception], ...] = (psycopg.Error,)

    def __init__(self, address: str) -> None:
        """Connect to `address`, `postgresql://USER@HOST/NAME`.

        Raises:
            psycopg.Error: that is no address, or nobody answers there.
        """
        self.address = address
        self.connect()

    def connect(self) -> None:
        self.connection: psycopg.Connection[Any] = psycopg.connect(
            self.address, autocommit=True, connect_timeout=CONNECT_S, application_name="calibrant", keepalives_idle=10
        )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it, or nothing."""
        if self.connection.closed:
            self.connect()
        with self.connection.transaction():
            yield

    def make(self, script: str) -> None:
        self.rows("SELECT pg_advisory_xact_lock(?)", (TABLES_LOCK,))
        super().make(script)

    def run(self, statement: str, values: Sequence[Any] = ()) -> int:
        return self.connection.execute(statement.replace("?", "%s").encode(), values).rowcount

    def run_many(self, statement: str, values: Iterable[Sequence[Any]]) -> None:
        with self.connection.cursor() as cursor:
            cursor.executemany(statement.replace("?", "%s").encode(), values)

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        return self.connection.execute(statement.replace("?", "%s").encode(), values).fetchall()

    def columns(self, table: str) -> set[str]:
        statement = "SELECT column_name FROM information_schema.columns WHERE table_schema = current_schema()"
        return {name for (name,) in self.rows(f"{statement} AND table_name = ?", (table,))}

    def among(self, column: str, keys: Sequence[Any]) -> tuple[str, Sequence[Any]]:
        return f"{column} = ANY(?)", [list(keys)]

    def lock(self, model: int) -> None:
        self.rows("SELECT 1 FROM models WHERE id = ? FOR UPDATE", (model,))

    def add_rows(self, table: str, columns: str, rows: Iterable[Sequence[Any]]) -> None:
        """COPY, which takes a third of the time of INSERT."""
        with self.connection.cursor() as cursor, cursor.copy(f"COPY {table} ({columns}) FROM STDIN".encode()) as copy:
            for row in rows:
                copy.write_row(row)

    def used_bytes(self) -> int:
        ((used,),) = self.rows(
            "SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class WHERE relkind = 'r' "
            r"AND relnamespace = current_schema()::regnamespace AND relname ~ '^(requests|labels)_\d+$'"
        )
        return int(used)
