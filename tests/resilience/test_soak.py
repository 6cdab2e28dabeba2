"""The short forms of `make soak`."""

import random
from pathlib import Path

import pytest

from tests.processes import serve
from tests.resilience.soak import N_LABELS, Every, send_malformed, slope, soak


@pytest.mark.parametrize("transport", ["--fast-http", "--no-fast-http"])
def test_connections_that_bring_no_request_leave_nothing(transport: str) -> None:
    with serve("--no-watch", transport) as process:
        counts = send_malformed(process, 60, random.Random(1))
    assert sum(counts.values()) > 30
    assert {400, 200} <= counts.keys()


def test_nothing_fails_while_heads_are_swapped_and_labels_come(tmp_path: Path) -> None:
    found = soak(tmp_path, 8, swap_s=1.5)
    assert found["errors"] == 0
    assert found["requests"] > 100
    assert found["swaps"] >= 2
    assert found["labels"] >= N_LABELS
    assert (found["ready"], found["failures"], found["exit_code"]) == (200, {}, 0)


def test_memory_that_grows_by_a_megabyte_a_minute_grows_by_60_an_hour() -> None:
    gradient, error = slope([60.0 * i for i in range(10)], [2**20 * i + 2**18 * (i % 2) for i in range(10)])
    assert abs(gradient - 60) < 3 * error < 6


def test_a_fault_in_the_background_is_told() -> None:
    every = Every(0.001, lambda n: [][n])
    every.start()
    every.join(30)
    with pytest.raises(IndexError):
        every.stop()
