"""The fast transport is as right as the ordinary way: the same bytes on a socket, whatever HTTP brings."""

import json
import re
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from service.transports.fast import FastProtocol
from service.transports.fast_known import KnownProtocol
from tests.api.bodies import held, until
from tests.conftest import Running
from tests.transports.played import connect, with_app
from tests.transports.wire import PREDICT, ids, post, wire

Run = Callable[..., Running]


def test_a_connection_is_kept_for_the_next_request(running: Running) -> None:
    with wire(running) as line:
        for name in ("a", "b", "c"):
            line.send(post(name=name))
            assert ids(line.answer()) == [name]


def test_a_client_that_wants_the_connection_closed_gets_it_closed(running: Running) -> None:
    with wire(running) as line:
        line.send(post(headers=b"connection: close\r\n"))
        status, headers, _ = line.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert line.closed()


def test_http_1_0_gets_an_answer_and_a_closed_connection(running: Running) -> None:
    with wire(running) as line:
        line.send(post().replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert line.answer()[0] == 200
        assert line.closed()


def test_pipelined_requests_are_answered_in_their_order(running: Running) -> None:
    names = [str(i) for i in range(20)]
    with wire(running) as line:
        line.send(b"".join(post(name=name) for name in names))
        assert ids(*(line.answer() for _ in names)) == names


def test_other_paths_between_pipelined_predictions_keep_the_order(running: Running) -> None:
    alive = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
    with wire(running) as line:
        line.send(post(name="first") + alive + post(name="second") + alive)
        first, health, second, again = (line.answer() for _ in range(4))
        assert ids(first, second) == ["first", "second"]
        assert health[2] == again[2] == b'{"status":"alive"}'


def test_a_pipelined_wrong_request_does_not_shift_the_others(running: Running) -> None:
    with wire(running) as line:
        line.send(post(name="a") + post('["x"]') + post(name="b"))
        first, wrong, last = (line.answer() for _ in range(3))
        assert (first[0], wrong[0], last[0]) == (200, 422, 200)
        assert ids(first, last) == ["a", "b"]


def test_requests_behind_an_unfinished_one_wait_for_it(running: Running) -> None:
    with wire(running) as line, held(running) as hold:
        line.send(post(name="slow"))
        hold.wait()
        line.send(post(name="behind"))
        hold.go.set()
        assert ids(line.answer(), line.answer()) == ["slow", "behind"]


@pytest.mark.parametrize("size", [1, 7, 40])
def test_a_request_in_small_pieces_is_read_whole(running: Running, size: int) -> None:
    sent = post("[" + ",".join(["0.5"] * 50) + "]", name="pieces")
    with wire(running) as line:
        line.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(sent), size):
            line.send(sent[at : at + size])
        assert ids(line.answer()) == ["pieces"]


def test_a_chunked_body_is_read(running: Running) -> None:
    chunks = b'9\r\n{"logits"\r\n7\r\n:[1,2]}\r\n0\r\n\r\n'
    with wire(running) as line:
        line.send(PREDICT + b"transfer-encoding: chunked\r\n\r\n" + chunks + post(name="next"))
        assert line.answer()[0] == 200
        assert ids(line.answer()) == ["next"]


def test_a_client_that_asks_first_is_told_to_continue(running: Running) -> None:
    headers, body = post(name="asked", headers=b"expect: 100-continue\r\n").split(b"\r\n\r\n")
    with wire(running) as line:
        line.send(headers + b"\r\n\r\n")
        assert line.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue"
        line.send(body)
        assert ids(line.answer()) == ["asked"]


def test_an_upgrade_is_not_followed(running: Running) -> None:
    with wire(running) as line:
        line.send(post(headers=b"connection: upgrade\r\nupgrade: h2c\r\n"))
        assert line.connection.recv(12).startswith(b"HTTP/1.1 ")


def test_a_body_that_is_too_large_is_refused_before_it_comes_and_the_connection_lives(run: Run) -> None:
    running = run(max_body_bytes=100)
    with wire(running) as line:
        line.send(PREDICT + b"content-length: 1000\r\n\r\n")
        assert line.answer()[0] == 413
        line.send(b" " * 1000 + post(name="after"))
        assert ids(line.answer()) == ["after"]


def test_chunks_beyond_the_bound_are_refused_once_and_the_rest_is_dropped(run: Run) -> None:
    running = run(max_body_bytes=100)
    with wire(running) as line:
        line.send(PREDICT + b"transfer-encoding: chunked\r\n\r\n" + (b"40\r\n" + b" " * 64 + b"\r\n") * 4)
        assert line.answer()[0] == 413
        line.send(b"0\r\n\r\n" + post(name="after"))
        assert ids(line.answer()) == ["after"]


def test_the_rows_of_a_client_that_left_are_dropped_and_its_neighbours_are_answered(running: Running) -> None:
    batcher = running.service.batcher
    assert batcher is not None
    with held(running) as hold, wire(running) as busy, wire(running) as stays:
        busy.send(post(name="busy"))
        hold.wait()
        with wire(running) as leaves:
            leaves.send(post("[[1,2],[3,4],[5,6]]", name="gone"))
            stays.send(post(name="stays"))
            until(lambda: batcher.n_waiting == 4)
        until(lambda: any(entry.done is None for group in batcher.queues.values() for entry in group.waiting))
        hold.go.set()
        assert ids(busy.answer(), stays.answer()) == ["busy", "stays"]
        assert batcher.n_waiting == 0


def test_a_client_that_does_not_read_gets_every_answer_when_it_does(running: Running) -> None:
    wide = "[" + ",".join(["0.25"] * 2000) + "]"
    names = [str(i) for i in range(300)]
    with wire(running) as line:
        line.connection.setblocking(False)
        unsent = b"".join(post(wide, name=name) for name in names)
        answered = b""
        patience = time.monotonic() + 60
        while unsent:  # write as much as the other side takes; it stops taking when its answers are not read
            assert time.monotonic() < patience
            try:
                unsent = unsent[line.connection.send(unsent) :]
            except BlockingIOError:
                try:
                    answered += line.connection.recv(65536)
                except BlockingIOError:
                    time.sleep(0.001)
        line.connection.settimeout(20)
        line.left = answered
        assert ids(*(line.answer() for _ in names)) == names


def test_a_stop_waits_for_what_is_in_flight(run: Run) -> None:
    running = run()
    with wire(running) as line, wire(running) as idle, held(running) as hold:
        line.send(post(name="last"))
        hold.wait()
        running.server.should_exit = True
        assert idle.closed()
        hold.go.set()
        status, headers, body = line.answer()
        assert (status, headers["connection"], json.loads(body)["id"]) == (200, "close", "last")
        assert line.closed()


def test_while_it_drains_every_answer_sends_the_client_elsewhere(run: Run) -> None:
    running = run()
    running.service.draining = True
    for request in (post(name="a"), b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"):
        with wire(running) as line:
            line.send(request)
            status, headers, _ = line.answer()
            assert (status, headers["connection"]) == (200, "close")
            assert line.closed()


def test_a_connection_that_rests_too_long_is_closed(run: Run) -> None:
    running = run()
    running.server.config.timeout_keep_alive = 1
    with wire(running) as line:
        line.send(post())
        assert line.answer()[0] == 200
        assert line.closed()


SAME = [
    b'{"logits":[1,2,3]}',
    b'{"logits":[[1,2,3],[4,5,6]],"mask":[[true,false,true],[false,false,false]],"outputs":["log_probabilities"]}',
    b'{"logits":[1,2,3],"temperature":0.5,"top_k":2,"id":"x"}',
    b'{"logits":[0.1,0.2,0.7]}',
    b'{"logits":[1,NaN]}',
    b'{"logits":[1,2],"temperature":0}',
    b"{",
    b"",
]


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/models/softmax/predict", "/v1/models/softmax/versions/9/predict"])
def test_every_transport_answers_the_same_bytes(everywhere: list[Running], path: str) -> None:
    """Each body twice, as the memory of headers knows them when they come again."""
    answers: list[list[Any]] = []
    for running in everywhere:
        answers.append([])
        with wire(running) as line:
            for body in [body for body in SAME for _ in range(2)]:
                line.send(f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
                status, headers, answer = line.answer()
                headers["server-timing"] = re.sub(r"[\d.]+", "0", headers["server-timing"])
                headers["x-request-id"] = headers["date"] = ""
                answers[-1].append((status, list(headers.items()), answer))
    with_memory, without, asgi = answers
    assert with_memory == without == asgi


# --- a socket that the test plays

KINDS = pytest.mark.parametrize("kind", [KnownProtocol, FastProtocol])


@KINDS
def test_an_answer_is_not_written_to_a_connection_that_closes(kind: type[FastProtocol]) -> None:
    async def test(app: Any) -> None:
        protocol, played = connect(app, kind)
        sent = post(name="a")
        protocol.data_received(sent[:-1])
        played.close()
        protocol.data_received(sent[-1:])
        assert played.written == b""
        assert not protocol.busy()

    with_app(test)


@KINDS
def test_who_does_not_read_answers_is_not_read_from_until_it_does(kind: type[FastProtocol]) -> None:
    async def test(app: Any) -> None:
        protocol, played = connect(app, kind)
        protocol.pause_writing()
        protocol.data_received(post(name="a"))
        assert b'"id":"a"' in played.written
        assert not played.reads
        protocol.resume_writing()
        assert played.reads

    with_app(test)


@KINDS
def test_who_reads_slowly_and_owes_nothing_goes_on_sending(kind: type[FastProtocol]) -> None:
    async def test(app: Any) -> None:
        protocol, played = connect(app, kind)
        sent = post(name="a")
        protocol.data_received(sent[:-1])
        protocol.pause_writing()
        protocol.resume_writing()
        assert played.reads
        protocol.data_received(sent[-1:])
        assert b'"id":"a"' in played.written

    with_app(test)


@KINDS
@pytest.mark.parametrize("closes", [False, True])
def test_a_connection_that_rested_is_closed_once(kind: type[FastProtocol], closes: bool) -> None:
    async def test(app: Any) -> None:
        protocol, played = connect(app, kind)
        protocol.data_received(post(headers=b"connection: close\r\n" if closes else b""))
        assert played.n_closed == closes
        protocol.timeout_keep_alive_handler()
        assert played.n_closed == 1

    with_app(test)
