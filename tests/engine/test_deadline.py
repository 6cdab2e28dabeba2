"""Deadlines that cannot be met are refused at once, and those that could have been are not."""

import time
from types import SimpleNamespace
from typing import Any

import pytest

from service.engine.batcher import HASTY_S, Batcher
from service.engine.pace import GROWTH, TRY_S, Pace, runs_s
from service.errors import DeadlinePassed, QueueFull
from tests.conftest import Running
from tests.engine.runners import NEVER_INLINE, Client, Fake, Held, said, with_batcher


class Dear(Held):
    """A runner whose runs were measured at a tenth of a second a number."""

    def cost_s(self, n_numbers: int) -> float:
        return 0.1 * n_numbers


class Mismeasured(Fake):
    """A runner that takes next to nothing, and was measured at a minute."""

    def cost_s(self, n_numbers: int) -> float:
        return 60.0


def at(monkeypatch: pytest.MonkeyPatch, later_s: float) -> None:
    """Let deadlines be checked as if it were so much later."""
    monkeypatch.setattr("service.engine.deadline.clock", lambda: time.perf_counter() + later_s)


def test_a_run_that_takes_longer_than_the_deadline_is_refused_before_it_begins() -> None:
    async def test(client: Client, batcher: Batcher, runner: Dear) -> None:
        sentence = r"the rows take about 0\.1 s to run, and the request has 0\.09 s left; expected a longer timeout"
        with pytest.raises(QueueFull, match=sentence) as error:
            client.send(1, timeout_s=0.09)
        assert error.value.code == "deadline_too_close"
        assert not batcher.queues
        assert batcher.n_waiting == 0
        runner.release()
        await client.all(client.send(1, timeout_s=9.0))

    with_batcher(test, Dear(), inline_s=NEVER_INLINE)


def test_rows_of_one_request_that_take_several_runs_count_them_all() -> None:
    async def test(client: Client, _: Batcher, __: Dear) -> None:
        with pytest.raises(QueueFull, match=r"the rows take about 0\.5 s to run"):
            client.send(*range(5), timeout_s=0.45)

    with_batcher(test, Dear(), max_batch_rows=2)


def test_the_rest_of_the_run_under_way_and_the_batches_before_count(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(client: Client, batcher: Batcher, runner: Dear) -> None:
        first = client.send(*range(20))  # two seconds
        await runner.running()
        with pytest.raises(QueueFull, match=r"the queue takes about .* s, and the request has 1 s left; try again"):
            client.send(1, timeout_s=1.0)
        at(monkeypatch, 1.5)
        soon = client.send(1, timeout_s=1.0)  # half a second is left of it
        waiting = client.send(*range(12))
        with pytest.raises(QueueFull, match="the queue takes about"):
            client.send(1, timeout_s=1.0)
        at(monkeypatch, 60)
        with pytest.raises(QueueFull, match=r"the queue takes about 1\.4 s"):  # what is overdue ends any moment
            client.send(1, timeout_s=1.0)
        with pytest.raises(DeadlinePassed, match="the deadline passed before the answer was ready"):
            client.send(1, timeout_s=-0.01)
        assert batcher.n_waiting == 13
        patient = client.send(6, timeout_s=8)
        runner.release()
        await client.all(first, waiting, patient)
        assert soon.done is None

    with_batcher(test, Dear(), max_batch_rows=20, inline_s=NEVER_INLINE)


def test_runs_of_another_head_count_where_more_than_a_batch_waits() -> None:
    async def test(client: Client, batcher: Batcher, runner: Dear) -> None:
        other = Client(batcher, Dear())
        first = client.send(1)
        await runner.running()
        waiting = client.send(2, 3)
        mine = other.send(1, timeout_s=0.2)  # beside the others
        more = client.send(4)
        with pytest.raises(QueueFull, match="the queue takes about"):
            other.send(1, timeout_s=0.25)
        runner.release()
        other.runner.release()
        await client.all(first, waiting, more)
        await other.all(mine)

    with_batcher(test, Dear(), max_batch_rows=2, inline_s=NEVER_INLINE)


def test_a_request_that_names_no_deadline_is_not_held_against_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(client: Client, _: Batcher, __: Mismeasured) -> None:
        monkeypatch.setattr("service.engine.batcher.check_deadline", None)
        await client.all(client.send(1, timeout_s=HASTY_S))

    with_batcher(test, Mismeasured())


@pytest.mark.parametrize("inline_s", [NEVER_INLINE, 100.0])
def test_a_head_that_was_measured_wrongly_is_tried_after_a_while_and_then_known(
    monkeypatch: pytest.MonkeyPatch, inline_s: float
) -> None:
    async def test(client: Client, _: Batcher, runner: Mismeasured) -> None:
        for later_s in (0, TRY_S / 2):
            at(monkeypatch, later_s)
            with pytest.raises(QueueFull):
                client.send(1, timeout_s=9.0)
        at(monkeypatch, TRY_S + 1)
        entry = client.send(1, timeout_s=9.0)
        await client.all(entry)
        assert said(entry) == [2]
        assert runner.pace.factor < 0.1
        at(monkeypatch, 0)
        await client.all(client.send(1, timeout_s=9.0))

    with_batcher(test, Mismeasured(), inline_s=inline_s)


def test_one_slow_run_moves_the_pace_by_a_tenth_and_one_quick_run_brings_it_back() -> None:
    pace = Pace()
    pace.see(0.01, 100.0)
    assert pace.factor == GROWTH
    assert runs_s(SimpleNamespace(pace=pace, cost_s=lambda n: 1e-3 * n), 5, 2, 10) == pytest.approx(0.055)
    pace.see(0.01, 0.01)
    assert pace.factor == 1.0
    for _ in range(100):
        pace.see(0.01, 0.05)
    assert pace.factor == pytest.approx(5.0)
    pace.see(0.0, 1.0)
    assert repr(pace) == "<Pace 5>"


def test_of_many_that_are_refused_one_is_tried_each_while() -> None:
    pace = Pace()
    assert [pace.wants_run(now) for now in (1, 2, 11, 11.5, 20, 21.1)] == [False, False, True, False, False, True]
    pace.see(1.0, 1.0)
    assert not pace.wants_run(100)


def test_a_run_that_fails_says_nothing_of_what_a_run_takes() -> None:
    async def test(client: Client, _: Batcher, runner: Mismeasured) -> None:
        runner.raises = [ValueError("no")]
        await client.all(client.send(1))
        assert runner.pace.factor == 1.0

    with_batcher(test, Mismeasured(), inline_s=NEVER_INLINE)


def test_over_http_the_refusal_is_429_and_the_head_is_not_run(running: Running, monkeypatch: Any) -> None:
    head = running.service.repository.find("softmax").head
    monkeypatch.setattr(head, "seconds_per_run", 5.0)
    response = running.predict({"logits": [1, 2], "timeout_ms": 4000})
    assert (response.status_code, response.json()["code"]) == (429, "deadline_too_close")
    assert response.json()["error"].startswith("the rows take about 5 s to run, and the request has")
    assert running.predict({"logits": [1, 2]}).status_code == 200
