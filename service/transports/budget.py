"""The memory that requests may take: who takes a body in, decodes it or keeps an answer holds a part of it.

Measured as peaks over all endpoints and encodings: a body on its way takes 2 bytes a byte, its parts and the whole;
while it is decoded, run and encoded, JSON of short numbers takes up to 41 bytes a byte, and a number, however it came,
up to 83. Of JSON that is no rows of numbers, lists within each other take most, 50 bytes a byte, 100 for each.
"""

import asyncio
from typing import Final

from service import memory
from service.errors import AnsweredError, BodyTooLarge, QueueFull

METERED_FROM: Final = 4096  # bytes of a body; smaller ones are bounded by the queue and the number of connections
ARRIVAL_COST: Final = 2  # bytes a byte of a body that arrives
JSON_COST: Final = 60  # bytes a byte of JSON, whatever it holds
NUMBER_COST: Final = 90  # bytes a number, a list for every eight of them included
LIST_COST: Final = 136  # bytes a further list
OBJECT_COST: Final = 80  # bytes an object, without its keys
KEY_COST: Final = 264  # bytes a key
QUOTE_COST: Final = 8  # bytes a quote, two a string
SHORT: Final = 16  # bytes of a string for which `NUMBER_COST` is enough, a quarter with escapes or beyond ASCII
TEXT_COST: Final = 6  # bytes a byte beyond twice as many, of strings and numbers
WIDE_COST: Final = 6  # further bytes a byte of text that may have characters of four bytes
UNPACKING_COST: Final = 2  # bytes a byte that a body may unpack to: the parts, and the whole
FOR_REQUESTS: Final = 0.75  # of what is free at the start
LEAST: Final = 32 * 2**20
SMALL: Final = 2**20  # bytes; the last quarter is for what takes no more
LARGE_SHARE: Final = 0.75
ARRIVING_SHARE: Final = 0.5
MUCH: Final = 32 * 2**20  # bytes that were taken at once, after which free memory is given back
REST_S: Final = 1.0  # after the last of many requests
OPTION: Final = "(--max-request-memory-mb)"


def json_cost(body: bytes) -> int:
    """What a JSON body takes at most, by what it can hold; counting takes a millisecond or two a MB.

    Marks within strings count as others do. Rows of numbers cost what their numbers do.
    """
    values = body.count(b",") + 1
    lists = max(0, body.count(b"[") - (values + 7) // 8)
    cost = NUMBER_COST * values + LIST_COST * lists + OBJECT_COST * body.count(b"{") + KEY_COST * body.count(b":")
    quotes, is_ascii = body.count(b'"'), body.isascii()
    cost += QUOTE_COST * quotes
    is_plain = is_ascii and b"\\" not in body
    if (longer := len(body) - (SHORT if is_plain else SHORT // 4) * values) > 0:
        cost += min(8 * longer, 2 * SHORT * quotes)
        cost += (TEXT_COST if is_plain else TEXT_COST + WIDE_COST) * max(0, len(body) - 2 * SHORT * values)
    return cost if is_ascii else cost + WIDE_COST * len(body)


def in_mb(n_bytes: int) -> str:
    """Bytes in words."""
    mb = n_bytes / 2**20
    return f"{mb:.{0 if mb >= 10 else 1}f} MB"


def derive_total(n_processes: int) -> int:
    """Bytes for the requests of this process, one of several, from what is free in its cgroup now."""
    free = memory.limit_bytes() / n_processes - memory.resident_bytes()
    return max(LEAST, int(FOR_REQUESTS * free))


class Budget:
    """Bytes for requests, and how many are taken; at most half by bodies that arrive, so that some can be run."""

    def __init__(self, total: int, rest_s: float = REST_S) -> None:
        self.total = total
        self.rest_s = rest_s
        self.taken = 0
        self.arriving = 0  # of those taken
        self.peak = 0

    def __repr__(self) -> str:
        return f"<Budget {self.taken} of {self.total} bytes taken>"

    def has(self, n_bytes: int) -> bool:
        """Whether there is room for so many bytes."""
        return self.taken + n_bytes <= (self.total if n_bytes <= SMALL else LARGE_SHARE * self.total)

    def take(self, n_bytes: int) -> None:
        """Take so many bytes; whoever takes them gives them back.

        Raises:
            BodyTooLarge: so many are never free.
            QueueFull: others have them.
        """
        if not self.has(n_bytes):
            raise self.error(n_bytes, LARGE_SHARE)
        self.hold(n_bytes)

    def take_arriving(self, n_bytes: int) -> None:
        """Take bytes for a body that arrives; raises as `take`."""
        if not self.has(n_bytes) or (n_bytes > SMALL and self.arriving + n_bytes > ARRIVING_SHARE * self.total):
            raise self.error(n_bytes, ARRIVING_SHARE)
        self.arriving += n_bytes
        self.hold(n_bytes)

    def hold(self, n_bytes: int) -> None:
        """Take bytes that are held already, whether there is room or not."""
        self.taken += n_bytes
        self.peak = max(self.peak, self.taken)

    def error(self, n_bytes: int, share: float) -> AnsweredError:
        """Why there is no room, where one request may take a share of all."""
        most = int(share * self.total)
        if n_bytes > most:
            return BodyTooLarge(
                f"the request may take {in_mb(n_bytes)} of memory, of {in_mb(most)} that one may take; expected a "
                f"smaller one {OPTION}"
            )
        return QueueFull(
            f"the memory for requests is taken, {in_mb(self.taken)} of {in_mb(self.total)}; "
            f"try again in a moment {OPTION}",
            code="memory_full",
        )

    def change(self, held: int, wanted: int) -> int:
        """Take or give what is between two numbers of bytes, and return the second; raises as `take`."""
        if wanted > held:
            self.take(wanted - held)
        elif wanted < held:
            self.give(held - wanted)
        return wanted

    def give(self, n_bytes: int) -> None:
        """Give bytes back; after many requests, the process gives its free memory back as well."""
        self.taken -= n_bytes
        if not self.taken and self.peak > MUCH:
            self.peak = 0
            asyncio.get_running_loop().call_later(self.rest_s, self.rest)

    def rest(self) -> None:
        """Give free memory back, unless there is more to do."""
        if self.taken:
            self.peak = max(self.peak, MUCH + 1)
        else:
            memory.give_back()
