"""The fast transport with a memory: parser and gate are skipped where known headers come again. See `known.py`."""

from typing import Any

from service.transports.budget import METERED_FROM
from service.transports.fast import FastProtocol
from service.transports.gate import key_error, new_request_id
from service.transports.known import Known
from service.transports.ordinary import BODY, REST
from service.transports.scopes import PREDICT_SCOPE


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
        end = data.find(b"\r\n\r\n") + 4
        section = data[:end]
        n_came = len(data) - end
        known = self.known.get(section)
        if known is not None and n_came <= known.n_bytes and not self.busy() and self.passes(known):
            self._unset_keepalive_if_required()  # uvicorn's own timer, after a request of its own
            self.timer.stop()
            self.n_requests += 1
            self.url, self.headers = known.url, known.headers
            self.take(known.target, new_request_id(), known.key, None, True)
            body = data[end:]
            if n_came == known.n_bytes:
                self.hand_over(body)
            else:
                self.parts, self.n_missing = [body], known.n_bytes - n_came
                self.phase, self.n_body = BODY, n_came
                self.await_body()
            return
        self.mine = False
        self.section, self.n_came = section, n_came
        super().data_received(data)
        self.remember()

    def passes(self, known: Known) -> bool:
        """Have its key accepted still, and room for its body; without, the way through the parser says so."""
        if self.surplus is not None:
            return False
        if known.key is not None and key_error(known.key, PREDICT_SCOPE):
            return False
        if known.n_bytes < METERED_FROM:
            return True
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
            self.hand_over(b"".join(parts))
            if len(data) > n:
                self.data_received(data[n:])

    def remember(self) -> None:
        """Keep the headers, if they and as many bytes as came behind them were one whole message for this transport."""
        whole = self.phase == REST and self.mine and self.n_body == self.n_came
        if whole and self.own_cycle.keep_alive and self.error is None:
            self.known.remember(self.section, Known(self.target, self.url, self.headers, self.n_body, self.key))

    def forget_cycles(self) -> None:
        """No more of a body is read, either."""
        super().forget_cycles()
        self.n_missing = 0
