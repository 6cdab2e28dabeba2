"""Signals that a thread sees, beside the handlers on the main thread."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from service.process.signals import stop_signals, watched_signals


@pytest.fixture
def handled() -> Iterator[list[int]]:
    """What the handler of SIGUSR1 was called with."""
    numbers: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: numbers.append(number))
    yield numbers
    signal.signal(signal.SIGUSR1, before)


def test_a_thread_sees_the_signals_and_a_loop_is_woken_as_before(handled: list[int]) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing)
    seen: list[tuple[int, threading.Thread]] = []
    came = threading.Event()

    def see(number: int) -> None:
        seen.append((number, threading.current_thread()))
        came.set()

    try:
        with watched_signals(see):
            os.kill(os.getpid(), signal.SIGUSR1)
            assert came.wait(30)
        assert signal.set_wakeup_fd(before) == writing
    finally:
        signal.set_wakeup_fd(before)
    assert os.read(reading, 9) == bytes([signal.SIGUSR1])
    assert [number for number, _ in seen] == handled == [signal.SIGUSR1]
    assert seen[0][1] is not threading.current_thread()
    os.close(reading)
    os.close(writing)


def test_the_end_of_the_terminal_stops_what_is_not_under_nohup() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        assert stop_signals() == [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        assert stop_signals() == [signal.SIGINT, signal.SIGTERM]
    finally:
        signal.signal(signal.SIGHUP, before)
