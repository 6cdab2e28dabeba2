"""The life of a connection, as uvicorn has it: let in, written to, closed; with bounds for how many and how slow.

It knows of no bytes that arrive: `ordinary.py` reads.
"""

from abc import abstractmethod
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.errors import AnsweredError
from service.transports.asgi import LINE, REFUSAL, Dispatcher
from service.transports.budget import ARRIVAL_COST, METERED_FROM
from service.transports.limits import SURPLUS_S, WINDOW_S
from service.transports.places import Places
from service.transports.timer import Timer


class Connection(HttpToolsProtocol):
    """A connection, from its first moment to its last.

    The attributes are slots, here and in what extends it, to be found sooner: uvicorn's own fill the 30 places up to
    which CPython keeps those of an instance together. 3 % of 1x10.
    """

    __slots__ = (
        "arriving",
        "dispatcher",
        "leaving",
        "limits",
        "n_unsent",
        "places",
        "running",
        "send_timer",
        "surplus",
        "timer",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        dispatcher = self.config.app
        assert isinstance(dispatcher, Dispatcher)  # noqa: S101 - the server was wired wrongly otherwise
        self.dispatcher = dispatcher
        self.limits = dispatcher.limits
        self.arriving = 0  # bytes of the budget, for bodies on their way
        self.leaving = 0  # and for answers that wait for their reader
        self.running: Any = None  # uvicorn's cycle that is being answered; `self.cycle` may be of a request behind it
        self.surplus: AnsweredError | None = None  # there are too many: this one may only ask whether the process lives
        self.places: Places | None = None  # where it is counted
        self.n_unsent = 0  # bytes that wait for a client that does not read
        self.timer = Timer(self.loop, self.expire)
        self.send_timer = Timer(self.loop, self.check_reader)

    @abstractmethod
    def expire(self) -> None:
        """What was waited for has not come."""

    @abstractmethod
    def refuse(self, error: AnsweredError) -> None:
        """Answer with an error, and read nothing more."""

    def connection_made(self, transport: Any) -> None:
        """Let it in, unless there are too many."""
        super().connection_made(transport)
        self.places, self.surplus = self.dispatcher.connections.enter(self.address)
        if self.places is None:
            transport.abort()
        else:
            self.timer.set(self.timeout_keep_alive if self.surplus is None else SURPLUS_S)

    @property
    def address(self) -> str:
        """The client's, without the port."""
        return self.client[0] if self.client else ""

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        super().connection_lost(exc)
        self.forget_cycles()
        self.release()
        self.release_leaving()
        if self.places is not None:
            self.places.leave(self.address)
        self.timer.cancel()
        self.send_timer.cancel()

    def close(self) -> None:
        """Close the connection once the client has read what is written, and in time whatever it does."""
        if self.transport.get_write_buffer_size():
            self.timer.set(WINDOW_S)
        self.transport.close()

    def timeout_keep_alive_handler(self) -> None:
        """The connection has rested for long enough."""
        if not self.transport.is_closing():
            self.close()

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        self.n_unsent = self.leaving = self.transport.get_write_buffer_size()
        self.dispatcher.budget.hold(self.leaving)
        self.send_timer.set(WINDOW_S)

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        self.send_timer.stop()
        self.release_leaving()

    def check_reader(self) -> None:
        """Cut off a client that reads too slowly."""
        n_unsent = self.transport.get_write_buffer_size()
        if self.n_unsent - n_unsent < self.limits.min_bytes_per_s * WINDOW_S:
            self.cut_off()
        else:
            self.n_unsent = n_unsent
            self.send_timer.set(WINDOW_S)

    def reserve(self, n_bytes: int) -> None:
        """Have room for so many bytes that arrive.

        Raises:
            QueueFull: there is none now.
            BodyTooLarge: there never is.
        """
        if n_bytes >= METERED_FROM:
            self.dispatcher.budget.take_arriving(ARRIVAL_COST * n_bytes)
            self.arriving += ARRIVAL_COST * n_bytes

    def release_leaving(self) -> None:
        """Give the room for what has left back."""
        n_bytes, self.leaving = self.leaving, 0
        self.dispatcher.budget.give(n_bytes)

    def release(self) -> None:
        """Give the room for what has arrived back."""
        n_bytes, self.arriving = self.arriving, 0
        self.dispatcher.budget.arriving -= n_bytes
        self.dispatcher.budget.give(n_bytes)

    def busy(self) -> bool:
        """Whether an answer is owed."""
        cycle: Any = self.cycle
        return cycle is not None and not cycle.response_complete

    def on_response_complete(self) -> None:
        """A request of uvicorn's own is answered."""
        super().on_response_complete()
        if not self.pipeline:
            self.release()
        if self.transport.is_closing() and self.transport.get_write_buffer_size():
            self.timer.set(WINDOW_S)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self.running = cycle
        if REFUSAL in cycle.scope and cycle is self.cycle and not self.transport.get_write_buffer_size():
            run_through(cycle.run_asgi(app))  # a task would have its turn after all that can be read now
        else:
            self.dispatcher.starts.start(partial(super()._start_asgi_task, cycle, app))

    def cut_off(self) -> None:
        """Close the connection, whatever is under way on it."""
        self.forget_cycles()
        self.transport.abort()

    def forget_cycles(self) -> None:
        """Tell the application that the client has gone; uvicorn tells the last of several cycles only."""
        if self.dispatcher.access_log:
            for cycle in (self.running, *[waiting for waiting, _ in self.pipeline]):
                if cycle is not None and not cycle.response_complete and LINE in cycle.scope:
                    cycle.scope[LINE].write()
        self.pipeline.clear()
        for cycle in (self.running, self.cycle):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self.running = None


def run_through(answer: Coroutine[Any, Any, None]) -> None:
    """Run what waits for nothing to its end: an answer that is short, to where nothing waits to be written."""
    with suppress(StopIteration):
        answer.send(None)
