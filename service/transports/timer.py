"""The timer of a connection: one that is armed seldom, however often what it waits for changes."""

import asyncio
import math
from collections.abc import Callable


class Timer:
    """Calls `expire` when the time that was set last is over."""

    __slots__ = ("at", "expire", "handle", "loop", "until")

    def __init__(self, loop: asyncio.AbstractEventLoop, expire: Callable[[], None]) -> None:
        self.loop = loop
        self.expire = expire
        self.until = math.inf  # of the loop's clock; infinite while nothing is waited for
        self.at = math.inf  # when the handle calls, never later than `until`
        self.handle: asyncio.TimerHandle | None = None

    @property
    def runs(self) -> bool:
        """Whether something is waited for."""
        return self.until < math.inf

    def set(self, timeout_s: float) -> None:
        """Wait for so many seconds from now, whatever was waited for before."""
        self.until = self.loop.time() + timeout_s
        if self.until < self.at:
            self.arm(timeout_s)

    def stop(self) -> None:
        """Wait for nothing; the handle stays, and will find so."""
        self.until = math.inf

    def arm(self, delay_s: float) -> None:
        if self.handle is not None:
            self.handle.cancel()
        self.at = self.loop.time() + delay_s
        self.handle = self.loop.call_later(delay_s, self.check)

    def check(self) -> None:
        """Expire if the time is over, else wait for what is left of it."""
        self.handle, self.at = None, math.inf
        if self.until == math.inf:
            return
        left_s = self.until - self.loop.time()
        if left_s > 0:
            self.arm(left_s)
        else:
            self.until = math.inf
            self.expire()

    def cancel(self) -> None:
        """Let go of a connection that is gone: in a cycle it would live on, with what it has read, until collected."""
        self.expire = do_nothing
        if self.handle is not None:
            self.handle.cancel()


def do_nothing() -> None:
    pass
