"""The watch over runs: what is overdue, and what becomes of those who wait for it."""

import asyncio
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from service.engine import watchdog
from service.engine.batcher import Batcher
from service.engine.head import Head
from service.engine.rows import Rows
from service.engine.runner import HEAD_STOPPED, RUN_TIMEOUT, Runner
from service.engine.warm_up import JUST_BITS
from service.engine.watchdog import MAX_LOOP_S, Watchdog
from service.errors import NotReady, RunFailed
from tests.engine.hostile import TRAP, trap
from tests.engine.runners import NEVER_INLINE, PROBABILITIES, Client, Fake, Held, said, with_batcher


class Looked:
    """A watch whose looks the test takes, and what it gave up."""

    def __init__(self, timeout_s: float) -> None:
        self.given_up: list[Runner] = []
        self.watchdog = Watchdog(0, self.given_up.append)  # without a thread
        self.watchdog.timeout_s = timeout_s

    def look(self, *intervals_s: float) -> None:
        for interval_s in intervals_s:
            self.watchdog.look(interval_s)


def test_a_run_in_a_thread_is_stopped_once_it_was_seen_for_so_long() -> None:
    looked, runner = Looked(60), Held()

    def work() -> None:
        looked.look(15, 15, 15, 15)
        assert looked.given_up == []
        looked.look(15)
        assert (
            runner.stopped == "a run did not end within 60 s, and the head was taken out of service (--run-timeout-s)"
        )
        looked.look(15)

    looked.watchdog.run(runner, work)
    assert looked.given_up == [runner]
    assert repr(looked.watchdog) == "<Watchdog 0 runs in threads>"


def test_a_run_on_the_loop_is_given_less() -> None:
    looked, runner = Looked(60), Fake()
    looked.watchdog.on_loop = (runner,)
    looked.look(0, MAX_LOOP_S / 2)
    assert looked.given_up == []
    looked.look(MAX_LOOP_S / 2)
    assert looked.given_up == [runner]


def test_runs_that_end_and_begin_between_two_looks_are_not_taken_for_one() -> None:
    looked, runner = Looked(1), Fake()
    for _ in range(10):
        looked.watchdog.on_loop = (runner,)
        looked.watchdog.run(runner, lambda: looked.look(1))
    assert looked.given_up == []


def test_a_run_on_the_loop_that_does_not_stop_ends_the_process(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    looked = Looked(1)
    looked.watchdog.on_loop = (Fake(),)
    looked.look(0, 1, 0.5)
    assert ended == []
    looked.look(0.5)
    assert ended == [watchdog.EXIT_CODE]
    assert "has held the process for 2 s and does not stop: the process ends" in caplog.text


def test_the_bound_can_be_shortened_while_something_runs() -> None:
    looked, runner = Looked(60), Held()
    looked.watchdog.shorten(100)
    assert looked.watchdog.timeout_s == 60
    looked.watchdog.shorten(2)
    looked.watchdog.run(runner, lambda: looked.look(0, 2))
    assert looked.given_up == [runner]


def test_a_batch_that_does_not_end_fails_and_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # the thread that is held was the only one
    stuck = Held()
    stops: list[int] = []

    async def test(client: Client, batcher: Batcher, runner: Fake) -> None:
        held = Client(batcher, stuck)
        first = held.send(1)
        await stuck.running()
        waiting, other = held.send(2), client.send(3, k=2)  # other has no thread now
        await held.all(first, waiting)
        await client.all(other)
        assert isinstance(first.error, RunFailed)
        assert (first.error.code, isinstance(waiting.error, NotReady)) == (RUN_TIMEOUT, True)
        assert said(other) == [6]
        assert stops == [1]
        with pytest.raises(NotReady, match="was taken out of service") as raised:
            held.send(4)
        assert raised.value.code == HEAD_STOPPED
        rows = Rows({"logits": np.ones((1, 1), np.float32)})
        assert batcher.run_now(stuck, rows, PROBABILITIES, 60, n_connections=1) is None
        assert batcher.watchdog.holds(stuck)
        stuck.release()
        await asyncio.to_thread(ended, batcher.watchdog)
        assert held.answered == [first, waiting]

    with_batcher(test, Fake(), inline_s=NEVER_INLINE, run_timeout_s=1, on_stop=lambda: stops.append(1))


def ended(watched: Watchdog) -> None:
    """Until nothing runs."""
    while watched.in_threads:
        threading.Event().wait(0.01)


@pytest.fixture
def trapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Head:
    """A head whose run may never end."""
    monkeypatch.setattr(watchdog, "end_process", lambda *_: None)  # on a busy machine the loop is long in stopping
    trap(tmp_path / "model.onnx")
    return Head(tmp_path / "model.onnx")


@pytest.mark.parametrize("inline_s", [1.0, NEVER_INLINE], ids=["on the loop", "in a thread"])
def test_a_loop_in_a_graph_is_ended(trapped: Head, inline_s: float) -> None:
    async def test(_: Client, batcher: Batcher, __: Fake) -> None:
        held = Client(batcher, trapped)
        entry = held.send(2 * TRAP, k=10, bits=JUST_BITS)
        await held.all(entry)
        assert isinstance(entry.error, RunFailed)
        assert entry.error.code == RUN_TIMEOUT
        assert str(entry.error).startswith("a run did not end within ")
        await asyncio.to_thread(ended, batcher.watchdog)

    with_batcher(test, Fake(), inline_s=inline_s, run_timeout_s=0.2)


def test_the_only_row_is_ended_too(trapped: Head) -> None:
    async def test(_: Client, batcher: Batcher, __: Fake) -> None:
        rows = Rows({"logits": np.full((1, 10), 2 * TRAP, np.float32)})
        with pytest.raises(RunFailed) as raised:
            batcher.run_now(trapped, rows, JUST_BITS, 60, n_connections=1)
        assert raised.value.code == RUN_TIMEOUT

    with_batcher(test, Fake(), inline_s=1.0, run_timeout_s=0.2)
