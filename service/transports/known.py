"""Known headers: those that the parser has read and the gate has passed, remembered to the byte. For speed alone.

Clients send the same bytes before every body. When they come again, with a body of the same length, parser and gate
are skipped: with answers of single rows written once a batch, 18.6 -> 13.2 us a request at 1x10. `fast_known.py` uses
it; its plain twin is `fast.py`, which the same tests run on. What is remembered has passed the gate with its key, and
passes again as long as that key does.
"""

from typing import Final

from service.transports.cycle import Cycle
from service.transports.endpoints import Target
from service.transports.gate import REQUEST_IDS, key_error
from service.transports.keys import Key
from service.transports.scopes import PREDICT_SCOPE

OF_ONE_REQUEST: Final = frozenset({b"x-request-id", b"traceparent"})
MAX_BYTES: Final = 1024  # of the header section of one request
MAX_ENTRIES: Final = 1024


class Known:
    """What the parser and the gate made of a request's header section, and the length of the body behind it."""

    __slots__ = ("headers", "key", "n_bytes", "target", "url")

    def __init__(
        self, target: Target, url: bytes, headers: list[tuple[bytes, bytes]], n_bytes: int, key: Key | None = None
    ) -> None:
        self.target = target
        self.url = url
        self.headers = headers
        self.n_bytes = n_bytes
        self.key = key


class KnownHeaders:
    """The memory of one process: header section to what it means."""

    def __init__(self) -> None:
        self.entries: dict[bytes, Known] = {}

    def __repr__(self) -> str:
        return f"<KnownHeaders {len(self.entries)}>"

    def begin(self, cycle: Cycle, data: bytes) -> int:
        """Take what has come on a connection that owes no answer, where it is a request whose headers are known.

        Returns how many bytes of its body are still to come: with none it is handed over; -1 where it is not taken.
        """
        end = len(cycle.section)
        known: Known | None = cycle.known
        if known is None or data[:end] != cycle.section:  # that it begins as the last one did is told sooner
            end = data.find(b"\r\n\r\n") + 4
            section = data[:end]
            known = self.entries.get(section)
            if known is None:
                return -1
            cycle.section, cycle.known = section, known
        n_missing = known.n_bytes - (len(data) - end)
        if n_missing < 0:
            return -1
        if known.key is not None and key_error(known.key, PREDICT_SCOPE):
            cycle.known = None  # its line in the file may have changed: then another is remembered in its place
            return -1
        if n_missing and not cycle.connection.has_room(known):
            return -1
        cycle.timer.stop()
        if cycle.max_requests:
            cycle.connection.n_requests += 1
        cycle.take(known.target, known.url, known.headers, REQUEST_IDS.new(), known.key, None, True)
        if n_missing == 0:
            cycle.hand_over(data[end:])
        return n_missing

    def remember(self, section: bytes, known: Known) -> None:
        """Keep a section that will come again; one with an id or a trace of its own will not."""
        if len(section) <= MAX_BYTES and OF_ONE_REQUEST.isdisjoint(dict(known.headers)):
            if len(self.entries) == MAX_ENTRIES:
                self.entries.clear()
            self.entries[section] = known
