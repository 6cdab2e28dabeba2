"""The access log over every class that reads connections: a line a request, however it ends, with the time it took."""

import gzip
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from service.transports.ordinary import OrdinaryProtocol
from tests.api.bodies import held, until
from tests.conftest import Running, serving
from tests.transports.wire import PREDICT, post, wire

Run = Callable[..., Running]
Lines = Callable[[], list[dict[str, Any]]]
HEALTH = b"GET /healthz HTTP/1.1\r\nhost: x\r\n"
QUICK = {"header_timeout_s": 0.2, "body_timeout_s": 0.2}


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[Lines]:
    """The lines of the access log so far."""
    with caplog.at_level("INFO", "calibrant.access"):
        yield lambda: [vars(record) for record in caplog.records if record.name == "calibrant.access"]


@pytest.mark.parametrize(
    ("sent", "method", "path", "status"),
    [
        (HEALTH + b"x: %s\r\n\r\n" % (b"x" * 20_000), "GET", "/healthz", 431),
        (PREDICT + b"a: b\r\n" * 100 + b"\r\n", "POST", "/v1/predict", 431),
        (b"GET /%s?key=secret HTTP/1.1\r\n\r\n" % (b"a" * 9000), "GET", "/" + 8191 * "a", 414),
        (b"POST /v1/predict?key=secret HTTP/1.1\r\n\r\n", "POST", "/v1/predict", 400),
        (b"NOT HTTP\r\n\r\n", "-", "-", 400),
        (b"P", "-", "-", 408),
        (PREDICT, "POST", "/v1/predict", 408),
    ],
)
def test_what_is_refused_before_its_headers_are_whole_has_its_line(
    run: Run, lines: Lines, sent: bytes, method: str, path: str, status: int
) -> None:
    running = run(access_log=True, **QUICK)
    with wire(running) as line:
        line.send(sent)
        answered, headers, _ = line.answer()
        assert answered == status
    (logged,) = lines()
    assert (logged["method"], logged["path"], logged["status"]) == (method, path, status)
    assert logged["request_id"] == headers["x-request-id"]
    assert logged["message"] == f"{method} {path} {status} - ms"
    assert "duration_ms" not in logged


@pytest.mark.parametrize("path", [b"/v1/predict", b"/v2/repository/models/softmax/load"])
@pytest.mark.parametrize("known", [False, True])
def test_a_body_that_does_not_arrive_has_one_line_with_its_time(
    run: Run, lines: Lines, path: bytes, known: bool
) -> None:
    running = run(access_log=True, **QUICK)
    sent = post(name="slow").replace(b"/v1/predict", path)
    with wire(running) as line:
        if known:
            line.send(sent)
            line.answer()
        line.send(sent[:-3])
        _, headers, _ = line.answer()
    until(lambda: not running.server.server_state.tasks)
    until(lambda: not running.server.server_state.connections)
    logged = lines()[known:]
    assert [(one["path"], one["status"]) for one in logged] == [(path.decode(), 408)]
    assert logged[0]["request_id"] == headers["x-request-id"]
    assert 150 < logged[0]["duration_ms"] < 20_000


def test_a_surplus_connection_has_a_line_also_where_it_asks_for_nothing(
    run: Run, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.transports.connection.SURPLUS_S", 0.1)
    running = run(access_log=True, max_connections=1)
    with wire(running) as first:
        first.send(post())
        first.answer()
        for sent in (post(), b""):
            with wire(running) as second:
                second.send(sent)
                assert second.answer()[0] == 503
    assert [(one["method"], one["path"], one["status"]) for one in lines()] == [
        ("POST", "/v1/predict", 200),
        ("POST", "/v1/predict", 503),
        ("-", "-", 503),
    ]


def test_a_client_that_leaves_before_its_answer_has_a_line(run: Run, lines: Lines) -> None:
    running = run(access_log=True)
    with held(running) as hold:
        with wire(running) as line:
            line.send(post())
            hold.wait()
        until(lambda: len(lines()) == 1)
    until(lambda: not running.server.server_state.connections)
    (logged,) = lines()
    assert (logged["path"], logged["status"]) == ("/v1/predict", 499)
    assert logged.get("model", "softmax") == "softmax"


def test_so_have_the_requests_behind_it_on_its_connection(lines: Lines) -> None:
    with serving(protocol=OrdinaryProtocol, access_log=True) as running, held(running) as hold:
        with wire(running) as line:
            line.send(post() + HEALTH + b"\r\n")
            hold.wait()
        until(lambda: len(lines()) == 2)
        assert [(one["path"], one["status"]) for one in lines()] == [("/v1/predict", 499), ("/healthz", 499)]


def test_a_client_that_leaves_in_the_middle_of_its_body_has_a_line(run: Run, lines: Lines) -> None:
    running = run(access_log=True)
    for path in (b"/v1/predict", b"/v2/repository/models/softmax/load"):
        with wire(running) as line:
            line.send(post().replace(b"/v1/predict", path)[:-3])
            until(lambda: len(running.server.server_state.connections) > 0)
            time.sleep(0.05)
    until(lambda: len(lines()) == 2)
    assert [one["status"] for one in lines()] == [499, 499]


def test_a_request_under_way_that_is_cut_off_by_a_wrong_one_behind_it_has_a_line(run: Run, lines: Lines) -> None:
    running = run(access_log=True)
    with held(running) as hold, wire(running) as line:
        line.send(post())
        hold.wait()
        line.send(b"NOT HTTP\r\n\r\n")
        assert line.answer()[0] == 400
        until(lambda: len(lines()) == 2)
    assert sorted(one["status"] for one in lines()) == [400, 499]


@pytest.mark.parametrize("what", ["pack", "unpack"])
def test_the_time_has_packing_and_unpacking_in_it(
    run: Run, lines: Lines, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = vars(__import__("service.transports.exchange", fromlist=[what]))[what]

    def slowly(*given: Any) -> bytes:
        time.sleep(0.2)
        done: bytes = slow(*given)
        return done

    monkeypatch.setattr(f"service.transports.exchange.{what}", slowly)
    running = run(access_log=True)
    document = b'{"inputs":[{"name":"logits","datatype":"FP32","shape":[1,2],"data":[1,2]}]}'
    headers = {"accept-encoding": "gzip", "content-encoding": "gzip"}
    answer = running.client.post("/v2/models/softmax/infer", content=gzip.compress(document), headers=headers)
    assert (answer.status_code, answer.headers["content-encoding"]) == (200, "gzip")
    (logged,) = lines()
    assert 200 <= logged["duration_ms"] < 20_000
    assert logged["model"] == "softmax"


def test_what_the_gate_refuses_has_its_time(run: Run, lines: Lines) -> None:
    running = run(access_log=True)
    assert running.client.post("/v1/predict", content=b"{}", headers={"content-type": "text/html"}).status_code == 415
    (logged,) = lines()
    assert logged["duration_ms"] > 0
