"""How many rows a second a key may ask for: a token bucket each, which all processes behind the port share.

A bucket is one number: the moment at which all rows that were asked for are paid for, at the rate of the key. Whoever
is less than a second behind may ask; so one request may be of any size, and is paid for before the next. Rows that are
refused before they run cost nothing.
"""

import fcntl
import math
import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from service.errors import InvalidKeys, RateExceeded

BURST_S: Final = 1.0  # what was not asked for is kept for so long
MAX_BUCKETS: Final = 2**14
WORD: Final = 8  # bytes

clock = time.monotonic  # the same one in all processes


class Buckets:
    """The buckets of all keys that have a rate, found by the beginning of the key's digest."""

    def __init__(self, folder: Path | None = None) -> None:
        """Share a file in the folder with the other processes, or be the only one."""
        n_bytes = 2 * MAX_BUCKETS * WORD
        self.file = -1
        if folder is not None:
            self.file = os.open(folder / "rates", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.ftruncate(self.file, n_bytes)
        memory = memoryview(mmap.mmap(self.file, n_bytes))
        self.names = memory[: MAX_BUCKETS * WORD].cast("Q")
        self.paid_at = memory[MAX_BUCKETS * WORD :].cast("d")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep the other processes out."""
        if self.file < 0:
            yield
            return
        fcntl.flock(self.file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self.file, fcntl.LOCK_UN)

    def find(self, digest: bytes) -> int:
        """The bucket of a key, the same one in every process.

        Raises:
            InvalidKeys: there are too many.
        """
        name = int.from_bytes(digest[:WORD], "little") or 1
        with self.lock():
            for i in range(name, name + MAX_BUCKETS):
                if self.names[i % MAX_BUCKETS] in (0, name):
                    self.names[i % MAX_BUCKETS] = name
                    return i % MAX_BUCKETS
        raise InvalidKeys(f"more than {MAX_BUCKETS} keys have had a rate; expected fewer, or a restart")


class Rate:
    """The rate of a key, in rows a second."""

    __slots__ = ("bucket", "buckets", "name", "rows_per_s")

    def __init__(self, name: str, rows_per_s: float, buckets: Buckets, digest: bytes) -> None:
        self.name = name
        self.rows_per_s = rows_per_s
        self.buckets = buckets
        self.bucket = buckets.find(digest)

    def error(self) -> RateExceeded | None:
        """The error for a key that has to wait."""
        wait_s = self.buckets.paid_at[self.bucket] - clock() - BURST_S
        if wait_s < 0:
            return None
        wait_s = max(1, math.ceil(wait_s))
        return RateExceeded(
            f"the key {self.name} asks for more than {self.rows_per_s:g} rows a second; try again in {wait_s} s",
            retry_after_s=wait_s,
        )

    def take(self, n_rows: int) -> None:
        """Ask for so many rows.

        Raises:
            RateExceeded: it has to wait; nothing is taken.
        """
        with self.buckets.lock():
            if error := self.error():
                raise error
            paid_at = self.buckets.paid_at
            paid_at[self.bucket] = max(paid_at[self.bucket], clock()) + n_rows / self.rows_per_s

    def give_back(self, n_rows: int) -> None:
        """Undo a `take` of so many rows, which were refused."""
        with self.buckets.lock():
            self.buckets.paid_at[self.bucket] -= n_rows / self.rows_per_s
