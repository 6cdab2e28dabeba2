"""The fast transport is as right as the ordinary way: the same bytes on a socket, whatever HTTP brings."""

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest

from tests.api.bodies import held
from tests.conftest import Running, serving

Run = Callable[..., Running]
PREDICT = b"POST /v1/predict HTTP/1.1\r\nhost: x\r\n"


def post(logits: str = "[1,2]", *, name: str = "", head: bytes = b"") -> bytes:
    """A whole request on the wire; `name` comes back as its id."""
    body = f'{{"logits":{logits},"id":"{name}"}}'.encode()
    return PREDICT + head + b"content-length: %d\r\n\r\n%s" % (len(body), body)


class Wire:
    """A connection and what has come over it."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.left = b""

    def send(self, sent: bytes) -> None:
        self.connection.sendall(sent)

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, headers, body."""
        head = self.until(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines if line)
        body = self.exactly(int(headers["content-length"]))
        return int(status.split()[1]), headers, body

    def until(self, end: bytes) -> bytes:
        while end not in self.left:
            self.receive()
        head, _, self.left = self.left.partition(end)
        return head

    def exactly(self, n: int) -> bytes:
        while len(self.left) < n:
            self.receive()
        body, self.left = self.left[:n], self.left[n:]
        return body

    def receive(self) -> None:
        part = self.connection.recv(65536)
        assert part, "the other side closed"
        self.left += part

    def closed(self) -> bool:
        """Whether the other side closes, with nothing more to say."""
        return not self.left and self.connection.recv(1) == b""


@contextmanager
def wire(running: Running) -> Iterator[Wire]:
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
        yield Wire(connection)


def ids(*answers: tuple[int, dict[str, str], bytes]) -> list[str]:
    return [json.loads(body)["id"] for _, _, body in answers]


def test_a_connection_is_kept_for_the_next_request(running: Running) -> None:
    with wire(running) as line:
        for name in ("a", "b", "c"):
            line.send(post(name=name))
            assert ids(line.answer()) == [name]


def test_a_client_that_wants_the_connection_closed_gets_it_closed(running: Running) -> None:
    with wire(running) as line:
        line.send(post(head=b"connection: close\r\n"))
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
    head, body = post(name="asked", head=b"expect: 100-continue\r\n").split(b"\r\n\r\n")
    with wire(running) as line:
        line.send(head + b"\r\n\r\n")
        assert line.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue"
        line.send(body)
        assert ids(line.answer()) == ["asked"]


def test_an_upgrade_is_not_followed(running: Running) -> None:
    with wire(running) as line:
        line.send(post(head=b"connection: upgrade\r\nupgrade: h2c\r\n"))
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
def test_both_lanes_answer_the_same_bytes(path: str) -> None:
    answers = []
    for fast_http in (True, False):
        with serving(fast_http=fast_http) as running, wire(running) as line:
            for body in SAME:
                head = f"POST {path} HTTP/1.1\r\nhost: x\r\nx-request-id: same\r\ncontent-length: {len(body)}\r\n\r\n"
                line.send(head.encode() + body)
                status, headers, answer = line.answer()
                headers["server-timing"] = re.sub(r"[\d.]+", "0", headers["server-timing"])
                del headers["date"]
                answers.append((status, list(headers.items()), answer))
    assert answers[: len(SAME)] == answers[len(SAME) :]


# --- heads that come again


def test_every_request_with_the_same_head_gets_its_own_answer_and_its_own_id(running: Running) -> None:
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


def test_an_id_of_the_clients_own_comes_back_each_time(running: Running) -> None:
    with wire(running) as line:
        for name in ("one", "two", "six", "one"):
            line.send(post(head=b"x-request-id: %s\r\n" % name.encode()))
            assert line.answer()[1]["x-request-id"] == name


def test_a_head_that_comes_again_waits_for_its_body(running: Running) -> None:
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


def in_pieces(line: Wire, sent: bytes, *cuts: int) -> None:
    """Send so that each piece arrives alone."""
    line.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for start, stop in pairwise((0, *cuts, len(sent))):
        line.send(sent[start:stop])
        time.sleep(0.02)


def test_a_head_is_remembered_though_its_body_came_in_pieces(run: Run) -> None:
    running = run()
    sent = post(name="a")
    end = sent.index(b"\r\n\r\n") + 4
    for cuts in ((end,), (end + 1, end + 9), (len(sent) - 1,)):
        with wire(running) as line:
            in_pieces(line, sent, *cuts)
            assert ids(line.answer()) == ["a"]
        assert list(running.service.known.entries) == ([sent[:end]] if running.service.settings.fast_http else [])
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


def test_a_stop_waits_for_the_rest_of_a_body_behind_a_known_head(run: Run) -> None:
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


def test_a_head_that_comes_again_before_others_in_one_piece_is_the_first_of_them(running: Running) -> None:
    with wire(running) as line:
        line.send(post(name="a"))
        assert ids(line.answer()) == ["a"]
        line.send(post(name="b") + post(name="c") + post(name="longer"))
        assert ids(*(line.answer() for _ in range(3))) == ["b", "c", "longer"]
        line.send(post(name="d"))
        assert ids(line.answer()) == ["d"]


def test_a_known_head_behind_an_unfinished_request_waits_for_it(running: Running) -> None:
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


def test_a_refused_head_is_refused_again_and_harms_no_known_one(running: Running) -> None:
    wrong = post(head=b"content-type: text/html\r\n")
    with wire(running) as line:
        for sent, status in ((post(), 200), (wrong, 415), (wrong, 415), (post(), 200), (post(), 200), (wrong, 415)):
            line.send(sent)
            assert line.answer()[0] == status


def test_a_known_head_after_another_path_is_not_cut_off_by_that_ones_timer(run: Run) -> None:
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


def test_a_known_head_of_another_clients_key_lets_nobody_else_in(run: Run) -> None:
    running = run(api_keys="sesame")
    keys = [b"authorization: Bearer sesame\r\n", b"", b"authorization: Bearer sesamf\r\n"]
    with wire(running) as line:
        for key, status in zip(keys * 3, [200, 401, 401] * 3, strict=True):
            line.send(post(head=key))
            assert line.answer()[0] == status


def test_a_known_chunked_or_closing_head_means_what_it_did(running: Running) -> None:
    chunks = b"10\r\n" + b'{"logits":[1,2]}' + b"\r\n0\r\n\r\n"
    for _ in range(3):
        with wire(running) as line:
            for _ in range(2):
                line.send(PREDICT + b"transfer-encoding: chunked\r\n\r\n" + chunks)
                assert line.answer()[0] == 200
            line.send(post(head=b"connection: close\r\n"))
            assert line.answer()[0] == 200
            assert line.closed()


def test_heads_that_never_come_again_do_not_fill_the_memory(run: Run) -> None:
    running = run()
    with wire(running) as line:
        for i in range(1500):
            line.send(post(head=b"x-noise: %d\r\n" % i))
            assert line.answer()[0] == 200
        line.send(post(head=b"x-noise: %s\r\n" % (b"n" * 2000)))
        assert line.answer()[0] == 200
    passed = running.service.known.entries
    assert len(passed) <= 1024
    assert all(len(head) <= 1024 for head in passed)


def until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds; it is looked at often, and for long."""
    patience = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < patience
        time.sleep(0.001)
