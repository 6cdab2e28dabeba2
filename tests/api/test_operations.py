"""What operators ask, and what they are told."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT, Running, serving
from tests.heads_made import put


def test_a_process_that_answers_is_alive(running: Running) -> None:
    assert running.client.get("/healthz").json() == {"status": "alive"}


def test_a_warm_service_is_ready(running: Running) -> None:
    assert running.client.get("/readyz").json() == {"status": "ready"}


def test_a_service_that_drains_is_alive_but_not_ready(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(running.service, "draining", True)
        response = running.client.get("/readyz")
        assert (response.status_code, response.json()["code"]) == (503, "not_ready")
        assert running.client.get("/healthz").status_code == 200
        assert running.predict({"logits": [1]}).status_code == 200


def test_a_dead_batcher_shows_in_readyz(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(running.service.batcher, "cause_of_death", MemoryError())
        assert running.client.get("/readyz").status_code == 503
        assert running.client.get("/healthz").status_code == 200


def test_the_models_are_listed_with_their_bounds(running: Running) -> None:
    body = running.client.get("/v1/models").json()
    (softmax,) = [line for line in body["models"] if line["model"] == "softmax"]
    assert softmax == {
        "model": "softmax",
        "version": "1",
        "versions": ["1"],
        "family": "softmax",
        "takes": "logits",
        "classes": None,
        "method": "none",
        "temperature": 1.0,
        "provider": "cpu",
    }
    assert body["default"] == "softmax"
    assert body["failures"] == {}
    assert {"max_batch_rows", "max_queue_rows", "inline_s"} <= body["batching"].keys()


def test_a_models_story_has_its_calibration(running: Running) -> None:
    story = running.client.get("/v1/models/softmax").json()
    assert story["metadata"]["calibrator"] == {"method": "none", "temperature": 1.0}
    assert story["inputs"] == ["logits"]
    assert running.client.get("/v1/models/softmax/versions/1").json() == story


@pytest.mark.parametrize(("model", "has_report"), [("digits", True), ("softmax", False)])
def test_a_model_says_whether_it_has_a_report(running: Running, model: str, has_report: bool) -> None:
    assert running.client.get(f"/v1/models/{model}").json()["has_report"] is has_report
    answer = running.client.get(f"/v1/models/{model}/versions/1/report")
    assert answer.is_success is has_report


def test_a_service_says_whether_labels_may_come(running: Running, tmp_path: Path) -> None:
    assert running.client.get("/v1/models").json()["journal"] is False
    with serving(journal=tmp_path) as other:
        assert other.client.get("/v1/models").json()["journal"] is True


def test_the_report_of_a_version_is_the_file_beside_its_head(running: Running) -> None:
    response = running.client.get("/v1/models/digits/versions/1/report")
    assert response.headers["content-type"] == "application/json"
    assert response.content == (ROOT / "models" / "digits" / "1" / "report.json").read_bytes()


def test_a_head_without_a_report_says_where_one_was_expected(running: Running) -> None:
    response = running.client.get("/v1/models/softmax/versions/1/report")
    assert (response.status_code, response.json()["code"]) == (404, "no_report")
    assert response.json()["error"] == (
        "model softmax has no report in version 1; expected report.json beside its head"
    )
    assert running.client.get("/v1/models/softmax/versions/9/report").json()["code"] == "unknown_version"


@pytest.mark.parametrize("what", ["link", "large", "pipe", "folder", "loop", "device"])
def test_what_is_no_file_of_the_models_folder_is_no_report(tmp_path: Path, what: str) -> None:
    place = put(tmp_path / "models", "digits", 1, ROOT / "models/digits/1/model.onnx").with_name("report.json")
    secret = tmp_path / "secret"
    secret.write_text("{}")
    if what == "large":
        place.touch()
        os.truncate(place, 600 << 20)
    elif what == "pipe":
        os.mkfifo(place)
    elif what == "folder":
        place.mkdir()
    else:
        place.symlink_to({"link": secret, "loop": place, "device": Path("/dev/zero")}[what])
    sentence = {
        "link": "the report.json of version 1 of model digits leads out of the models folder; expected a file in the "
        "models folder of at most 16 MB",
        "large": "is too large; expected a file in the models folder of at most 16 MB",
        "pipe": "is not a file; expected",
        "folder": "is not a file; expected",
        "loop": "has no report in version 1; expected report.json beside its head",
        "device": "leads out of the models folder",
    }[what]
    with serving(models=tmp_path / "models", default_model="digits") as running:
        answer = running.client.get("/v1/models/digits/versions/1/report", timeout=10)
        assert (answer.status_code, answer.json()["code"]) == (404, "no_report")
        assert sentence in answer.json()["error"]
        assert running.client.get("/v1/models/digits").json()["has_report"] is False


def test_a_report_may_be_a_link_within_the_models_folder_as_a_volume_makes_it(tmp_path: Path) -> None:
    place = put(tmp_path / "models", "digits", 1, ROOT / "models/digits/1/model.onnx").with_name("report.json")
    (data := place.with_name("..data")).mkdir()
    shutil.copyfile(ROOT / "models/digits/1/report.json", data / "report.json")
    place.symlink_to("..data/report.json")
    with serving(models=tmp_path / "models", default_model="digits") as running:
        assert running.client.get("/v1/models/digits").json()["has_report"] is True
        assert running.client.get("/v1/models/digits/versions/1/report").content == place.read_bytes()


def test_a_report_that_grows_while_it_is_read_is_too_large(
    tmp_path: Path, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    (larger := tmp_path / "report.json").touch()
    os.truncate(larger, (16 << 20) + 1)
    monkeypatch.setattr("service.api.reports.open_report", lambda *_: larger.open("rb"))
    answer = running.client.get("/v1/models/digits/versions/1/report")
    assert (answer.status_code, answer.json()["code"]) == (404, "no_report")


def test_bounds_are_those_of_the_settings(run: Callable[..., Running]) -> None:
    bounds = run(max_batch_rows=7, max_queue_rows=70, max_wait_ms=5).client.get("/v1/models").json()["batching"]
    assert (bounds["max_batch_rows"], bounds["max_queue_rows"], bounds["max_wait_s"]) == (7, 70, 0.005)


def test_every_answer_carries_its_id_and_its_timing(running: Running) -> None:
    for path in ("/healthz", "/readyz", "/v1/models", "/docs", "/openapi.json", "/nowhere"):
        headers = running.client.get(path, headers={"x-request-id": "mine"}).headers
        assert headers.get_list("x-request-id") == ["mine"]
        assert headers["server-timing"]
