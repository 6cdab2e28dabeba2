"""The store of the live process: requests, and the labels that came for them.

Whatever counts once is written in one transaction: requests with how far their segment is read, labels with the state
of the monitor that has counted them.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from service.journal.requests import CHUNK, COLUMNS, Requests, in_order, read_kept
from service.journal.rows import Kept

Place = tuple[int, int, int]  # day, number of the request, row


class Store(Requests):
    """Requests and labels."""

    def lock(self, model: int) -> None:
        """See that nobody else counts labels of a model until the transaction ends."""
        self.db.lock(model)

    def add_labels(self, labels: Iterable[tuple[int, int, int, int, int, int | None]]) -> None:
        """Write labels that are new: day, request, row, class, when it was known, and its number if it was counted."""
        by_day: dict[int, list[tuple[Any, ...]]] = {}
        for day, *values in labels:
            by_day.setdefault(day, []).append(tuple(values))
        for day, rows in by_day.items():
            self.db.add_rows(f"labels_{day}", "seq, row, label, labelled_ns, number", rows)

    def labelled(self, day: int, numbers: Sequence[int]) -> list[tuple[int, int, int, int]]:
        """The labels of requests of a day: request, row, class, and when it was known."""
        found: list[tuple[int, int, int, int]] = []
        for at in range(0, len(numbers), CHUNK):
            condition, values = self.db.among("seq", numbers[at : at + CHUNK])
            statement = f"SELECT seq, row, label, labelled_ns FROM labels_{day} WHERE {condition}"  # noqa: S608 - a number
            found += self.db.rows(statement, values)
        return found

    def label(self, place: Place) -> tuple[int, int, int | None]:
        """The class of a row, when it was known, and its number."""
        day, seq, row = place
        statement = f"SELECT label, labelled_ns, number FROM labels_{day} WHERE seq = ? AND row = ?"  # noqa: S608 - as above
        ((label, labelled_ns, number),) = self.db.rows(statement, (seq, row))
        return label, labelled_ns, number

    def replace_label(self, place: Place, label: int) -> None:
        """Take another class for a row."""
        day, seq, row = place
        self.db.run(f"UPDATE labels_{day} SET label = ? WHERE seq = ? AND row = ?", (label, seq, row))  # noqa: S608 - as above

    def number_labels(self, numbers: Iterable[tuple[int | None, int, int, int]]) -> None:
        """Say which numbers labels were counted under: number, day, request, row."""
        by_day: dict[int, list[tuple[Any, ...]]] = {}
        for number, day, seq, row in numbers:
            by_day.setdefault(day, []).append((number, seq, row))
        for day, rows in by_day.items():
            self.db.run_many(f"UPDATE labels_{day} SET number = ? WHERE seq = ? AND row = ?", rows)  # noqa: S608 - as above

    # --- labels that wait for their answers to be read

    def put_off(
        self, key: bytes, row: int, label: str, labelled_ns: int, received_ns: int, *, replace: bool = False
    ) -> None:
        """Keep a label for later; where one for the same row waits already, that one unless it shall be replaced."""
        change = "UPDATE SET label = excluded.label, labelled_ns = excluded.labelled_ns" if replace else "NOTHING"
        statement = f"INSERT INTO pending VALUES (?, ?, ?, ?, ?) ON CONFLICT (key, row) DO {change}"  # noqa: S608 - one of two
        self.db.run(statement, (key, row, label, labelled_ns, received_ns))

    def pending(self, keys: Sequence[bytes]) -> list[tuple[bytes, int, str, int]]:
        """The labels that wait for answers of these ids: id, row, label and when it was known."""
        found: list[tuple[bytes, int, str, int]] = []
        for at in range(0, len(keys), CHUNK):
            condition, values = self.db.among("key", keys[at : at + CHUNK])
            rows = self.db.rows(f"SELECT key, row, label, labelled_ns FROM pending WHERE {condition}", values)  # noqa: S608 - as above
            found += [(bytes(key), row, label, labelled_ns) for key, row, label, labelled_ns in rows]
        return found

    def answered(self) -> list[bytes]:
        """The ids of labels that wait although their answers were read, by another host."""
        found: set[bytes] = set()
        for day in self.days:
            rows = self.db.rows(f"SELECT key FROM pending WHERE {self.index.holds(day, 'pending.key')}")  # noqa: S608 - as above
            found.update(bytes(key) for (key,) in rows)
        return sorted(found)

    def n_pending(self) -> int:
        return int(self.db.rows("SELECT count(*) FROM pending")[0][0])

    def drop_pending(self, keys: Iterable[bytes]) -> None:
        """Forget what waits under these ids."""
        self.db.run_many("DELETE FROM pending WHERE key = ?", ((key,) for key in keys))

    def expire(self, before_ns: int) -> int:
        """Give up on labels that came before that; returns how many."""
        return self.db.run("DELETE FROM pending WHERE received_ns < ?", (before_ns,))

    # --- what was counted

    def state(self, model: int) -> tuple[int, str | None]:
        """How many labels a model's monitor has counted, and its state."""
        ((counted, state),) = self.db.rows("SELECT counted, state FROM models WHERE id = ?", (model,))
        return int(counted), state

    def set_state(self, model: int, counted: int, state: str) -> None:
        self.db.run("UPDATE models SET counted = ?, state = ? WHERE id = ?", (counted, state, model))

    def refit(self, model: int) -> str | None:
        """The state of a model's refit."""
        found = self.db.rows("SELECT state FROM refits WHERE model = ?", (model,))
        return found[0][0] if found else None

    def set_refit(self, model: int, state: str) -> None:
        statement = "INSERT INTO refits VALUES (?, ?) ON CONFLICT (model) DO UPDATE SET state = excluded.state"
        self.db.run(statement, (model, state))

    def counted_rows(self, model: int, start: int, most: int) -> list[tuple[bytes, int, int, int]]:
        """The newest plain rows whose labels were counted from number `start` on, newest first.

        Log-probabilities of all rows of the request, how many those are, which row, and its class.
        """
        found: list[tuple[bytes, int, int, int]] = []
        for day in sorted(self.days, key=in_order, reverse=True):
            statement = (
                f"SELECT r.log_p, r.n, l.row, l.label FROM labels_{day} l JOIN requests_{day} r ON l.seq = r.seq "  # noqa: S608 - as above
                "WHERE r.model = ? AND l.number >= ? AND r.apart = 0 AND r.log_p IS NOT NULL "
                "ORDER BY l.number DESC LIMIT ?"
            )
            rows = self.db.rows(statement, (model, start, most - len(found)))
            found += [(bytes(log_p), n, row, label) for log_p, n, row, label in rows]
        return found

    def keeps_logits(self, model: int) -> bool:
        """Whether the newest answer of a model has its log-probabilities, from which alone a refit can be fitted."""
        for day in sorted(self.days, key=in_order, reverse=True):
            statement = f"SELECT log_p IS NOT NULL FROM requests_{day} WHERE model = ? ORDER BY seq DESC LIMIT 1"  # noqa: S608 - as above
            if found := self.db.rows(statement, (model,)):
                return bool(found[0][0])
        return True

    def coverage(self, model: int, from_ns: int, to_ns: int) -> tuple[int, int]:
        """Rows of a model that were answered from then to then, and how many of them have a label."""
        rows = labels = 0
        between = "r.model = ? AND r.at_ns BETWEEN ? AND ?"
        for day in self.days:
            answered = f"SELECT coalesce(sum(r.n), 0) FROM requests_{day} r WHERE {between}"  # noqa: S608 - as above
            labelled = f"SELECT count(*) FROM labels_{day} l JOIN requests_{day} r ON l.seq = r.seq WHERE {between}"  # noqa: S608 - as above
            rows += int(self.db.rows(answered, (model, from_ns, to_ns))[0][0])
            labels += int(self.db.rows(labelled, (model, from_ns, to_ns))[0][0])
        return rows, labels

    def matured(self, model: int, until_ns: int, most: int) -> list[Kept]:
        """The next answers of a model that are as old as that, and have not had their turn yet."""
        ((day, seq),) = self.db.rows("SELECT matured_day, matured_seq FROM models WHERE id = ?", (model,))
        found: list[Kept] = []
        for one in sorted(self.days, key=in_order):
            if in_order(one) < in_order(day):
                continue
            statement = f"SELECT seq, {COLUMNS} FROM requests_{one} WHERE model = ? AND seq > ? ORDER BY seq LIMIT ?"  # noqa: S608 - as above
            for row in self.db.rows(statement, (model, seq if one == day else 0, most - len(found))):
                kept = read_kept(one, row)
                if kept.at_ns > until_ns:  # those behind it wait with it: they have their order
                    return found
                found.append(kept)
            if len(found) == most:
                break
        return found

    def waiting(self) -> dict[int, int]:
        """How many labels of each model have an answer that has not had its turn yet."""
        found: dict[int, int] = {}
        turns = self.db.rows("SELECT id, matured_day, matured_seq FROM models")
        for model, matured_day, matured_seq in turns:
            for day in self.days:
                if in_order(day) >= in_order(matured_day):
                    statement = (
                        f"SELECT count(*) FROM labels_{day} l JOIN requests_{day} r ON l.seq = r.seq "  # noqa: S608 - as above
                        "WHERE r.model = ? AND l.seq > ?"
                    )
                    after = matured_seq if day == matured_day else 0
                    found[model] = found.get(model, 0) + int(self.db.rows(statement, (model, after))[0][0])
        return found

    def set_matured(self, model: int, day: int, seq: int) -> None:
        self.db.run("UPDATE models SET matured_day = ?, matured_seq = ? WHERE id = ?", (day, seq, model))
