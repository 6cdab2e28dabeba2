"""Headers that come again, of which the fast transport keeps a memory: the answers are those of the transports without.

Beside it run the same transport that has no memory, and ASGI.
"""

import gc
import json
import socket
import time
import weakref
from collections.abc import Callable

from service.transports.fast_known import KnownProtocol
from tests.api.bodies import held, until
from tests.conftest import Running
from tests.transports.wire import PREDICT, ids, in_pieces, post, wire

Run = Callable[..., Running]


def test_every_request_with_the_same_headers_gets_its_own_answer_and_its_own_id(running: Running) -> None:
    names = [f"{i:03}" for i in range(50)]
    seen = set()
    with wire(running) as line, wire(running) as other:
        for name in names:
            for connection in (line, other):
                connection.send(post(f"[{name[0]}.5,2]", name=name))
                status, headers, body = connection.answer()
                assert (status, json.loads(body)["id"]) == (200, name)
                seen.add(headers["x-request-id"])
    assert len(seen) == 2 * len(names)


def test_two_sections_in_turn_on_one_connection_mean_what_each_of_them_does(running: Running) -> None:
    names = ["a", "bcdef"] * 3
    with wire(running) as line:
        for name in names:
            line.send(post(name=name))
            assert ids(line.answer()) == [name]
            line.send(post(name=name, headers=b"x-other: %s\r\n" % (b"y" * len(name))))
            assert ids(line.answer()) == [name]


def test_an_id_of_the_clients_own_comes_back_each_time(running: Running) -> None:
    with wire(running) as line:
        for name in ("one", "two", "six", "one"):
            line.send(post(headers=b"x-request-id: %s\r\n" % name.encode()))
            assert line.answer()[1]["x-request-id"] == name


def test_headers_that_come_again_wait_for_their_body(running: Running) -> None:
    sent = post(name="a")
    with wire(running) as line:
        line.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.send(sent)
        assert ids(line.answer()) == ["a"]
        for cut in (5, sent.index(b"\r\n\r\n") + 2, sent.index(b"\r\n\r\n") + 4, len(sent) - 1):
            line.send(sent[:cut])
            time.sleep(0.01)
            line.send(sent[cut:])
            assert ids(line.answer()) == ["a"]


def test_headers_are_remembered_though_their_body_came_in_pieces(run: Run) -> None:
    running = run()
    remembers = running.server.config.http_protocol_class is KnownProtocol
    sent = post(name="a")
    end = sent.index(b"\r\n\r\n") + 4
    for cuts in ((end,), (end + 1, end + 9), (len(sent) - 1,)):
        with wire(running) as line:
            in_pieces(line, sent, *cuts)
            assert ids(line.answer()) == ["a"]
        assert list(running.service.known.entries) == ([sent[:end]] if remembers else [])
        running.service.known.entries.clear()
    with wire(running) as line:
        in_pieces(line, sent, end - 5)
        assert ids(line.answer()) == ["a"]
        line.send(PREDICT + b"transfer-encoding: chunked\r\n\r\n10\r\n")
        in_pieces(line, b'{"logits":[1,2]}' + b"\r\n0\r\n\r\n", 4)
        assert line.answer()[0] == 200
    assert not running.service.known.entries


def test_what_comes_behind_the_last_piece_of_a_body_is_the_next_request(running: Running) -> None:
    first, second = post(name="first"), post(name="secnd")
    end = first.index(b"\r\n\r\n") + 4
    with wire(running) as line:
        line.send(first)
        assert ids(line.answer()) == ["first"]
        for behind in (second, second[:20], second[: end + 3]):
            in_pieces(line, first + behind, end + 2, end + 5)
            assert ids(line.answer()) == ["first"]
            line.send(second[len(behind) :])
            assert ids(line.answer()) == ["secnd"]
        in_pieces(line, first + second + b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n", end, end + 5)
        assert ids(line.answer(), line.answer()) == ["first", "secnd"]
        assert line.answer()[2] == b'{"status":"alive"}'


def test_a_client_that_leaves_in_the_middle_of_a_body_harms_nobody(running: Running) -> None:
    sent = post(name="a")
    for _ in range(3):
        with wire(running) as line:
            line.send(sent)
            assert ids(line.answer()) == ["a"]
            in_pieces(line, sent[:-4])
    with wire(running) as line:
        line.send(sent)
        assert ids(line.answer()) == ["a"]


def test_a_stop_waits_for_the_rest_of_a_body_behind_known_headers(run: Run) -> None:
    running = run()
    sent = post(name="a")
    with wire(running) as line:
        line.send(sent)
        assert ids(line.answer()) == ["a"]
        in_pieces(line, sent[:-4])
        running.server.should_exit = True
        time.sleep(0.3)
        line.send(sent[-4:])
        assert ids(line.answer()) == ["a"]
        assert line.closed()


def test_known_headers_before_others_in_one_piece_are_the_first_of_them(running: Running) -> None:
    with wire(running) as line:
        line.send(post(name="a"))
        assert ids(line.answer()) == ["a"]
        line.send(post(name="b") + post(name="c") + post(name="longer"))
        assert ids(*(line.answer() for _ in range(3))) == ["b", "c", "longer"]
        line.send(post(name="d"))
        assert ids(line.answer()) == ["d"]


def test_known_headers_behind_an_unfinished_request_wait_for_it(running: Running) -> None:
    with wire(running) as line:
        line.send(post(name="known"))
        assert ids(line.answer()) == ["known"]
        with held(running) as hold:
            line.send(post(name="firsT"))
            hold.wait()
            line.send(post(name="after"))
            hold.go.set()
            assert ids(line.answer(), line.answer()) == ["firsT", "after"]


def test_a_body_that_looks_like_a_known_request_is_a_body(running: Running) -> None:
    inner = post(name="in")
    with wire(running) as line:
        line.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.send(inner)
        assert ids(line.answer()) == ["in"]
        line.send(PREDICT + b"content-length: %d\r\n\r\n" % len(inner))
        time.sleep(0.05)
        line.send(inner)
        assert line.answer()[0] == 400
        line.send(post(name="in"))
        assert ids(line.answer()) == ["in"]


def test_refused_headers_are_refused_again_and_harm_no_known_ones(running: Running) -> None:
    wrong = post(headers=b"content-type: text/html\r\n")
    with wire(running) as line:
        for sent, status in ((post(), 200), (wrong, 415), (wrong, 415), (post(), 200), (post(), 200), (wrong, 415)):
            line.send(sent)
            assert line.answer()[0] == status


def test_known_headers_after_another_path_are_not_cut_off_by_that_ones_timer(run: Run) -> None:
    running = run()
    running.server.config.timeout_keep_alive = 1
    with wire(running) as line:
        line.send(post(name="a"))
        assert ids(line.answer()) == ["a"]
        line.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert line.answer()[0] == 200
        with held(running) as hold:
            line.send(post(name="b"))
            hold.wait()
            time.sleep(1.5)
            hold.go.set()
            assert ids(line.answer()) == ["b"]


def test_known_headers_with_a_key_let_nobody_else_in(run: Run) -> None:
    running = run(api_keys="sesame")
    keys = [b"authorization: Bearer sesame\r\n", b"", b"authorization: Bearer sesamf\r\n"]
    with wire(running) as line:
        for key, status in zip(keys * 3, [200, 401, 401] * 3, strict=True):
            line.send(post(headers=key))
            assert line.answer()[0] == status


def test_known_headers_of_a_chunked_or_closing_request_mean_what_they_did(running: Running) -> None:
    chunks = b"10\r\n" + b'{"logits":[1,2]}' + b"\r\n0\r\n\r\n"
    for _ in range(3):
        with wire(running) as line:
            for _ in range(2):
                line.send(PREDICT + b"transfer-encoding: chunked\r\n\r\n" + chunks)
                assert line.answer()[0] == 200
            line.send(post(headers=b"connection: close\r\n"))
            assert line.answer()[0] == 200
            assert line.closed()


def test_headers_that_never_come_again_do_not_fill_the_memory(run: Run) -> None:
    running = run()
    with wire(running) as line:
        for i in range(1500):
            line.send(post(headers=b"x-noise: %d\r\n" % i))
            assert line.answer()[0] == 200
        line.send(post(headers=b"x-noise: %s\r\n" % (b"n" * 2000)))
        assert line.answer()[0] == 200
    passed = running.service.known.entries
    assert len(passed) <= 1024
    assert all(len(section) <= 1024 for section in passed)


def test_a_connection_that_is_gone_is_freed_at_once_with_what_it_has_read(run: Run) -> None:
    running = run()
    connections = running.server.server_state.connections
    gc.collect()
    gc.disable()
    try:
        with wire(running) as line:
            line.send(post())
            assert line.answer()[0] == 200
            line.send(post()[:-3])
            (gone,) = map(weakref.ref, list(connections))
        until(lambda: gone() is None)
    finally:
        gc.enable()
