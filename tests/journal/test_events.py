"""What is logged of alarms, warnings and refits: each once, with its values."""

import json
import logging
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from service.journal.events import Events
from service.live.monitor import Monitor
from service.live.report import report
from tests.journal.test_promotion import Desk
from tests.live.made import FITTED, drawn, told
from tests.process.test_live import published, until
from tests.processes import serve


@pytest.fixture
def desk(tmp_path: Path) -> Callable[..., Desk]:
    """Makes a desk."""
    return partial(Desk, tmp_path)


@pytest.fixture(autouse=True)
def _every_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def test_an_alarm_is_logged_once_and_not_again_after_a_start(caplog: pytest.LogCaptureFixture) -> None:
    calm, broken = told(drawn(300, 0))["models"], told(drawn(2000, 0, sharper=1.6))["models"]
    events = Events({})
    events.log(calm)
    assert caplog.records == []
    for _ in range(2):
        events.log(broken)
    Events(broken).log(broken)
    alarms = [one for one in broken["digits/1"]["report"]["monitors"] if one["alarm"]]
    logged = [vars(one) for one in caplog.records if one.levelno == logging.WARNING and "scope" in vars(one)]
    found = [(one["scope"], one["null"], one["label"], one["e"]) for one in logged if "alarm of" in one["message"]]
    assert found == [(one["scope"], one["null"], one["alarm_at"], one["max_e"]) for one in alarms]
    assert (logged[0]["model"], logged[0]["version"], logged[0]["scope"]) == ("digits", "1", "model")
    message = f"digits/1: alarm of model, as fitted, at label {alarms[0]['alarm_at']}, e {alarms[0]['max_e']:.3g}"
    assert logged[0]["message"] == message


def test_a_warning_is_logged_and_so_is_the_alarm_after_it(caplog: pytest.LogCaptureFixture) -> None:
    models = told(drawn(300, 0))["models"]
    report = models["digits/1"]["report"]
    events = Events(models)
    report["monitors"][0] |= {"warning": True, "warning_at": 250, "max_e": 30.0}
    report["warnings"] = [{"code": "informative_delay", "message": "Early labels.", "since": 280}]
    events.log(models)
    report["monitors"][0] |= {"alarm": True, "alarm_at": 290, "max_e": 200.0}
    events.log(models)
    report["warnings"], before = [], report["warnings"]
    events.log(models)
    report["warnings"] = before
    events.log(models)
    assert [one.message for one in caplog.records] == [
        "digits/1: warning of model, as fitted, at label 250, e 30",
        "digits/1: Early labels.",
        "digits/1: alarm of model, as fitted, at label 290, e 200",
    ]


def test_who_acknowledged_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    models = told(drawn(300, 0))["models"]
    events = Events(models)
    monitor = Monitor(FITTED)
    monitor.update(drawn(300, 0))
    monitor.acknowledge("ann", 5)
    models["digits/1"]["report"] = report(monitor)
    for _ in range(2):
        events.log(models)
    [one] = [vars(record) for record in caplog.records]
    assert one["message"] == "digits/1: acknowledged at label 300, by ann; all evidence is 1 again"
    assert (one["by"], one["label"], one["version"]) == ("ann", 300, "1")


def test_what_becomes_of_a_refit_is_logged(desk: Callable[..., Desk], caplog: pytest.LogCaptureFixture) -> None:
    one, events = desk(), Events({})

    def log() -> list[str]:
        caplog.clear()
        events.log({"m/1": {"refit": one.report()}})
        return [record.message for record in caplog.records]

    assert log() == []
    one.do("propose")
    assert log() == ["m/1: another temperature is tried, by ann"]
    one.books.see(1500, 1.7, 100)
    (line,) = log()
    assert line.startswith("m/1: the refit has earned its place, e ")
    one.do("promoted", version="2")
    (line,) = log()
    assert line.startswith("m/1: the refit was promoted, as version 2, by ann, e ")
    assert (caplog.records[0].__dict__["to_version"], caplog.records[0].__dict__["label"]) == ("2", 1500)


def test_an_alarm_is_in_the_log_of_the_server_as_json(tmp_path: Path) -> None:
    with serve("--journal", tmp_path / "j", "--log-format", "json") as process:
        body = {"logits": [[0.0] * 9 + [50]] * 100, "id": "a", "outputs": ["prediction"]}
        assert process.client.post("/v1/models/digits/predict", json=body).status_code == 200
        labels = [{"id": "a", "row": row, "label": 1} for row in range(100)]
        assert process.client.post("/v1/labels", json={"labels": labels}).status_code == 202
        until(lambda: published(tmp_path / "j").get("models", {}).get("digits/1", {}).get("counted") == 100)
        assert process.end(signal.SIGTERM)[0] == 0
    lines: list[dict[str, Any]] = [json.loads(line) for line in process.logged.splitlines()]
    (alarm,) = [one for one in lines if one.get("scope") == "model"]
    assert (alarm["model"], alarm["version"], alarm["null"], alarm["level"]) == ("digits", "1", "as fitted", "warning")
    assert alarm["e"] >= 100
    assert 0 < alarm["label"] < 100
