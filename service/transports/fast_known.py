"""The fast transport with a memory: parser and gate are skipped where known headers come again. See `known.py`."""

from typing import Any

from service.transports.fast import FastProtocol
from service.transports.known import Known
from service.transports.ordinary import BODY, REST


class KnownProtocol(FastProtocol):
    """A connection."""

    __slots__ = ("known", "n_came", "n_missing", "section")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.known = self.dispatcher.known
        self.section = b""  # the headers of the message that the parser reads, if they came whole
        self.n_came = 0  # bytes behind them
        self.n_missing = 0  # of a body behind headers that are known

    def data_received(self, data: bytes) -> None:
        """Read a request without the parser where its headers are known, else let that read."""
        if self.n_missing:
            self.read_rest(data)
            return
        if self.phase:
            self.n_came += len(data)
            super().data_received(data)
            self.remember()
            return
        if self.surplus is None and not self.busy() and not self.unread:
            self._unset_keepalive_if_required()  # uvicorn's own timer, after a request of its own
            n_missing = self.known.begin(self.own_cycle, data)
            if n_missing == 0:
                return
            if n_missing > 0:
                body = data[data.index(b"\r\n\r\n") + 4 :]
                self.parts, self.n_missing = [body], n_missing
                self.phase, self.n_body = BODY, len(body)
                self.await_body()
                return
        end = data.find(b"\r\n\r\n") + 4
        self.mine = False
        self.section, self.n_came = data[:end], len(data) - end
        super().data_received(data)
        self.remember()

    def has_room(self, known: Known) -> bool:
        """Have room for a body that is still to come; without, the way through the parser says so."""
        self.url, self.n_announced = known.url, known.n_bytes
        return self.reserve_error() is None

    def read_rest(self, data: bytes) -> None:
        """Read more of the body behind headers that are known; what is behind that is another request."""
        n = self.n_missing
        self.n_missing = max(0, n - len(data))
        self.n_body += len(data)
        self.parts.append(data[:n])
        if not self.n_missing:
            self.phase = REST
            self.timer.stop()
            parts, self.parts = self.parts, []
            self.own_cycle.hand_over(b"".join(parts))
            if len(data) > n:
                self.data_received(data[n:])

    def remember(self) -> None:
        """Keep the headers, if they and as many bytes as came behind them were one whole message for this transport."""
        whole = self.phase == REST and self.mine and self.n_body == self.n_came
        cycle = self.own_cycle
        if whole and cycle.keep_alive and cycle.error is None and cycle.target is not None:
            self.known.remember(self.section, Known(cycle.target, self.url, self.headers, self.n_body, cycle.key))

    def forget_cycles(self) -> None:
        """No more of a body is read, either."""
        super().forget_cycles()
        self.n_missing = 0
