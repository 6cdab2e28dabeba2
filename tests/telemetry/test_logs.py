"""The log: JSON where it is wanted, with the request's id, and a line a request only where that is wanted."""

import json
import logging
import re
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from service.telemetry.logs import JSONLines, request_extra
from tests.conftest import Running


def line(record: logging.LogRecord) -> dict[str, Any]:
    """A record as JSON."""
    text = JSONLines().format(record)
    assert "\n" not in text
    said: dict[str, Any] = json.loads(text)
    return said


def test_a_record_is_one_json_object() -> None:
    record = logging.LogRecord("a.b", logging.WARNING, "", 0, "%d ö\n%s", (5, "x"), None)
    record.created = 0.25
    said = line(record)
    assert said == {
        "time": "1970-01-01T00:00:00.250+00:00",
        "level": "warning",
        "logger": "a.b",
        "message": "5 ö\nx",
    }


def test_an_exception_and_the_request_s_id_are_in_it() -> None:
    try:
        int("why")
    except ValueError:
        record = logging.LogRecord("a", logging.ERROR, "", 0, "m", (), sys.exc_info())
    for key, value in request_extra(b"r-1").items():
        setattr(record, key, value)
    said = line(record)
    assert said["request_id"] == "r-1"
    assert "ValueError: invalid literal" in said["exception"]


@pytest.mark.service_fault
def test_a_fault_is_logged_with_the_id_that_the_client_has(
    running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("service.codec.infer.decode.header_length", lambda *_: 1 / 0)
        response = running.client.post("/v2/models/softmax/infer", json={})
    assert response.status_code == 500
    (record,) = (r for r in caplog.records if r.levelno >= logging.ERROR)
    assert line(record)["request_id"] == response.headers["x-request-id"]


def test_the_access_log_is_off_by_default_and_a_line_a_request_when_on(
    run: Callable[..., Running], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert run().predict({"logits": [1]}).status_code == 200
    assert not [r for r in caplog.records if r.name == "calibrant.access"]
    running = run(access_log=True)
    answers = [
        running.predict({"logits": [1]}),
        running.predict({"logits": []}),
        running.client.get("/v2/models/softmax"),
        running.client.get("/nowhere", headers={"x-request-id": "mine"}),
    ]
    records = [r for r in caplog.records if r.name == "calibrant.access"]
    said = [line(record) for record in records]
    assert [s["request_id"] for s in said] == [a.headers["x-request-id"] for a in answers]
    assert [s["status"] for s in said] == [200, 422, 200, 404]
    assert re.fullmatch(r"POST /v1/models/softmax/predict 200 \d+\.\d{3} ms softmax/1 1 rows", said[0]["message"])
    assert {key: said[0][key] for key in ("model", "version", "rows")} == {
        "model": "softmax",
        "version": "1",
        "rows": 1,
    }
    assert 0 < said[0]["duration_ms"] < 10_000
    assert said[1]["model"] == "softmax"
    assert "model" not in said[2]
    assert 0 < said[2]["duration_ms"] < 10_000


def test_the_access_log_names_the_key_of_each_request_that_has_one_also_where_it_is_refused(
    run: Callable[..., Running], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.INFO, "calibrant.access")
    path = tmp_path / "keys"
    path.write_text(f"slow {sha256(b's').hexdigest()} predict 1e-6\nboss {sha256(b'b').hexdigest()} observe,admin\n")
    running = run(access_log=True, api_keys_file=path)
    asked = [
        ("/v1/predict", "s", 200),
        ("/v1/predict", "s", 429),
        ("/v1/predict", "b", 403),
        ("/v1/predict", "nobody", 401),
        ("/v2/repository/index", "s", 403),
        ("/v2/repository/index", "b", 200),
    ]
    for target, key, status in asked:
        body = {"logits": [1]} if target == "/v1/predict" else {}
        answer = running.client.post(target, json=body, headers={"authorization": f"Bearer {key}"})
        assert answer.status_code == status, target
    said = [line(record) for record in caplog.records if record.name == "calibrant.access"]
    assert [one.get("key") for one in said] == ["slow", "slow", "boss", None, "slow", "boss"]
    assert all(one["duration_ms"] >= 0 for one in said)
