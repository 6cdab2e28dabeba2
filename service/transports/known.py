"""Known headers: those that the parser has read and the gate has passed, remembered to the byte. For speed alone.

Clients send the same bytes before every body. When they come again, with a body of the same length, parser and gate
are skipped: with answers of single rows written once a batch, 18.6 -> 13.2 us a request at 1x10. `fast_known.py` uses
it; its plain twin is `fast.py`, which the same tests run on. What is remembered has passed the gate with its key, and
passes again as long as that key does.
"""

from typing import Final, NamedTuple

from service.transports.endpoints import Target
from service.transports.keys import Key

OF_ONE_REQUEST: Final = frozenset({b"x-request-id", b"traceparent"})
MAX_BYTES: Final = 1024  # of the header section of one request
MAX_ENTRIES: Final = 1024


class Known(NamedTuple):
    """What the parser and the gate made of a request's header section, and the length of the body behind it."""

    target: Target
    url: bytes
    headers: list[tuple[bytes, bytes]]
    n_bytes: int
    key: Key | None = None


class KnownHeaders:
    """The memory of one process: header section to what it means."""

    def __init__(self) -> None:
        self.entries: dict[bytes, Known] = {}
        self.get = self.entries.get

    def __repr__(self) -> str:
        return f"<KnownHeaders {len(self.entries)}>"

    def remember(self, section: bytes, known: Known) -> None:
        """Keep a section that will come again; one with an id or a trace of its own will not."""
        if len(section) <= MAX_BYTES and OF_ONE_REQUEST.isdisjoint(dict(known.headers)):
            if len(self.entries) == MAX_ENTRIES:
                self.entries.clear()
            self.entries[section] = known
