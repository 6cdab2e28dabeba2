"""The history of an epoch: all of it, in at most 200 points, and the same after a restart."""

import itertools
import json

import pytest

from service.live.history import MOST_POINTS, History
from service.live.monitor import Monitor
from service.live.report import report
from tests.live.made import FITTED, drawn


@pytest.mark.parametrize("blocks", [1, 199, 200, 201, 5000])
def test_it_goes_from_the_first_label_to_the_last_blocks_in_even_steps(blocks: int) -> None:
    history = History(30)
    for i in range(1, blocks + 1):
        history.see(30 + 100 * i, 10.0**i if i < 300 else 1.0)
        history = History.restore(json.loads(json.dumps(history.state())), 0)
    numbers = [n for n, _ in history.points]
    (step,) = {b - a for a, b in itertools.pairwise(numbers)}
    assert history.points[0] == (30, 0.0)
    assert min(blocks + 1, MOST_POINTS // 2) <= len(numbers) <= MOST_POINTS
    assert 30 + 100 * blocks - step < numbers[-1] <= 30 + 100 * blocks


def test_a_monitor_tells_the_largest_of_its_evidence() -> None:
    monitor, rows = Monitor(FITTED), drawn(550, 0, sharper=1.8)
    monitor.update(rows[:500])
    largest = max(one["log10_e"] for one in report(monitor)["monitors"])
    monitor.update(rows[500:])
    history = report(monitor)["history"]
    assert [n for n, _ in history] == [0, 100, 200, 300, 400, 500]
    assert history[-1][1] == pytest.approx(largest, abs=1e-3)
    assert largest > 2


def test_a_group_has_none() -> None:
    monitor = Monitor(FITTED)
    rows = drawn(200, 0)
    rows["group"] = "north"
    monitor.update(rows)
    assert report(monitor, "north")["history"] == []


def test_an_acknowledged_alarm_begins_it_anew() -> None:
    monitor = Monitor(FITTED)
    monitor.update(drawn(250, 0))
    monitor.acknowledge("Ada", 0)
    assert monitor.history.points == [(250, 0.0)]


def test_a_state_of_before_it_was_kept_is_read() -> None:
    monitor = Monitor(FITTED)
    monitor.update(drawn(250, 0))
    state = monitor.state()
    del state["history"]
    assert Monitor.restore(FITTED, state).history.points == [(250, 0.0)]
