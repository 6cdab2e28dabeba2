"""Turns: work that holds the loop for milliseconds, one piece at a time."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

# So many turns of the loop take a small request from its bytes to its answer, over ASGI, the longer of the two ways.
N_TURNS: Final = 5


class Turns:
    """Work that holds the loop for milliseconds: one piece a turn of the loop, and small requests get between."""

    def __init__(self) -> None:
        self.waiting: deque[Callable[[], None]] = deque()

    def take(self, work: Callable[[], None]) -> None:
        """Do `work` when its turn comes; it raises nothing."""
        self.waiting.append(work)
        if len(self.waiting) == 1:
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
            if self.waiting:
                self.let_others()
