"""The watch over runs: one that does not end is told to stop, and its head is given up.

The watch is a thread of its own, since it may be the loop that a run holds. It adds up, look by look, for how long it
has seen a run: seconds for which the whole process stood still, or by which a clock jumped, count for nobody.
"""

import logging
import os
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from service.engine.runner import Runner

logger = logging.getLogger(__name__)

LOOKS: Final = 4  # within the least time that a run is given
MAX_LOOP_S: Final = 10.0  # on the loop, where a run is expected to take less than a millisecond and holds everybody
EXIT_CODE: Final = 1
Run = tuple[Runner]  # one that is under way, told from others by its identity
Answer = TypeVar("Answer")


class Watchdog:
    """Knows the runs that are under way.

    Attributes:
        on_loop: the run on the loop, or none; whoever runs there sets it.
        in_threads: the runs in threads; in the end, those that never returned.
    """

    def __init__(self, timeout_s: float, give_up: Callable[[Runner], None]) -> None:
        """Call `give_up(runner)`, from a thread, where a run takes longer than `timeout_s`; 0 watches nothing."""
        self.timeout_s = timeout_s
        self.give_up = give_up
        self.on_loop: Run | None = None
        self.in_threads: dict[int, Run] = {}
        self.seen: dict[int, tuple[Run, float]] = {}  # by identity, with the seconds; it keeps them, and their identity
        self.closed = threading.Event()
        if timeout_s:
            threading.Thread(target=self.watch, name="calibrant-watchdog", daemon=True).start()

    def __repr__(self) -> str:
        return f"<Watchdog {len(self.in_threads)} runs in threads>"

    def run(self, runner: Runner, work: Callable[[], Answer]) -> Answer:
        """Do the work of `runner`, in a thread, under the watch."""
        run = (runner,)
        self.in_threads[id(run)] = run
        try:
            return work()
        finally:
            del self.in_threads[id(run)]

    def holds(self, runner: Runner) -> bool:
        """Whether a run of it is in a thread."""
        return any(of is runner for (of,) in list(self.in_threads.values()))

    def shorten(self, timeout_s: float) -> None:
        """Give no run more than `timeout_s` from now on."""
        self.timeout_s = min(self.timeout_s, timeout_s)

    def watch(self) -> None:
        """Look at what runs until closed."""
        while not self.closed.wait(interval_s := min(self.timeout_s, MAX_LOOP_S) / LOOKS):
            self.look(interval_s)

    def look(self, interval_s: float) -> None:
        """See what runs, `interval_s` after the last look."""
        held = self.on_loop
        seen = {}
        for run in (*list(self.in_threads.values()), *([] if held is None else [held])):
            before = self.seen.get(id(run))
            seen[id(run)] = run, 0.0 if before is None else before[1] + interval_s
        self.seen = seen
        for run, seconds in seen.values():
            allowed_s = min(self.timeout_s, MAX_LOOP_S) if run is held else self.timeout_s
            if seconds >= allowed_s and not run[0].stopped:
                self.stop(run[0], seconds)
            elif run is held and seconds >= 2 * allowed_s:
                end_process(run[0], seconds)

    def stop(self, runner: Runner, seconds: float) -> None:
        """Stop a head, and have it given up."""
        why = f"a run did not end within {seconds:g} s, and the head was taken out of service (--run-timeout-s)"
        logger.error("%s: %s", runner, why)
        runner.stop(why)
        self.give_up(runner)

    def close(self) -> None:
        """End the watch."""
        self.closed.set()


def end_process(runner: Runner, seconds: float) -> None:
    """End this process: nobody will be answered any more, as the loop is held by what does not stop."""
    logger.critical("%s has held the process for %g s and does not stop: the process ends", runner, seconds)
    os._exit(EXIT_CODE)
