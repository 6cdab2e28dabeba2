"""The timer that closes a connection on which nothing happens: one a connection, not one a request."""

import asyncio
import math
from collections.abc import Callable


class IdleTimer:
    """Calls `close` once the connection has rested for `timeout_s` seconds."""

    __slots__ = ("close", "handle", "loop", "since", "timeout_s")

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout_s: float, close: Callable[[], None]) -> None:
        self.loop = loop
        self.timeout_s = timeout_s
        self.close = close
        self.since = math.inf  # of the loop's clock; infinite while something is under way
        self.handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Nothing is under way from now on."""
        self.since = self.loop.time()
        if self.handle is None:
            self.handle = self.loop.call_later(self.timeout_s, self.check)

    def stop(self) -> None:
        """Something is under way; the timer runs on, and will find so."""
        self.since = math.inf

    def check(self) -> None:
        """Close the connection if it has rested for long enough."""
        self.handle = None
        if self.since == math.inf:
            return
        left_s = self.since + self.timeout_s - self.loop.time()
        if left_s > 0:
            self.handle = self.loop.call_later(left_s, self.check)
        else:
            self.close()

    def cancel(self) -> None:
        """Let go of a connection that is gone: in a cycle it would live on, with what it has read, until collected."""
        self.close = do_nothing
        if self.handle is not None:
            self.handle.cancel()


def do_nothing() -> None:
    pass
