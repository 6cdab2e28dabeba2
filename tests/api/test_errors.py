"""Every error of the contract, provoked over HTTP: its status, its shape, its sentence, and what it keeps to itself."""

import asyncio
import json
import logging
import socket
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.exceptions import HTTPException

from service.api.errors import translate
from service.errors import CannotStart
from service.transports.handler import Handler, Starting
from tests.api.bodies import held, refused, until
from tests.api.wrong import INVALID, NOT_JSON
from tests.conftest import Running

Run = Callable[..., Running]
WORD = "xylophone"  # that no error says of its own accord


@pytest.fixture(autouse=True)
def _nothing_at_error_level(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Any:
    """A client's mistake is no reason to wake anybody."""
    yield
    if "service_fault" not in request.keywords:
        assert not [r for when in ("setup", "call") for r in caplog.get_records(when) if r.levelno >= logging.ERROR]


@pytest.mark.parametrize("what", NOT_JSON)
def test_what_is_not_json_gets_400(running: Running, what: str) -> None:
    refused(running.predict(NOT_JSON[what]), 400, "not_json", "the body is")


@pytest.mark.parametrize(("body", "code", "sentence"), INVALID, ids=[body[:60].decode() for body, *_ in INVALID])
def test_what_cannot_be_answered_gets_422_and_says_why(running: Running, body: bytes, code: str, sentence: str) -> None:
    error = refused(running.predict(body), 422, code, sentence)
    assert len(error["error"]) < 400


def test_a_bad_logit_is_named_by_row_and_class(running: Running) -> None:
    error = refused(running.predict({"logits": [[1, 2, 3], [1, 2, 1e39]]}), 422, "bad_logit")
    assert (error["row"], error["class"]) == (1, 2)


def test_a_bad_temperature_is_named_by_row(running: Running) -> None:
    assert refused(running.predict({"logits": [[1], [2]], "temperature": [1, 0]}), 422, "bad_temperature")["row"] == 1


@pytest.mark.parametrize(
    "body",
    [
        {"logits": [WORD]},
        {"logits": WORD},
        {"logits": [1], "temperature": WORD},
        {"logits": [1], "temperature": [WORD]},
        {"logits": [1], "mask": [WORD]},
        {"logits": [1], "allowed": [WORD]},
        {"logits": [1], "allowed": WORD},
        {"logits": [1], "outputs": [WORD]},
        {"logits": [1], "outputs": WORD},
        {"logits": [1], "top_k": WORD},
        {"logits": [1], "axis": WORD},
        {"logits": [1], "axis": [WORD]},
        {"logits": [1], "timeout_ms": WORD},
        {"logits": [1], "id": [WORD]},
        {"logits": [1], "id": WORD * 40},
        {"logits": [1], "unknown": WORD},
        {"inputs": {WORD: WORD}},
        WORD,
        [WORD],
    ],
    ids=str,
)
def test_no_error_echoes_what_the_body_said(running: Running, body: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    whole, cut = json.dumps(body).encode(), json.dumps(body).encode()[:-1]
    for response in (running.predict(whole), running.predict(cut)):
        assert 400 <= response.status_code < 500
        assert WORD not in response.text
    assert WORD not in caplog.text


def test_a_wrong_key_gets_401(run: Run) -> None:
    running = run(api_keys="one, two")
    for headers in (
        {},
        {"authorization": "Bearer three"},
        {"authorization": "Basic one"},
        {"authorization": "Bearer"},
    ):
        response = running.predict({"logits": [1]}, headers=headers)
        refused(response, 401, "unauthorized", "expected `Authorization: Bearer KEY`")
        assert response.headers["www-authenticate"] == "Bearer"
    refused(running.client.get("/v1/models"), 401, "unauthorized")
    for key in ("one", "two"):
        assert running.predict({"logits": [1]}, headers={"authorization": f"bearer {key}"}).status_code == 200
    for path in ("/healthz", "/readyz", "/docs", "/openapi.json"):
        assert running.client.get(path).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/", "not_found"),
        ("POST", "/predict/", "not_found"),
        ("GET", "/docs/../../etc/passwd", "not_found"),
        ("GET", "/docs/other.js", "not_found"),
        ("POST", "/v1/models/nobody/predict", "unknown_model"),
        ("POST", "/v1/models/..%2Fsoftmax/predict", "not_found"),
        ("POST", "/v1/models/softmax/versions/2/predict", "unknown_version"),
        ("POST", "/v1/models/softmax/versions/0/predict", "unknown_version"),
        ("POST", "/v1/models/softmax/versions/-1/predict", "unknown_version"),
        ("POST", "/v1/models/softmax/versions/%C2%B2/predict", "unknown_version"),
        ("POST", "/v1/models/softmax/versions/" + "9" * 400 + "/predict", "unknown_version"),
        ("GET", "/v1/models/nobody", "unknown_model"),
        ("GET", "/v1/models/softmax/versions/one", "unknown_version"),
    ],
)
def test_what_is_not_there_gets_404(running: Running, method: str, path: str, code: str) -> None:
    sent: dict[str, Any] = {"json": {"logits": [1]}} if method == "POST" else {}
    error = refused(running.client.request(method, path, **sent), 404, code)
    assert "nobody" not in error["error"]


def test_an_unknown_default_model_gets_404(run: Run) -> None:
    running = run()
    assert isinstance(running.service.handler, Handler)
    running.service.handler.default_model = "other"  # its folder has gone since
    response = running.client.post("/v1/predict", json={"logits": [1]})
    refused(response, 404, "unknown_model", "expected one of digits, softmax")


def test_a_default_model_that_is_named_and_not_there_stops_the_start(run: Run) -> None:
    with pytest.raises(CannotStart, match="default model other is not there; --default-model takes digits, softmax"):
        run(default_model="other")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/predict", "POST"),
        ("PUT", "/v1/models/softmax/predict", "POST"),
        ("DELETE", "/v1/models/softmax/versions/1/predict", "POST"),
        ("OPTIONS", "/v1/predict", "POST"),
        ("POST", "/healthz", "GET"),
        ("POST", "/v1/models", "GET"),
        ("DELETE", "/v1/models/softmax", "GET"),
    ],
)
def test_a_wrong_method_gets_405(running: Running, method: str, path: str, allow: str) -> None:
    response = running.client.request(method, path)
    refused(response, 405, "method_not_allowed", method)
    assert response.headers["allow"] == allow


def test_a_body_that_says_it_is_too_large_gets_413_before_it_is_read(running: Running) -> None:
    head = b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-length: 104857600\r\n\r\n"
    answer = first_answer(running, head)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"body_too_large"' in answer


def first_answer(running: Running, sent: bytes) -> bytes:
    """What comes back before anything more is sent."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
        connection.sendall(sent)
        answer = b""
        while b"}" not in answer:
            part = connection.recv(65536)
            assert part, answer
            answer += part
        return answer


def test_a_body_of_100_mb_gets_413(running: Running) -> None:
    def parts() -> Any:
        for _ in range(100):
            yield b" " * 2**20

    response = running.client.post("/v1/predict", content=parts())
    refused(response, 413, "body_too_large", "larger than 33554432 bytes")
    assert running.predict({"logits": [1]}).status_code == 200


def test_chunks_that_add_up_to_too_much_get_413(run: Run) -> None:
    running = run(max_body_bytes=1000)
    body = json.dumps({"logits": [1, 2]}).encode()
    assert running.client.post("/v1/predict", content=iter([body, b" " * (1000 - len(body))])).status_code == 200
    response = running.client.post("/v1/predict", content=iter([body, b" " * (1001 - len(body))]))
    refused(response, 413, "body_too_large", "larger than 1000 bytes")


def test_a_body_of_just_the_largest_size_is_read(run: Run) -> None:
    running = run(max_body_bytes=1000)
    assert running.predict(b'{"logits":[1]}'.ljust(1000)).status_code == 200
    refused(running.predict(b'{"logits":[1]}'.ljust(1001)), 413, "body_too_large")


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "multipart/form-data; boundary=x"},
        {"content-type": "application/octet-stream"},
        {"content-type": ""},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
    ids=str,
)
def test_another_media_type_gets_415(running: Running, headers: dict[str, str]) -> None:
    response = running.predict(b'{"logits":[1]}', headers=headers)
    refused(response, 415, "unsupported_media_type", "expected")


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "Application/JSON; charset=utf-8", "application/x-www-form-urlencoded", "application/ld+json"],
)
def test_json_by_any_of_its_names_is_read(running: Running, content_type: str) -> None:
    assert running.predict(b'{"logits":[1]}', headers={"content-type": content_type}).status_code == 200


def test_a_full_queue_gets_429_and_a_time_to_come_back(run: Run) -> None:
    running = run(max_queue_rows=2)
    with held(running) as hold:
        answers: list[httpx.Response] = []
        threads = [
            threading.Thread(
                target=lambda: answers.append(httpx.post(running.url + "/v1/predict", json={"logits": [[1], [2]]}))
            )
            for _ in range(2)
        ]
        threads[0].start()
        hold.wait()
        threads[1].start()
        batcher = running.service.batcher
        assert batcher
        until(lambda: batcher.n_waiting == 2)
        response = running.predict({"logits": [1]})
        refused(response, 429, "queue_full", "the queue is full: 2 of at most 2 rows are waiting")
        assert response.headers["retry-after"] == "1"
        hold.go.set()
        for thread in threads:
            thread.join(10)
    assert [answer.status_code for answer in answers] == [200, 200]


def test_more_rows_than_ever_fit_get_422_not_429(run: Run) -> None:
    refused(run(max_queue_rows=2).predict({"logits": [[1], [2], [3]]}), 422, "too_many_rows", "at most 2")


@pytest.mark.service_fault
def test_a_head_that_fails_gets_500_and_keeps_its_reasons(
    running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ValueError(WORD)

    with monkeypatch.context() as patch:
        patch.setattr(running.service.repository.find("softmax").head, "run", broken)
        response = running.predict({"logits": [1]})
    refused(response, 500, "run_failed", "the batch could not be run: ValueError")
    assert WORD not in response.text
    assert WORD in caplog.text
    assert running.predict({"logits": [1]}).status_code == 200


@pytest.mark.service_fault
@pytest.mark.parametrize("place", ["decode.read_usual", "encode.encode_plain"])
def test_a_fault_of_our_own_gets_500_and_a_log(
    running: Running, place: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(f"service.codec.predict.{place}", lambda *_: 1 / 0)
        response = running.predict({"logits": [1, 2]})
    refused(response, 500, "internal_error", "the service failed to")
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.service_fault
def test_a_fault_behind_another_route_gets_500_in_the_same_shape(
    running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("service.api.operations.summary_of", lambda *_: 1 / 0)
        response = running.client.get("/v1/models")
    refused(response, 500, "internal_error", "the service failed to handle this request")
    assert [r.name for r in caplog.records if r.levelno >= logging.ERROR] == ["service.api.errors"]
    assert running.client.get("/v1/models").status_code == 200  # on the same connection


@pytest.mark.parametrize(("status", "code"), [(400, "http_error"), (418, "http_error"), (404, "not_found")])
def test_an_error_that_the_framework_makes_keeps_its_status_and_gets_the_shape(status: int, code: str) -> None:
    app = FastAPI()
    translate(app)

    @app.get("/")
    async def route() -> None:
        raise HTTPException(status, WORD)

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            return await client.get("/")

    response = asyncio.run(ask())
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert response.json()["code"] == code
    assert WORD not in response.text


def test_a_batcher_that_takes_nothing_gets_503(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(running.service.batcher, "closed", True)
        responses = [running.predict({"logits": [1]}), running.client.get("/readyz")]
    for response in responses:
        refused(response, 503, "not_ready")
        assert response.headers["retry-after"] == "1"


def test_a_service_that_is_starting_gets_503(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(running.service, "handler", Starting(running.service.observer))
        refused(running.predict({"logits": [1]}), 503, "not_ready", "the service is starting")


def test_a_deadline_that_passes_gets_504(running: Running) -> None:
    with held(running) as hold:
        response = running.predict({"logits": [1], "timeout_ms": 1})
        refused(response, 504, "deadline_passed", "or of all (--default-timeout-ms)")
        hold.go.set()


def test_the_default_deadline_holds_where_none_is_named(run: Run) -> None:
    running = run(default_timeout_ms=1)
    with held(running):
        refused(running.predict({"logits": [1]}), 504, "deadline_passed")


@pytest.mark.parametrize(
    "sent", [b"hello\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n"]
)
def test_what_is_not_http_gets_400_in_the_same_shape(running: Running, sent: bytes) -> None:
    head, _, body = running.raw(sent, close=False).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["code"] == "not_http"
