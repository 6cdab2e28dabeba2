"""Loads of model files into the service itself, each in a thread of its own that is not waited for beyond its time.

The file has passed its trial by then, in another process. One that does not come back here all the same must not keep
later files from being served, nor the process from its end.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol, TypeVar

from service.errors import HeadError

NOT_LOADED: Final = "passed its trial, and did not load in the service"
LOOKS: Final = 8  # within the time of a load: seconds for which the whole process stood still count as one look


class Stoppable(Protocol):
    """What a load makes, before its first run."""

    def stop(self, why: str, /) -> None:
        """End what runs as far as that can be done; called from any thread."""


Made = TypeVar("Made")
Begin = Callable[[Stoppable], None]  # what a load calls with what it makes, before the first run


class Load:
    """One load: done once it has ended, or once nobody waits for it any more."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.work = work
        self.error: BaseException | None = None
        self.has_ended = False
        self.done = threading.Event()
        self.begun: Stoppable | None = None
        self.stopped = ""

    def begin(self, begun: Stoppable) -> None:
        """Know what can be stopped; at once where that was wanted before."""
        self.begun = begun
        if self.stopped:
            begun.stop(self.stopped)

    def run(self) -> None:
        """Do the work, whatever comes of it."""
        try:
            self.work()
        except BaseException as error:  # raised anew by who waits
            self.error = error
        self.has_ended = True
        self.done.set()

    def stop(self, why: str) -> None:
        """End it as far as that can be done, and wait for it no more."""
        self.stopped = why
        if self.begun is not None:
            self.begun.stop(why)
        self.done.set()


class Loads:
    """Bounds the loads of one loader; 0 seconds bound nothing."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.running: set[Load] = set()
        self.is_closed = False

    def __repr__(self) -> str:
        return f"<Loads {len(self.running)} running>"

    def run(self, path: Path, make: Callable[[Begin], Made]) -> Made:
        """What `make(begin)` returns or raises.

        Raises:
            HeadError: it did not end in time, or the service stops.
        """
        if not self.timeout_s:
            return make(lambda _: None)
        made: list[Made] = []
        load = Load(lambda: made.append(make(load.begin)))
        self.running.add(load)
        threading.Thread(target=self.follow, args=(load,), name="calibrant-load", daemon=True).start()
        if self.is_closed or not any(load.done.wait(self.timeout_s / LOOKS) for _ in range(LOOKS)):
            load.stop(f"{NOT_LOADED} within {self.timeout_s:g} s")
        if load.has_ended:
            if load.error is not None:
                raise load.error
            return made[0]
        why = "was not loaded, as the service stops" if self.is_closed else f"{load.stopped} (--load-timeout-s)"
        raise HeadError(f"{path} {why}")

    def follow(self, load: Load) -> None:
        """Run a load to its end, whoever waits."""
        load.run()
        self.running.discard(load)

    def close(self) -> None:
        """Let nobody wait any more."""
        self.is_closed = True
        for load in list(self.running):
            load.stop("the service stops")
