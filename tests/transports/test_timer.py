"""The timer of a connection, by a clock that the test moves: armed once, however many requests come."""

import asyncio
from collections.abc import Callable
from typing import cast

from service.transports.timer import Timer


class Scheduled:
    """A call that the clock will make, unless it is cancelled."""

    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at = at
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        """Make it no more."""
        self.cancelled = True


class Clock:
    """What the timer needs of a loop; time passes when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0
        self.scheduled: list[Scheduled] = []

    def time(self) -> float:
        """Seconds."""
        return self.now

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Scheduled:
        """As a loop's."""
        self.scheduled.append(Scheduled(self.now + delay_s, call))
        return self.scheduled[-1]

    def run_until(self, at: float) -> None:
        """Let time pass, and make the calls that are due, in order."""
        while due := [call for call in self.scheduled if call.at <= at]:
            first = min(due, key=lambda call: call.at)
            self.scheduled.remove(first)
            self.now = first.at
            if not first.cancelled:
                first.call()
        self.now = at


class Connection:
    """A connection that may rest for 5 seconds, and knows when it was closed."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.closed_at: list[float] = []
        self.timer = Timer(cast(asyncio.AbstractEventLoop, self.clock), self.close)

    def close(self) -> None:
        """The timer wants it closed."""
        self.closed_at.append(self.clock.now)


def test_a_connection_that_rests_is_closed_when_its_time_is_over() -> None:
    connection = Connection()
    connection.timer.set(5)
    connection.clock.run_until(104.9)
    assert connection.closed_at == []
    connection.clock.run_until(200)
    assert connection.closed_at == [105]


def test_a_request_starts_the_rest_anew() -> None:
    connection = Connection()
    connection.timer.set(5)
    connection.clock.run_until(103)
    connection.timer.stop()
    connection.clock.run_until(104)
    connection.timer.set(5)
    connection.clock.run_until(200)
    assert connection.closed_at == [109]


def test_while_a_request_is_under_way_the_connection_stays() -> None:
    connection = Connection()
    connection.timer.set(5)
    connection.timer.stop()
    connection.clock.run_until(200)
    assert connection.closed_at == []
    connection.timer.set(5)
    connection.clock.run_until(300)
    assert connection.closed_at == [205]


def test_many_requests_set_one_timer() -> None:
    connection = Connection()
    for _ in range(100):
        connection.timer.set(5)
        connection.timer.stop()
    connection.timer.set(5)
    assert len(connection.clock.scheduled) == 1


def test_a_connection_that_is_gone_is_not_closed_again() -> None:
    connection = Connection()
    connection.timer.cancel()  # before anything came
    connection.timer.set(5)
    connection.timer.cancel()
    connection.clock.run_until(200)
    assert connection.closed_at == []


def test_a_shorter_time_is_kept_though_a_longer_one_was_set_before() -> None:
    connection = Connection()
    connection.timer.set(75)
    connection.timer.stop()
    connection.clock.run_until(110)
    connection.timer.set(10)
    connection.clock.run_until(300)
    assert connection.closed_at == [120]
    assert not connection.timer.runs
