"""Turns of the loop: work that holds it for milliseconds, one piece at a time, and requests that start, some a turn."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

clock = time.perf_counter
SMOOTHING: Final = 0.1  # the weight of the last piece
# So many turns of the loop take a small request from its bytes to its answer, over ASGI, the longer of the two ways.
N_TURNS: Final = 5
OTHERS_S: Final = 0.02  # that others get between two pieces where there is no end of them, but for one turn of the loop
N_STARTS: Final = 64  # requests that start in a turn of the loop: some milliseconds over ASGI


class Turns:
    """Work that holds the loop for milliseconds: one piece a turn of the loop, and small requests get between.

    A request has two pieces, to decode it and to encode its answer. Whoever is near the end goes first: else answers
    would wait behind all that was taken in meanwhile, and be late.
    """

    def __init__(self) -> None:
        self.decoding: deque[Callable[[], None]] = deque()
        self.encoding: deque[Callable[[], None]] = deque()
        # Bodies that were let in lately: half of them are taken to be there with each piece, and while there is none to
        # do with each turn of the loop, in which many heads may be read. So nobody waits long for who is slow.
        self.n_coming = 0
        self.busy = False
        self.piece_s = 0.0  # from a piece to the next, with all that gets between, smoothed
        self.began = 0.0

    def __repr__(self) -> str:
        return f"<Turns {len(self.decoding)} to decode, {len(self.encoding)} to encode>"

    @property
    def expected_wait_s(self) -> float:
        """How long all that waits, and what is on its way, is expected to take until it is answered, seconds."""
        return (2 * (self.n_coming + len(self.decoding)) + len(self.encoding)) * self.piece_s

    def expect(self) -> None:
        """A body is let in, and comes."""
        self.n_coming += 1
        if self.n_coming == 1 and not self.busy:
            asyncio.get_running_loop().call_soon(self.forget)

    def forget(self) -> None:
        """Count fewer of those that come, and in the end none, unless pieces are done."""
        if not self.busy:
            self.n_coming //= 2
            if self.n_coming:
                asyncio.get_running_loop().call_soon(self.forget)

    def decode(self, work: Callable[[], None]) -> None:
        """Do `work`, which decodes, when its turn comes; it raises nothing."""
        self.decoding.append(work)
        self.go_on()

    def encode(self, work: Callable[[], None]) -> None:
        """Do `work`, which encodes, when its turn comes; it raises nothing."""
        self.encoding.append(work)
        self.go_on()

    def go_on(self) -> None:
        """See that pieces are done."""
        if not self.busy:
            self.busy = True
            self.began = clock()
            asyncio.get_running_loop().call_soon(self.let_others)

    def let_others(self, n_turns: int = N_TURNS - 1) -> None:
        """Come back after whatever the loop finds ready now, and what that leads to, within bounds."""
        if n_turns and clock() - self.began < OTHERS_S:
            asyncio.get_running_loop().call_soon(self.let_others, n_turns - 1)
        else:
            self.next()

    def next(self) -> None:
        """Do one piece, and let others before the next."""
        work = (self.encoding or self.decoding).popleft()
        try:
            work()
        finally:
            now = clock()
            self.piece_s += SMOOTHING * (now - self.began - self.piece_s)
            self.began = now
            self.busy = bool(self.encoding or self.decoding)
            if self.busy:
                self.n_coming //= 2
                asyncio.get_running_loop().call_soon(self.let_others)
            else:
                self.forget()


class Starts:
    """Requests that start, so many a turn of the loop: what comes meanwhile is read between, and may be refused."""

    def __init__(self) -> None:
        self.waiting: deque[Callable[[], None]] = deque()
        self.n_left = N_STARTS  # of this turn

    def __repr__(self) -> str:
        return f"<Starts {len(self.waiting)} wait>"

    def start(self, work: Callable[[], None]) -> None:
        """Do `work` in this turn or, after those that wait, in one to come; it raises nothing."""
        if self.n_left == N_STARTS:
            asyncio.get_running_loop().call_soon(self.renew)
        if self.n_left:
            self.n_left -= 1
            work()
        else:
            self.waiting.append(work)

    def renew(self) -> None:
        """A turn is over: those that wait are first in the next."""
        self.n_left = N_STARTS
        while self.waiting and self.n_left:
            self.n_left -= 1
            self.waiting.popleft()()
        if self.n_left < N_STARTS:
            asyncio.get_running_loop().call_soon(self.renew)
