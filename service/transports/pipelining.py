"""Requests behind an unfinished one of their connection: a few are parsed, and what is behind those stays bytes.

uvicorn parses all that was read before it pauses: 256 KB are 7,000 requests, of 17 MB.
"""

from abc import abstractmethod
from typing import Any, Final

from uvicorn.protocols.http.flow_control import FlowControl

from service.transports.connection import Connection

MAX_PIPELINED: Final = 8  # requests that wait for their turn, and those in the rest of a piece
PIECE: Final = 2**11  # bytes that are parsed at once: at most 75 requests


class Flow(FlowControl):
    """uvicorn's, but it reads no further while bytes are kept: uvicorn resumes with every answer and every body."""

    keeps = False

    def resume_reading(self) -> None:
        """Read on, unless bytes are kept."""
        if not self.keeps:
            super().resume_reading()


class Pipelining(Connection):
    """A connection whose requests wait for one another."""

    __slots__ = ("unread",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.unread = b""  # bytes that are parsed once fewer requests wait; the budget has them

    def connection_made(self, transport: Any) -> None:
        """Let it in, unless there are too many."""
        super().connection_made(transport)
        self.flow = Flow(transport)

    @property
    @abstractmethod
    def reads_body(self) -> bool:
        """Whether a body arrives."""

    @property
    @abstractmethod
    def n_expected(self) -> int:
        """Bytes of it that are announced and have not come."""

    @abstractmethod
    def read_on(self) -> None:
        """Parse what is kept, as far as may be."""

    def feed_pieces(self, data: bytes) -> None:
        """Parse what is kept and what has come, as long as few requests wait and the client reads its answers."""
        data = self.unread + data
        self.keep(b"")
        start = 0
        while start < len(data) and not self.transport.is_closing():
            if len(self.pipeline) >= MAX_PIPELINED or (self.flow.write_paused and not self.reads_body):
                self.keep(data[start:])
                return
            stop = start + max(PIECE, self.n_expected)
            self.feed(data[start:stop])
            start = stop
        if not self.pipeline and not self.transport.is_closing():
            self.flow.resume_reading()

    @abstractmethod
    def feed(self, data: bytes) -> None:
        """Parse a piece."""

    def keep(self, rest: bytes) -> None:
        """Keep bytes in the place of those that were kept; the client waits with more."""
        budget = self.dispatcher.budget
        n_before, self.unread = len(self.unread), rest
        if isinstance(self.flow, Flow):
            self.flow.keeps = bool(rest)
        if rest:
            budget.hold(len(rest))
            self.flow.pause_reading()
        if n_before:
            budget.give(n_before)

    def on_response_complete(self) -> None:
        """A request is answered: others may be parsed."""
        super().on_response_complete()
        if self.unread:
            self.read_on()

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        if self.unread and not self.transport.is_closing():
            self.read_on()

    def forget_cycles(self) -> None:
        """Nobody waits for what is kept, either."""
        super().forget_cycles()
        self.keep(b"")
