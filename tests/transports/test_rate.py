"""Rows a second of a key: a bucket that all processes share, and what a client sees that asks for more."""

import json
import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from service.errors import InvalidKeys, RateExceeded
from service.transports import rate
from service.transports.fast_known import KnownProtocol
from service.transports.rate import Buckets, Rate
from tests.api.bodies import held, refused, until
from tests.conftest import Running
from tests.transports.test_keys import bearer, digest, line
from tests.transports.wire import PREDICT, ids, post, wire

Run = Callable[..., Running]


class Clock:
    """A clock that stands until it is set forward."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of all buckets."""
    clock = Clock()
    monkeypatch.setattr(rate, "clock", clock)
    return clock


def rate_of(rows_per_s: float, buckets: Buckets | None = None, key: str = "a") -> Rate:
    return Rate("ci", rows_per_s, buckets or Buckets(), digest(key))


def taken(of: Rate, n_rows: int) -> bool:
    """Whether so many rows could be taken."""
    try:
        of.take(n_rows)
    except RateExceeded:
        return False
    return True


def test_a_second_of_rows_is_there_at_once_and_then_as_many_a_second(clock: Clock) -> None:
    eight = rate_of(8)
    assert [taken(eight, 1) for _ in range(10)] == [True] * 8 + [False] * 2
    clock.now += 0.5
    assert [taken(eight, 1) for _ in range(6)] == [True] * 4 + [False] * 2
    clock.now += 60.0  # what is not asked for in a second is gone
    assert sum(taken(eight, 1) for _ in range(100)) == 8


def test_over_a_long_time_no_more_than_the_rate_gets_through_whatever_the_sizes(clock: Clock) -> None:
    hundred, n_rows, sizes = rate_of(100), 0, (1, 250, 7, 64, 3)
    for i in range(10_000):
        clock.now += 0.01
        n_rows += sizes[i % 5] if taken(hundred, sizes[i % 5]) else 0
    assert 100 * 100 <= n_rows <= 100 * 101 + max(sizes)


def test_a_request_of_any_size_gets_through_and_is_paid_for_before_the_next(clock: Clock) -> None:
    ten = rate_of(10)
    assert taken(ten, 1000)
    error = ten.error()
    assert error
    assert error.headers == {"retry-after": "99"}
    assert str(error) == "the key ci asks for more than 10 rows a second; try again in 99 s"
    clock.now += 98.9
    assert not taken(ten, 1)
    clock.now += 0.2
    assert taken(ten, 1)


def test_what_is_given_back_was_not_taken(clock: Clock) -> None:
    ten = rate_of(10)
    assert taken(ten, 5)
    assert taken(ten, 1000)
    clock.now += 0.2
    ten.give_back(1000)
    assert [taken(ten, 1) for _ in range(9)] == [True] * 7 + [False] * 2


def test_each_key_has_a_bucket_of_its_own_and_there_are_so_many(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr(rate, "MAX_BUCKETS", 16)
    buckets = Buckets()
    rates = [rate_of(1, buckets, str(i)) for i in range(16)]
    assert len({one.bucket for one in rates}) == 16
    assert rate_of(1, buckets, "3").bucket == rates[3].bucket
    assert [taken(one, 1) for one in rates for _ in range(2)] == [True, False] * 16
    with pytest.raises(InvalidKeys, match="more than 16 keys have had a rate"):
        rate_of(1, buckets, "16")


def take_many(folder: Path, results: Any) -> None:
    """How many rows one of several processes gets, at a row in twenty minutes."""
    shared = rate_of(1e-3, Buckets(folder))
    results.put(sum(taken(shared, 1) for _ in range(2000)))


def test_processes_share_the_buckets(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    results = spawn.Queue()
    processes = [spawn.Process(target=take_many, args=(tmp_path, results)) for _ in range(3)]
    for process in processes:
        process.start()
    assert sum(results.get(timeout=60) for _ in processes) == 1
    for process in processes:
        process.join(60)
    assert not taken(rate_of(1e-3, Buckets(tmp_path)), 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with a key that may have a row in a hundred days, and one that may have any number."""
    path = tmp_path / "keys"
    path.write_text(line("slow", "slow", "predict,observe", "1e-7") + line("free", "free"))
    return path


def test_a_key_that_has_to_wait_is_refused_before_its_body_comes_and_others_are_not(run: Run, path: Path) -> None:
    running = run(api_keys_file=path)
    slow, free = (post(name=key, headers=bearer(key)) for key in ("slow", "free"))
    with wire(running) as one, wire(running) as other:
        for connection, sent in ((one, slow), (other, free)):
            connection.send(sent)
            assert connection.answer()[0] == 200
        for _ in range(2):  # by the parser, and where the headers are known
            one.send(slow)
            status, headers, body = one.answer()
            assert (status, json.loads(body)["code"]) == (429, "rate_exceeded")
            assert 9_000_000 < int(headers["retry-after"]) <= 10_000_000
            other.send(free)
            assert ids(other.answer()) == ["free"]
        one.send(PREDICT + bearer("slow") + b"content-length: 1000\r\n\r\n")
        assert one.answer()[0] == 429  # the body has not come
        one.send(b" " * 1000 + post(name="free", headers=bearer("free")))
        assert ids(one.answer()) == ["free"]
    refused(running.client.get("/v1/predict", headers={"authorization": "Bearer slow"}), 405, "method_not_allowed")
    assert running.client.get("/v1/models", headers={"authorization": "Bearer slow"}).status_code == 200
    metrics = running.client.get("/metrics", headers={"authorization": "Bearer slow"}).text
    assert 'calibrant_rejected_total{reason="rate_exceeded"} 3.0' in metrics


def test_of_bodies_that_come_at_once_those_beyond_the_rate_are_refused(run: Run, path: Path) -> None:
    running = run(api_keys_file=path)
    sent = post(headers=bearer("slow"))
    with ExitStack() as stack:
        connections = [stack.enter_context(wire(running)) for _ in range(8)]
        for connection in connections:
            connection.send(sent[:-1])  # the headers pass
        for connection in connections:
            connection.send(sent[-1:])
        assert sorted(connection.answer()[0] for connection in connections) == [200] + [429] * 7


def test_a_client_at_its_rate_leaves_its_neighbours_their_answers(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(line("slow", "slow", "predict", "500") + line("free", "free"))
    running = run(api_keys_file=path)
    slow, free = (post(headers=bearer(key)) for key in ("slow", "free"))
    done = threading.Event()
    found: list[int] = []

    def ask() -> None:
        with wire(running) as connection:
            while not done.is_set():
                connection.send(slow)
                found.append(connection.answer()[0])

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        with wire(running) as connection:
            remembers = running.server.config.http_protocol_class is KnownProtocol
            for _ in range(300):
                connection.send(free)
                assert connection.answer()[0] == 200
            assert bool(running.service.known.entries) == remembers
    finally:
        done.set()
        thread.join(30)
    assert {*found} <= {200, 429}


def once(running: Running, body: object) -> tuple[int, str]:
    """The status and the error's code of a request with the key `slow`."""
    answer = running.predict(body, headers={"authorization": "Bearer slow"})
    return answer.status_code, answer.json().get("code", "")


def test_what_is_refused_before_it_runs_costs_nothing(run: Run, path: Path) -> None:
    running = run(api_keys_file=path, max_queue_rows=4)
    one, two, five = ({"logits": [[1, 2]] * n} for n in (1, 2, 5))
    free = {"authorization": "Bearer free"}
    with held(running) as hold, ThreadPoolExecutor() as threads:
        assert once(running, five) == (422, "too_many_rows")
        running_now = threads.submit(running.predict, one, headers=free)
        hold.wait()
        assert once(running, one | {"timeout_ms": 50}) == (504, "deadline_passed")  # it waited, and never ran
        waiting = threads.submit(running.predict, two, headers=free)
        until(lambda: running.service.batcher is not None and running.service.batcher.n_waiting == 3)
        assert once(running, two) == (429, "queue_full")
        hold.go.set()
        assert running_now.result().status_code == waiting.result().status_code == 200
    assert once(running, one) == (200, "")
    assert once(running, one) == (429, "rate_exceeded")


def test_what_ran_too_long_was_not_for_nothing(run: Run, path: Path) -> None:
    running = run(api_keys_file=path)
    with held(running) as hold:
        assert once(running, {"logits": [1, 2], "timeout_ms": 50}) == (504, "deadline_passed")
        hold.go.set()
    assert once(running, {"logits": [1, 2]}) == (429, "rate_exceeded")
