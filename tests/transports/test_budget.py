"""The memory for requests: who gets some, who is told to come back, and that all of it comes back."""

import asyncio
import gc
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from service import memory
from service.errors import AnsweredError, BodyTooLarge, QueueFull
from service.transports.budget import ARRIVAL_COST, LEAST, MUCH, NUMBER_COST, Budget, derive_total, json_cost
from service.transports.endpoints import EVALUATE, INFER
from service.transports.endpoints import PREDICT as PREDICT_ENDPOINT
from service.transports.handler import OWN_TURN_FROM
from service.transports.ordinary import OrdinaryProtocol
from tests.api.bodies import held, until
from tests.conftest import ROOT, Running
from tests.transports.conftest import PROTOCOLS
from tests.transports.played import connect, with_app
from tests.transports.wire import PREDICT, Wire, ids, post, wire

Run = Callable[..., Running]
MB = 2**20


def large(n: int, name: str = "large") -> bytes:
    """A request with about `n` bytes of short numbers."""
    body = b'{"logits":[' + b",".join([b"1"] * (n // 2)) + b'],"id":"%s"}' % name.encode()
    return PREDICT + b"content-length: %d\r\n\r\n%s" % (len(body), body)


def answered(line: Wire, sent: bytes) -> tuple[int, bytes]:
    """Status and body of the answer to a request."""
    line.send(sent)
    status, _, body = line.answer()
    return status, body


def test_what_is_taken_is_not_there_for_others_until_it_is_given_back() -> None:
    budget = Budget(100 * MB)
    budget.take(70 * MB)
    with pytest.raises(
        QueueFull, match=r"the memory for requests is taken, 70 MB of 100 MB; .*--max-request-memory-mb"
    ):
        budget.take(10 * MB)
    budget.take(MB)  # little still gets through
    assert repr(budget) == f"<Budget {71 * MB} of {100 * MB} bytes taken>"
    budget.give(60 * MB)
    budget.take(10 * MB)


def test_bodies_that_arrive_leave_room_for_those_that_are_run() -> None:
    budget = Budget(100 * MB)
    budget.take_arriving(30 * MB)
    with pytest.raises(QueueFull):
        budget.take_arriving(30 * MB)
    with pytest.raises(BodyTooLarge, match="may take 51 MB of memory, of 50 MB that one may take"):
        budget.take_arriving(51 * MB)
    budget.take_arriving(20 * MB)
    budget.take(25 * MB)


def test_what_never_has_room_is_told_so() -> None:
    with pytest.raises(BodyTooLarge, match=r"may take 80 MB of memory, of 75 MB that one may take"):
        Budget(100 * MB).take(80 * MB)
    with pytest.raises(BodyTooLarge, match=r"may take 1\.5 MB of memory, of 0\.8 MB that one may take"):
        Budget(MB).take(3 * MB // 2)


def test_the_cost_of_json_goes_by_its_numbers() -> None:
    assert json_cost(b"[1,2,3]") == 3 * NUMBER_COST
    assert json_cost(b"[0.123456789012345]") < json_cost(b"[1,2,3,4,5,6,7,8,9]")
    row = b"[" + b",".join([b"-1.2345678901234567"] * 10) + b"]"
    assert json_cost(b",".join([row] * 100)) == 1000 * NUMBER_COST


@pytest.mark.parametrize("path", ["predict", "evaluate", "infer"])
def test_no_kind_of_json_takes_more_than_what_is_held_for_it(path: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.transports.costs", path], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    more = {kind: one for kind, one in found.items() if one["taken"] > 1.1 * min(one["cost"], one["worst"])}
    assert more == {}  # a tenth is what the memory's allocator adds now and then
    assert found["lists in lists"]["taken"] > 40 * MB  # it is measured


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/models/softmax/evaluate", "/v2/models/softmax/infer"])
@pytest.mark.parametrize("framed", [False, True])
def test_a_body_of_lists_is_refused_before_it_is_read(
    run: Run, monkeypatch: pytest.MonkeyPatch, path: str, framed: bool
) -> None:
    running = run(max_request_memory_mb=32)
    body = b'{"logits":[' + b",".join([b"[" * 100 + b"]" * 100] * 3000) + b"]}"
    for endpoint in (PREDICT_ENDPOINT, EVALUATE, INFER):
        monkeypatch.setattr(endpoint, "decode", lambda *_: pytest.fail("it was read"))
    headers = {"inference-header-content-length": str(len(body))} if framed else {}
    answer = running.client.post(path, content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    until(lambda: running.service.budget.taken == 0)


def test_the_total_is_what_the_cgroup_leaves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "LIMITS", (tmp_path / "nowhere", path))
    monkeypatch.setattr(memory, "resident_bytes", lambda: 100 * MB)
    path.write_text(f"{1024 * MB}\n")
    assert derive_total(1) == 3 * 924 * MB // 4
    assert derive_total(4) == 3 * 156 * MB // 4
    path.write_text("1\n")
    assert derive_total(1) == LEAST
    path.write_text("max\n")
    assert memory.limit_bytes() > 256 * MB


def test_after_many_requests_free_memory_is_given_back_once(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[bool] = []
    mine = threading.current_thread()  # the services of other tests have budgets, too

    def give_back() -> None:
        if threading.current_thread() is mine:
            given.append(True)

    monkeypatch.setattr(memory, "give_back", give_back)

    async def main() -> None:
        budget = Budget(2 * MUCH, rest_s=0.01)
        budget.take(MB)
        budget.give(MB)
        await asyncio.sleep(0.05)
        assert not given
        budget.take(MUCH + 1)
        budget.give(MUCH + 1)
        budget.take(MB)  # there is more to do
        await asyncio.sleep(0.05)
        assert not given
        budget.give(MB)
        await asyncio.sleep(0.05)
        assert given == [True]

    asyncio.run(main())


def test_a_body_for_which_there_is_no_room_is_refused_before_it_comes_and_small_ones_get_through(run: Run) -> None:
    running = run(max_request_memory_mb=32)
    with held(running) as hold, wire(running) as first, wire(running) as second, wire(running) as small:
        first.send(large(400_000, "first"))
        hold.wait()
        assert running.service.budget.taken > 15 * MB
        second.send(PREDICT + b"content-length: 5000000\r\n\r\n")
        status, headers, body = second.answer()
        assert (status, headers["retry-after"]) == (429, "1")
        assert b'"memory_full"' in body
        small.send(post(name="small"))
        hold.go.set()
        assert ids(small.answer(), first.answer()) == ["small", "first"]
        second.send(b" " * 5_000_000)  # it is read all the same, and dropped
        assert answered(second, post())[0] == 200
    until(lambda: running.service.budget.taken == 0)


def test_a_body_whose_turn_would_come_too_late_is_refused_before_it_comes(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = run()
    body = b'{"logits":[1,2]}'.ljust(OWN_TURN_FROM)
    head = PREDICT + b"content-length: %d\r\n\r\n" % len(body)
    with wire(running) as line, wire(running) as labels:
        assert answered(line, head + body)[0] == 200
        monkeypatch.setattr(running.service.handler, "turns", SimpleNamespace(expected_wait_s=1e6))
        for _ in range(2):
            line.send(head)
            status, _, refusal = line.answer()
            assert status == 429
            assert b'"deadline_too_close"' in refusal
            line.send(body)  # it is read all the same, and dropped
        assert answered(line, post())[0] == 200
        assert answered(labels, head.replace(b"/v1/predict", b"/v1/labels") + body)[0] == 404  # waits for nobody
        monkeypatch.undo()
        assert answered(line, head + body)[0] == 200
    until(lambda: running.service.budget.taken == 0)


@pytest.mark.parametrize("kind", PROTOCOLS.values(), ids=PROTOCOLS)
@pytest.mark.parametrize("is_last", [False, True])
def test_a_body_is_refused_before_others_are_read(kind: type[OrdinaryProtocol], is_last: bool) -> None:
    async def test(app: Any) -> None:
        protocol, played = connect(app, kind)
        app.handler.turns = SimpleNamespace(expected_wait_s=1e6)
        protocol.data_received(PREDICT + b"content-length: %d\r\n\r\n" % OWN_TURN_FROM)
        assert played.written.startswith(b"HTTP/1.1 429 ")
        assert (b"\r\nconnection: close\r\n" in played.written) == is_last == played.n_closed

    with_app(test, max_requests_per_connection=int(is_last))


def test_a_refusal_waits_for_the_answer_before_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    running = run()
    with wire(running) as line, held(running) as hold:
        line.send(post(name="first"))
        hold.wait()
        monkeypatch.setattr(running.service.handler, "turns", SimpleNamespace(expected_wait_s=1e6))
        body = b" " * OWN_TURN_FROM
        line.send(PREDICT + b"content-length: %d\r\n\r\n%s" % (len(body), body) + post(name="last"))
        hold.go.set()
        first, refusal, last = (line.answer() for _ in range(3))
        assert (ids(first, last), refusal[0]) == (["first", "last"], 429)


def test_a_refusal_leaves_no_cycle_that_keeps_what_was_read(run: Run) -> None:
    no_room = PREDICT + b"content-length: 32000000\r\n\r\n"
    no_gzip = post(headers=b"content-encoding: gzip\r\n").replace(b"/v1/predict", b"/v2/models/softmax/infer")
    running = run(max_request_memory_mb=32)
    gc.collect()
    gc.disable()
    try:
        for sent, status in ((no_room, 413), (no_room.replace(b"predict", b"labels"), 413), (no_gzip, 400)):
            with wire(running) as line:
                assert answered(line, sent)[0] == status
        until(lambda: not running.server.server_state.connections)
        errors = [one for one in gc.get_objects() if issubclass(type(one), AnsweredError)]
        assert [error for error in errors if error.__traceback__] == []
    finally:
        gc.enable()


def test_a_body_that_would_take_too_much_for_one_is_refused_by_its_numbers_not_by_its_bytes(run: Run) -> None:
    running = run(max_request_memory_mb=32)
    with wire(running) as line:
        status, body = answered(line, large(1_000_000))
        assert status == 413
        assert b"the request may take 43 MB of memory, of 24 MB that one may take" in body
        long_numbers = post("[" + ",".join(["0.12345678901234567890123456789"] * 32_000) + "]")
        assert answered(line, long_numbers)[0] == 200
    until(lambda: running.service.budget.taken == 0)


def test_chunks_take_their_room_as_they_come(run: Run) -> None:
    running = run(max_request_memory_mb=32)
    with wire(running) as line:
        line.send(PREDICT + b"transfer-encoding: chunked\r\n\r\n")
        line.send(b"10000\r\n" + b" " * 65536 + b"\r\n")
        until(lambda: running.service.budget.taken > 60_000 * ARRIVAL_COST)
        running.service.budget.taken += 31 * MB
        for _ in range(16):
            line.send(b"10000\r\n" + b" " * 65536 + b"\r\n")
        assert line.answer()[0] == 429
    until(lambda: running.service.budget.taken == 31 * MB)


@pytest.mark.parametrize("whole", [False, True])
def test_whoever_leaves_gives_back_what_it_took(run: Run, whole: bool) -> None:
    running = run()
    sent = large(100_000)
    with held(running) as hold, wire(running) as line:
        line.send(sent if whole else sent[:-1])
        until(lambda: running.service.budget.taken > 0)
        if whole:
            hold.wait()
        line.connection.close()
        until(lambda: running.service.budget.taken == 0)
        hold.go.set()


def test_a_body_that_unpacks_takes_its_room_first(run: Run) -> None:
    running = run(max_request_memory_mb=32)
    running.service.budget.taken += 31 * MB
    answer = running.client.post(
        "/v2/models/softmax/infer", content=b"x" * 100_000, headers={"content-encoding": "gzip"}
    )
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_the_known_way_takes_its_room_too(run: Run) -> None:
    running = run(max_request_memory_mb=48)
    sent = large(100_000)
    with wire(running) as line:
        assert answered(line, sent)[0] == answered(line, sent)[0] == 200
        until(lambda: running.service.budget.taken == 0)
        running.service.budget.taken += 47 * MB
        assert answered(line, sent)[0] == 429
        running.service.budget.taken -= 47 * MB
        assert answered(line, sent)[0] == 200
    until(lambda: running.service.budget.taken == 0)
