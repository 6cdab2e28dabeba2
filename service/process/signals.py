"""The signals that stop the service, and a thread that sees them where the main thread cannot.

Python runs the handlers of signals on the main thread alone, between two of its instructions: a run that never returns
from C keeps them from it.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


def stop_signals() -> list[signal.Signals]:
    """Those that stop the service; SIGHUP unless it is ignored, as it is under nohup."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([] if ignored else [signal.SIGHUP])]


@contextmanager
def watched_signals(see: Callable[[int], None]) -> Iterator[None]:
    """Call `see(number)` for each signal that has a handler, from a thread; an event loop hears of it as before."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    loop = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    thread = threading.Thread(target=pass_on, args=(reading, loop, see), name="calibrant-signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(loop)
        os.close(writing)
        thread.join()
        os.close(reading)


def pass_on(reading: int, loop: int, see: Callable[[int], None]) -> None:
    """Read the numbers of signals until the other end is closed; write them to the descriptor of a loop, if any."""
    while numbers := os.read(reading, 64):
        if loop >= 0:
            with suppress(OSError):  # it has all that it needs to wake
                os.write(loop, numbers)
        for number in numbers:
            see(number)
