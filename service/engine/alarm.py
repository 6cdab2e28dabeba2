"""The deadlines of all entries, behind one timer, which is armed for the first of them."""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final

from service.engine.entry import TOO_LATE, Entry
from service.errors import DeadlinePassed

clock = time.perf_counter
NEVER: Final = float("inf")


class Alarm:
    """Answers entries whose deadline passes. Use it from one event loop.

    Attributes:
        at: the moment for which it is set.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, unanswered: Callable[[], Iterable[Entry]]) -> None:
        """`unanswered()` gives the entries that wait or run."""
        self.loop = loop
        self.unanswered = unanswered
        self.at = NEVER
        self.timer: asyncio.TimerHandle | None = None

    def set(self, at: float) -> None:
        """Look for entries past their deadline at `at`, and no more at the moment set before."""
        self.cancel()
        self.at = at
        self.timer = self.loop.call_later(max(0.0, at - clock()), self.ring)

    def ring(self) -> None:
        """Answer the entries whose deadline has passed, and set the alarm for the next."""
        self.timer, self.at = None, NEVER
        now, following = clock(), NEVER
        for entry in self.unanswered():
            if entry.deadline <= now:
                entry.fail(DeadlinePassed(TOO_LATE))
            else:
                following = min(following, entry.deadline)
        if following < NEVER:
            self.set(following)

    def cancel(self) -> None:
        """Look for nothing any more."""
        if self.timer is not None:
            self.timer.cancel()
