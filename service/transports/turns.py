"""Turns: work that holds the loop for milliseconds, one piece at a time."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

clock = time.perf_counter
SMOOTHING: Final = 0.2  # the weight of the last piece
# So many turns of the loop take a small request from its bytes to its answer, over ASGI, the longer of the two ways.
N_TURNS: Final = 5


class Turns:
    """Work that holds the loop for milliseconds: one piece a turn of the loop, and small requests get between."""

    def __init__(self) -> None:
        self.waiting: deque[Callable[[], None]] = deque()
        self.piece_s = 0.0  # from a piece to the next, with all that gets between, smoothed
        self.began = 0.0

    @property
    def expected_wait_s(self) -> float:
        """How long what comes now is expected to wait for its turn, seconds."""
        return len(self.waiting) * self.piece_s

    def take(self, work: Callable[[], None]) -> None:
        """Do `work` when its turn comes; it raises nothing."""
        self.waiting.append(work)
        if len(self.waiting) == 1:
            self.began = clock()
            self.let_others()

    def let_others(self, n_turns: int = N_TURNS) -> None:
        """Come back after whatever the loop finds ready now, and what that leads to."""
        if n_turns:
            asyncio.get_running_loop().call_soon(self.let_others, n_turns - 1)
        else:
            self.next()

    def next(self) -> None:
        """Do one piece, and let others before the next."""
        try:
            self.waiting[0]()
        finally:
            self.waiting.popleft()
            now = clock()
            self.piece_s += SMOOTHING * (now - self.began - self.piece_s)
            self.began = now
            if self.waiting:
                self.let_others()
