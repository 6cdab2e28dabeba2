"""The observer: of each request it hears that it began, and then exactly one of answered, refused and gone."""

import gzip
import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import pytest

from service.app import Observing
from service.errors import AnsweredError, InvalidValue
from service.telemetry.observer import Both, Headers, Nobody, Observer, Response
from service.telemetry.request import Request
from service.transports import exchange, response
from tests.api.bodies import held, until
from tests.conftest import Running
from tests.transports.infer import PATH

Run = Callable[..., Running]
REQUEST = Request(b"1", "predict")
RESPONSE = response.Response(422, b"")
ERROR = InvalidValue("wrong")
CALLS: dict[str, tuple[Any, ...]] = {
    "began": (REQUEST, ()),
    "ran": (None, ("a mark",), 3, 0.5),
    "answered": (REQUEST, {}, RESPONSE),
    "refused": (None, ERROR, RESPONSE),
    "gone": (REQUEST,),
}


class Heard(NamedTuple):
    """One call of an observer."""

    event: str
    request: Request | None
    about: Any = None


class Recorder:
    """An observer that writes down what it hears, and counts requests by their marks."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.n_began = 0

    def began(self, request: Request, headers: Headers) -> None:
        """A request came; its mark is its number."""
        self.n_began += 1
        request.mark = self.n_began
        self.heard.append(Heard("began", request, dict(headers)))

    def ran(self, runner: Any, marks: Sequence[Any], n_rows: int, took_s: float) -> None:
        """A batch ran."""
        assert took_s > 0
        self.heard.append(Heard("ran", None, (list(marks), n_rows)))

    def answered(self, request: Request, arrays: Any, response: Response) -> None:
        """An answer was encoded."""
        self.heard.append(
            Heard("answered", request, ({name: len(rows) for name, rows in dict(arrays).items()}, response))
        )

    def refused(self, request: Request | None, error: AnsweredError, response: Response) -> None:
        """An error was."""
        self.heard.append(Heard("refused", request, (error.code, response)))

    def gone(self, request: Request) -> None:
        """A client left."""
        self.heard.append(Heard("gone", request))

    @property
    def events(self) -> list[str]:
        """What was heard of requests, without the batches."""
        return [heard.event for heard in self.heard if heard.event != "ran"]


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """What every service that starts from now on tells of, beside its counts."""
    found = Recorder()
    monkeypatch.setattr("service.app.observing", lambda _, telemetry: Observing(Both(telemetry, found), lambda: None))
    return found


def left(running: Running, body: bytes, *headers: str, path: str = "/v1/predict") -> socket.socket:
    """A connection over which a request came, and whose answer nobody reads."""
    lines = [f"POST {path} HTTP/1.1", "host: x", f"content-length: {len(body)}", *headers, "", ""]
    connection = socket.create_connection(("127.0.0.1", running.port), timeout=10)
    connection.sendall("\r\n".join(lines).encode() + body)
    return connection


# --- the two that come with the protocol


@pytest.mark.parametrize("call", CALLS)
def test_the_null_twin_hears_everything_and_does_nothing(call: str) -> None:
    assert getattr(Nobody(), call)(*CALLS[call]) is None
    assert vars(Nobody()) == {}
    assert (RESPONSE.status, RESPONSE.headers) == (422, ())


@pytest.mark.parametrize("call", CALLS)
def test_both_are_told_the_same_in_turn(call: str) -> None:
    told: list[tuple[str, str, tuple[Any, ...]]] = []

    class Named:
        """An observer that says who it is."""

        def __init__(self, name: str) -> None:
            self.name = name

        def __getattr__(self, event: str) -> Callable[..., None]:
            return lambda *arguments: told.append((self.name, event, arguments))

    both: Observer = Both(cast(Observer, Named("first")), cast(Observer, Named("second")))
    getattr(both, call)(*CALLS[call])
    assert told == [("first", call, CALLS[call]), ("second", call, CALLS[call])]


def test_the_mark_belongs_to_the_second_of_two() -> None:
    request = Request(b"1", "predict")
    second = Recorder()
    Both(Recorder(), second).began(request, ())
    second.n_began = 7
    Both(Recorder(), second).began(request, ())
    assert request.mark == 8


# --- requests to a service


def test_an_answered_request_is_heard_of_with_what_was_computed(run: Run, recorder: Recorder) -> None:
    running = run()
    assert running.predict({"logits": [[1, 2], [3, 4]]}).status_code == 200
    assert recorder.events == ["began", "answered"]
    began, ran, answered = recorder.heard
    assert began.about[b"host"] == f"127.0.0.1:{running.port}".encode()
    assert ran.about == ([1], 2)  # its mark, and its rows
    assert answered.request is began.request
    assert answered.about[0] == {"probabilities": 2}
    assert answered.about[1].status == 200


def test_a_refused_request_is_heard_of_with_its_error(run: Run, recorder: Recorder) -> None:
    assert run().predict({"logits": [1, "x"]}).status_code == 422
    assert recorder.events == ["began", "refused"]
    began, refused = recorder.heard
    assert refused.request is began.request
    assert (refused.about[0], refused.about[1].status) == ("bad_logit", 422)


@pytest.mark.parametrize("how", ["by its length", "by its chunks"])
def test_a_request_that_the_gate_refuses_has_not_begun(run: Run, recorder: Recorder, how: str) -> None:
    body = b" " * 101
    answer = run(max_body_bytes=100).client.post(
        "/v1/predict", content=body if how == "by its length" else iter([body])
    )
    assert answer.status_code == 413
    assert recorder.events == ["refused"]
    assert recorder.heard[0].request is None
    assert recorder.heard[0].about[0] == "body_too_large"


def test_a_client_that_left_while_its_batch_ran_is_gone_and_nothing_else(run: Run, recorder: Recorder) -> None:
    running = run()
    with held(running) as hold:
        with left(running, b'{"logits":[1]}'):
            hold.wait()
        until(lambda: "gone" in recorder.events)
        hold.go.set()
    assert running.predict({"logits": [1, 2]}).status_code == 200
    assert recorder.events == ["began", "gone", "began", "answered"]
    assert recorder.heard[0].request is next(heard.request for heard in recorder.heard if heard.event == "gone")


@pytest.mark.parametrize("accepts", ["identity", "gzip"])
def test_a_compressed_request_is_answered_once(run: Run, recorder: Recorder, accepts: str) -> None:
    logits = {"name": "logits", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
    packed = gzip.compress(json.dumps({"inputs": [logits]}).encode())
    headers = {"content-encoding": "gzip", "accept-encoding": accepts}
    answer = run().client.post(PATH, content=packed, headers=headers)
    assert answer.status_code == 200
    assert answer.headers.get("content-encoding", "identity") == accepts
    assert recorder.events == ["began", "answered"]


def test_a_request_whose_body_does_not_unpack_is_refused_once(run: Run, recorder: Recorder) -> None:
    assert run().client.post(PATH, content=b"plain", headers={"content-encoding": "gzip"}).status_code == 400
    assert recorder.events == ["began", "refused"]


class HeldWork:
    """Work in a thread that has begun and waits for the test to let it go."""

    def __init__(self, work: Callable[..., bytes]) -> None:
        self.work = work
        self.begun, self.go, self.done = threading.Event(), threading.Event(), threading.Event()

    def __call__(self, *arguments: Any) -> bytes:
        """Do it, when it is let go."""
        self.begun.set()
        assert self.go.wait(10)
        try:
            return self.work(*arguments)
        finally:
            self.done.set()


@pytest.fixture
def hold_work(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], HeldWork]]:
    """Hold `pack` or `unpack`."""
    held_works: list[HeldWork] = []

    def hold(name: str) -> HeldWork:
        held_works.append(HeldWork(getattr(exchange, name)))
        monkeypatch.setattr(exchange, name, held_works[-1])
        return held_works[-1]

    yield hold
    for work in held_works:
        work.go.set()


@pytest.mark.parametrize("body", [b"plain", gzip.compress(b'{"inputs":[]}')], ids=["wrong", "right"])
def test_a_client_that_left_while_its_body_was_unpacked_is_gone_and_nothing_else(
    run: Run, recorder: Recorder, hold_work: Callable[[str], HeldWork], body: bytes
) -> None:
    running, work = run(), hold_work("unpack")
    with left(running, body, "content-encoding: gzip", path=PATH):
        assert work.begun.wait(10)
    until(lambda: "gone" in recorder.events)
    work.go.set()
    assert work.done.wait(10)
    assert running.predict({"logits": [1, 2]}).status_code == 200
    assert recorder.events == ["began", "gone", "began", "answered"]


def test_a_client_that_left_while_its_answer_was_packed_was_answered(
    run: Run, recorder: Recorder, hold_work: Callable[[str], HeldWork]
) -> None:
    running, work = run(), hold_work("pack")
    logits = b'{"inputs":[{"name":"logits","datatype":"FP32","shape":[1,2],"data":[1,2]}]}'
    with left(running, logits, "accept-encoding: gzip", path=PATH):
        assert work.begun.wait(10)
    assert running.client.get("/healthz").status_code == 200
    work.go.set()
    assert work.done.wait(10)
    assert running.predict({"logits": [1, 2]}).status_code == 200
    assert recorder.events == ["began", "answered", "began", "answered"]
