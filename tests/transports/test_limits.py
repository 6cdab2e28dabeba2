"""What a connection may bring, how fast, and how many there may be: over every class that reads connections."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from tests.api.bodies import until
from tests.conftest import Running
from tests.transports.wire import PREDICT, Wire, ids, post, wire

Run = Callable[..., Running]
HEALTH = b"GET /healthz HTTP/1.1\r\nhost: x\r\n"
QUICK = {"header_timeout_s": 0.3, "body_timeout_s": 0.4}


def refused(running: Running, sent: bytes) -> tuple[int, str]:
    """The status and the sentence that bytes are answered with, after which the connection is closed."""
    with wire(running) as line:
        line.send(sent)
        status, headers, body = line.answer()
        assert headers["connection"] == "close"
        assert line.closed()
        return status, body.decode()


def send_until_cut_off(line: Wire, piece: bytes, *, n: int = 10_000, pause_s: float = 0.0) -> None:
    """Send a piece again and again, until the other side takes no more."""
    try:
        for _ in range(n):
            line.send(piece)
            time.sleep(pause_s)
    except (BrokenPipeError, ConnectionResetError):
        return
    pytest.fail("the other side took it all")


@contextmanager
def rests_beside(running: Running) -> Iterator[None]:
    """Another connection is served before and after."""
    with wire(running) as line:
        line.send(post(name="before"))
        assert ids(line.answer()) == ["before"]
        yield
        line.send(post(name="after"))
        assert ids(line.answer()) == ["after"]


@pytest.mark.parametrize("start", [PREDICT, HEALTH])
@pytest.mark.parametrize("size", [20_000, 200_000])
def test_headers_that_are_too_large_are_refused(running: Running, start: bytes, size: int) -> None:
    with rests_beside(running):
        status, sentence = refused(running, start + b"x-long: %s\r\n\r\n" % (b"x" * size))
    assert status == 431
    assert "the headers are too large; expected at most 16384 bytes (--max-header-bytes)" in sentence


@pytest.mark.parametrize("piece", [b"x: y\r\n", b"x"])
def test_headers_without_an_end_are_refused_when_they_are_too_large(running: Running, piece: bytes) -> None:
    with wire(running) as line:
        line.send(HEALTH + b"a: b")
        send_until_cut_off(line, piece * (4096 // len(piece)))
        assert running.client.get("/healthz").status_code == 200


@pytest.mark.parametrize("start", [PREDICT, HEALTH])
def test_too_many_headers_are_refused(running: Running, start: bytes) -> None:
    assert refused(running, start + b"a: b\r\n" * 100 + b"\r\n")[0] == 431


@pytest.mark.parametrize("end", [b" HTTP/1.1\r\nhost: x\r\n\r\n", b""])
def test_a_long_url_is_refused_whole_or_not(running: Running, end: bytes) -> None:
    status, sentence = refused(running, b"GET /" + b"a" * 9000 + end)
    assert status == 414
    assert "(--max-url-bytes)" in sentence


@pytest.mark.parametrize("method", [b"POST /v1/predict", b"GET /healthz"])
@pytest.mark.parametrize(("hosts", "n"), [(b"", 0), (b"host: a\r\nhost: b\r\n", 2)])
def test_http_1_1_needs_one_host(running: Running, method: bytes, hosts: bytes, n: int) -> None:
    status, sentence = refused(running, method + b" HTTP/1.1\r\n" + hosts + b"content-length: 0\r\n\r\n")
    assert status == 400
    assert f"the request has {n} Host headers; expected one" in sentence


def test_http_1_0_needs_none(running: Running) -> None:
    with wire(running) as line:
        line.send(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert line.answer()[0] == 200


def test_trailers_without_an_end_are_refused(running: Running) -> None:
    with wire(running) as line:
        line.send(PREDICT + b"transfer-encoding: chunked\r\n\r\n10\r\n" + b'{"logits":[1,2]}' + b"\r\n0\r\n")
        send_until_cut_off(line, b"x-more: y\r\n" * 400)


def test_trailers_do_not_become_headers(running: Running) -> None:
    chunks = b"10\r\n" + b'{"logits":[1,2]}' + b"\r\n0\r\nx-request-id: mine\r\n\r\n"
    with wire(running) as line:
        line.send(PREDICT + b"transfer-encoding: chunked\r\n\r\n" + chunks)
        status, headers, _ = line.answer()
        assert (status, headers["x-request-id"] != "mine") == (200, True)


@pytest.mark.parametrize("start", [b"P", PREDICT, HEALTH[:9]])
def test_headers_that_do_not_arrive_are_answered_in_time(run: Run, start: bytes) -> None:
    running = run(**QUICK)
    with rests_beside(running), wire(running) as line:
        began = time.monotonic()
        line.send(start)
        status, _, body = line.answer()
        assert status == 408
        assert b"the headers did not arrive within 0.3 s (--header-timeout-s)" in body
        assert line.closed()
        assert 0.25 < time.monotonic() - began < 5


def test_a_header_a_while_does_not_help(run: Run) -> None:
    running = run(**QUICK)
    with wire(running) as line:
        line.send(HEALTH)
        send_until_cut_off(line, b"a: b\r\n", n=400, pause_s=0.05)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("path", [b"/v1/predict", b"/v2/repository/models/softmax/load"])
def test_a_body_that_does_not_arrive_is_answered_in_time(run: Run, path: bytes, known: bool) -> None:
    running = run(**QUICK)
    sent = post(name="slow").replace(b"/v1/predict", path)
    with wire(running) as line:
        if known:
            line.send(sent)
            line.answer()
        line.send(sent[:-3])
        status, _, body = line.answer()
        assert status == 408
        assert b"the body did not arrive within 0.4 s (--body-timeout-s)" in body
        assert line.closed()
        until(lambda: not running.server.server_state.tasks)


def test_a_body_that_drips_is_answered_before_its_time_is_over(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.transports.ordinary.WINDOW_S", 0.2)
    running = run()
    with wire(running) as line:
        line.send(PREDICT + b"content-length: 100000\r\n\r\n" + b" ")
        status, _, body = line.answer()
        assert status == 408
        assert b"the body arrives too slowly; expected 1024 bytes a second (--min-bytes-per-s)" in body
        assert line.closed()


def test_a_body_that_is_fast_enough_may_take_its_time(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.transports.ordinary.WINDOW_S", 0.1)
    running = run()
    body = b'{"logits":[1,2]' + b" " * 9000 + b"}"
    with wire(running) as line:
        line.send(PREDICT + b"content-length: %d\r\n\r\n" % len(body))
        for at in range(0, len(body), 1000):
            line.send(body[at : at + 1000])
            time.sleep(0.05)
        assert line.answer()[0] == 200


def test_a_body_behind_its_answer_is_not_answered_again_but_cut_off(run: Run) -> None:
    running = run(max_body_bytes=100, **QUICK)
    with wire(running) as line:
        line.send(PREDICT + b"content-length: 1000\r\n\r\n")
        assert line.answer()[0] == 413
        assert line.closed()


def test_a_body_without_an_end_is_cut_off_whoever_reads_it(run: Run) -> None:
    running = run(max_body_bytes=1000)
    for path in (b"/v1/predict", b"/v2/repository/models/softmax/load"):
        with wire(running) as line:
            line.send(b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000\r\n\r\n" % path)
            send_until_cut_off(line, b" " * 65536, n=2000)


def test_a_client_that_reads_nothing_is_cut_off(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.transports.connection.WINDOW_S", 0.3)
    running = run()
    sent = post("[" + ",".join(["0.25"] * 20_000) + "]")
    with ExitStack() as stack:
        line = Wire(stack.enter_context(socket.socket()))
        line.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.connection.settimeout(20)
        line.connection.connect(("127.0.0.1", running.port))
        send_until_cut_off(line, sent, n=1000)
    until(lambda: not running.server.server_state.connections)


def test_blank_lines_alone_do_not_keep_a_connection(run: Run) -> None:
    running = run()
    running.server.config.timeout_keep_alive = 1
    with wire(running) as line:
        send_until_cut_off(line, b"\r\n", n=400, pause_s=0.05)


def test_a_connection_on_which_nothing_comes_is_closed(run: Run) -> None:
    running = run()
    running.server.config.timeout_keep_alive = 1
    with wire(running) as line:
        assert line.closed()


@pytest.mark.parametrize("request_", [post(), HEALTH + b"\r\n"])
def test_after_so_many_requests_a_connection_is_closed(run: Run, request_: bytes) -> None:
    running = run(max_requests_per_connection=3)
    with wire(running) as line:
        closes = []
        for _ in range(3):
            line.send(request_)
            status, headers, _ = line.answer()
            assert status == 200
            closes.append(headers.get("connection") == "close")
        assert closes == [False, False, True]
        assert line.closed()


@pytest.mark.parametrize("option", ["max_connections", "max_connections_per_address"])
def test_one_connection_too_many_is_told_so_and_makes_room_when_it_goes(
    run: Run, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.transports.connection.SURPLUS_S", 0.3)
    running = run(**{option: 2})
    with wire(running) as first, wire(running) as second:
        for line in (first, second):
            line.send(post())
            assert line.answer()[0] == 200
        for sent in (post(), b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n", b"", b"GET /healthz HTTP/1.1\r\n"):
            with wire(running) as third:  # who asks for nothing is told so after a while
                third.send(sent)
                status, headers, body = third.answer()
                assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
                assert f"(--{option.replace('_', '-')})".encode() in body
                assert third.closed()
        until(lambda: len(running.server.server_state.connections) == 2)
    until(lambda: not running.server.server_state.connections)
    assert not running.service.connections.served.by_address
    with wire(running) as line:
        line.send(post())
        assert line.answer()[0] == 200


@pytest.mark.parametrize("path", [b"/healthz", b"/v2/health/live"])
def test_with_all_connections_taken_the_process_still_says_that_it_lives(run: Run, path: bytes) -> None:
    running = run(max_connections=1)
    get = b"GET %s HTTP/1.1\r\nhost: x\r\n\r\n" % path
    with wire(running) as first, wire(running) as second:
        first.send(post())
        assert first.answer()[0] == 200
        second.send(get)
        status, headers, _ = second.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert second.closed()
        first.send(post())
        assert first.answer()[0] == 200


def test_bytes_that_are_no_http_are_answered_and_what_follows_is_not_read(running: Running) -> None:
    status, sentence = refused(running, b"NOT HTTP\r\n\r\n" + post())
    assert status == 400
    assert "invalid HTTP request received; expected HTTP/1.1" in sentence


def test_a_client_that_reads_nothing_and_is_cut_off_leaves_nothing_behind(
    run: Run, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.transports.connection.WINDOW_S", 0.2)
    running = run()
    body = b'{"logits":[' + b",".join([b"0.25"] * 20_000) + b"]}"
    sent = PREDICT + b"content-length: %d\r\n\r\n" % len(body) + body
    with ExitStack() as stack:
        for _ in range(3):
            line = stack.enter_context(wire(running))
            line.connection.setblocking(False)
            with suppress(BlockingIOError):
                for _ in range(1000):
                    line.connection.send((sent + HEALTH + b"\r\n") * 4)
        until(lambda: not running.server.server_state.connections)
    until(lambda: not running.server.server_state.tasks)
    assert caplog.records == []
