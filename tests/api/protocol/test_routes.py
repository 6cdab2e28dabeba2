"""What clients of the protocol ask beside infer: health, metadata, configuration, statistics, repository."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.families.outputs import GRAPH_OUTPUTS
from tests.api.bodies import refused
from tests.conftest import ROOT, Running, serving
from tests.heads_made import foreign, head, put
from tests.transports.infer import post, tensor

LOGITS = tensor("logits", "FP32", [2, 3], data=[0, 1, 2, 3, 4, 5])


def got(running: Running, path: str) -> Any:
    """The JSON of a GET that goes well."""
    response = running.client.get(path)
    assert response.status_code == 200, response.text
    return response.json()


def test_the_server_says_who_it_is(running: Running) -> None:
    said = got(running, "/v2")
    assert said["name"] == "calibrant"
    assert isinstance(said["version"], str)
    assert {"binary_tensor_data", "classification", "statistics", "model_repository"} <= set(said["extensions"])


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready"])
def test_health_needs_no_key(run: Callable[..., Running], path: str) -> None:
    client = run(api_keys="secret").client
    assert client.get(path).status_code == 200
    assert client.get("/v2/models/softmax/ready").status_code == 401


def test_health_says_live_and_ready(running: Running) -> None:
    assert got(running, "/v2/health/live") == {"live": True}  # on any connection, also on one that is one too many
    assert got(running, "/v2/health/ready") == {"live": True, "ready": True}


def test_a_service_that_drains_is_live_and_not_ready(run: Callable[..., Running]) -> None:
    running = run()
    running.service.draining = True
    assert got(running, "/v2/health/live") == {"live": True}
    response = running.client.get("/v2/health/ready")
    assert response.status_code == 503
    said = response.json()
    assert {key: said[key] for key in ("live", "ready", "code")} == {"live": True, "ready": False, "code": "not_ready"}
    assert isinstance(said["error"], str)
    refused(running.client.get("/v2/models/softmax/ready"), 503, "not_ready")


@pytest.mark.parametrize("version", ["", "/versions/1"])
def test_a_model_says_what_it_takes_and_gives(running: Running, version: str) -> None:
    said = got(running, f"/v2/models/softmax{version}")
    assert said["versions"] == ["1"]
    assert said["platform"]
    assert said["inputs"] == [{"name": "logits", "datatype": "FP32", "shape": [-1, -1]}]
    assert said["outputs"][0] == {"name": "probabilities", "datatype": "FP32", "shape": [-1, -1]}
    assert got(running, f"/v2/models/softmax{version}/ready") == {"name": "softmax", "ready": True}


@pytest.mark.parametrize("version", ["", "/versions/1"])
def test_the_configuration_is_triton_s(running: Running, version: str) -> None:
    said = got(running, f"/v2/models/softmax{version}/config")
    assert said["max_batch_size"] == 8192
    assert said["input"] == [
        {"name": "logits", "data_type": "TYPE_FP32", "format": "FORMAT_NONE", "dims": [-1], "optional": False}
    ]
    prediction = next(output for output in said["output"] if output["name"] == "prediction")
    assert (prediction["dims"], prediction["reshape"]) == ([1], {"shape": []})


@pytest.mark.parametrize("path", ["", "/ready", "/config", "/stats", "/versions/7", "/versions/7/ready"])
def test_an_unknown_model_is_404_wherever_it_is_asked_for(running: Running, path: str) -> None:
    refused(running.client.get(f"/v2/models/nobody{path}"), 404, "unknown_model")


@pytest.mark.parametrize("path", ["", "/ready", "/config", "/stats"])
def test_an_unknown_version_is_404(running: Running, path: str) -> None:
    refused(running.client.get(f"/v2/models/softmax/versions/7{path}"), 404, "unknown_version")


def test_statistics_count_rows_and_batches(run: Callable[..., Running]) -> None:
    running = run()
    assert {line["inference_count"] for line in got(running, "/v2/models/stats")["model_stats"]} == {0}
    for _ in range(3):
        assert post(running, {"inputs": [LOGITS]}).status_code == 200
    assert running.predict({"logits": [1, 2]}).status_code == 200
    assert post(running, {"inputs": []}).status_code == 422
    said = got(running, "/v2/models/softmax/versions/1/stats")["model_stats"][0]
    assert (said["name"], said["version"]) == ("softmax", "1")
    assert (said["inference_count"], said["execution_count"]) == (7, 4)
    assert said["last_inference"] > 1.6e12
    stats = said["inference_stats"]
    assert (stats["success"]["count"], stats["fail"]["count"]) == (4, 1)
    assert 0 < stats["compute_infer"]["ns"] < stats["success"]["ns"]
    assert [(line["batch_size"], line["compute_infer"]["count"]) for line in said["batch_stats"]] == [(1, 1), (2, 3)]


def test_the_index_lists_what_is_served_and_what_does_not_load(tmp_path: Path) -> None:
    put(tmp_path, "softmax", 1, ROOT / "models/softmax/1/model.onnx")
    with serving(models=tmp_path) as running:
        (tmp_path / "bad" / "1").mkdir(parents=True)
        (tmp_path / "bad" / "1" / "model.onnx").write_bytes(b"nothing")
        said = refused(
            running.client.post("/v2/repository/models/bad/load"), 404, "model_failed", "is not an ONNX model"
        )
        assert said["error"].startswith("the model bad is not served, it does not load: bad/1/model.onnx ")
        assert refused(running.client.get("/v2/models/bad"), 404, "model_failed") == said
        good, bad = running.client.post("/v2/repository/index").json()
        assert good == {"name": "softmax", "version": "1", "state": "READY", "reason": ""}
        assert (bad["name"], bad["state"]) == ("bad", "UNAVAILABLE")
        assert bad["reason"]
        ready = running.client.post("/v2/repository/index", json={"ready": True}).json()
        assert ready == [good]


def test_a_version_that_is_served_stays_ready_in_the_index_though_its_new_file_does_not_load(tmp_path: Path) -> None:
    put(tmp_path, "softmax", 1, ROOT / "models/softmax/1/model.onnx")
    with serving(models=tmp_path) as running:
        (tmp_path / "softmax" / "1" / "model.onnx").write_bytes(b"nothing")
        running.client.post("/v2/repository/models/softmax/load")
        assert running.service.repository.failures.keys() == {"softmax/1"}
        assert running.client.post("/v2/repository/index").json() == [
            {"name": "softmax", "version": "1", "state": "READY", "reason": ""}
        ]
        assert post(running, {"inputs": [LOGITS]}).status_code == 200


@pytest.mark.parametrize("action", ["load", "unload"])
def test_one_of_several_workers_does_not_change_what_it_serves_by_itself(
    run: Callable[..., Running], action: str
) -> None:
    running = run(workers=3)
    response = running.client.post(f"/v2/repository/models/softmax/{action}")
    refused(response, 422, "several_workers", "3 workers serve the models: put a file into the models folder")
    assert running.predict({"logits": [1, 2]}).status_code == 200


def test_a_classifier_says_its_own_inputs(tmp_path: Path) -> None:
    props = {"calibrant": '{"takes":"inputs","classes":4}'}
    foreign(tmp_path / "softmax/1/model.onnx", props=props, names=GRAPH_OUTPUTS)
    with serving(models=tmp_path) as running:
        said, configured = got(running, "/v2/models/softmax"), got(running, "/v2/models/softmax/config")
    assert said["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
    assert said["outputs"][0] == {"name": "probabilities", "datatype": "FP32", "shape": [-1, 4]}
    assert [(line["name"], line["data_type"], line["dims"]) for line in configured["input"]] == [
        ("x", "TYPE_FP32", [4])
    ]


def test_models_are_unloaded_and_loaded_on_demand(run: Callable[..., Running], tmp_path: Path) -> None:
    put(tmp_path, "softmax", 1, ROOT / "models/softmax/1/model.onnx")
    running = run(models=tmp_path)
    assert running.client.post("/v2/repository/models/softmax/unload", json={}).status_code == 200
    refused(post(running, {"inputs": [LOGITS]}), 404, "unknown_model")
    refused(running.client.get("/v2/models/softmax/ready"), 404, "unknown_model")
    assert running.client.post("/v2/repository/index").json()[0]["state"] == "UNAVAILABLE"
    put(tmp_path, "softmax", 2, head(tmp_path / "warm.onnx", 2.0))
    assert running.client.post("/v2/repository/models/softmax/load").status_code == 200
    assert post(running, {"inputs": [LOGITS]}).json()["model_version"] == "2"
    refused(running.client.post("/v2/repository/models/nobody/load"), 404, "unknown_model")
    refused(running.client.post("/v2/repository/models/nobody/unload"), 404, "unknown_model")


LOAD = "/v2/repository/models/nobody/load"
UNLOAD = "/v2/repository/models/nobody/unload"
INDEX = "/v2/repository/index"


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded", ""])
@pytest.mark.parametrize("path", [INDEX, LOAD, UNLOAD])
@pytest.mark.parametrize(
    ("body", "status", "code", "sentence"),
    [
        (b"{", 400, "not_json", "the body is not JSON"),
        (b"\xff", 400, "not_json", "the body is not UTF-8 at byte 0; expected JSON in UTF-8"),
        (
            b"[" * 50_000,
            400,
            "not_json",
            "the body is nested too deeply; expected at most 128 levels (--max-json-depth)",
        ),
        (b"[]", 422, "invalid_value", "the body is a list; expected an object"),
        (b"null", 422, "invalid_value", "the body is null; expected an object"),
        (b'{"a":1,"a":1}', 422, "duplicate_key", "the key 'a' is repeated; it may appear once"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_body_of_the_wrong_kind_is_refused_in_the_words_of_predict(
    running: Running, path: str, content_type: str, body: bytes, status: int, code: str, sentence: str
) -> None:
    response = running.client.post(path, content=body, headers={"content-type": content_type})
    refused(response, status, code, sentence)


@pytest.mark.parametrize(
    ("path", "key", "value", "sentence"),
    [
        (INDEX, "ready", 1, "ready is 1; expected true or false"),
        (INDEX, "ready", "true", "ready is a string; expected true or false"),
        (INDEX, "ready", None, "ready is null; expected true or false"),
        (LOAD, "parameters", [], "parameters is a list; expected an object"),
        (UNLOAD, "parameters", 0, "parameters is 0; expected an object"),
    ],
)
def test_a_key_of_the_wrong_kind_is_refused(running: Running, path: str, key: str, value: Any, sentence: str) -> None:
    assert refused(running.client.post(path, json={key: value}), 422, "invalid_value")["error"] == sentence


def test_curl_s_own_type_is_read_as_json(running: Running) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert running.client.post(INDEX, content=b'{"ready":true}', headers=form).status_code == 200


def test_a_body_that_is_too_large_is_not_read_to_its_end(run: Callable[..., Running]) -> None:
    running = run(max_body_bytes=1000)
    assert running.client.post(INDEX, content=b"{}".ljust(1000)).status_code == 200
    for path in (INDEX, LOAD, UNLOAD):
        refused(running.client.post(path, content=b"{}".ljust(1001)), 413, "body_too_large", "larger than 1000 bytes")
