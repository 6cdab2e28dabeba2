"""KServe's objects, against its own classes; a server that is started as the runtime does, asked by KServe's client."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.deploy.test_pods import arguments, longest_hang_s
from tests.processes import calibrant, serve

FOLDER = ROOT / "deploy" / "kserve"
PYTHON = ROOT / ".venv" / "kserve" / "bin" / "python"
SHIPPED = ROOT / "models" / "softmax" / "1" / "model.onnx"

Ask = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def ask(pytestconfig: pytest.Config) -> Ask:
    """Run a script of tests/clients where KServe's package is."""
    if not PYTHON.exists():
        give_up = pytest.fail if pytestconfig.getoption("thorough") else pytest.skip
        give_up("needs kserve: make kserve")

    def run(script: str, *given: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [str(PYTHON), str(ROOT / "tests" / "clients" / script), *given]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120, check=False)

    return run


@pytest.fixture(scope="session")
def objects(yaml: ModuleType) -> dict[str, Any]:
    """The objects, by kind."""
    return {one["kind"]: one for one in (yaml.safe_load(path.read_text()) for path in FOLDER.glob("*.yaml"))}


def test_kserve_s_classes_take_the_objects(ask: Ask, objects: dict[str, Any]) -> None:
    done = ask("kserve_objects.py", stdin=json.dumps(list(objects.values())))
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split("\n")) == ["", "V1alpha1ServingRuntime calibrant", "V1beta1InferenceService digits"]


@pytest.mark.parametrize(
    ("kind", "spoil", "sentence"),
    [
        ("InferenceService", lambda spec: spec["predictor"].update(minReplica=1), "has no minReplica"),
        ("InferenceService", lambda spec: spec["predictor"].update(minReplicas="2"), "minReplicas is '2'"),
        ("InferenceService", lambda spec: spec["predictor"]["model"].pop("modelFormat"), "`model_format`"),
        ("ServingRuntime", lambda spec: spec.pop("containers"), "`containers`"),
        ("ServingRuntime", lambda spec: spec["containers"][0].update(port=1), "extra_forbidden"),
    ],
)
def test_they_refuse_what_is_wrong(ask: Ask, objects: Any, kind: str, spoil: Any, sentence: str) -> None:
    spoilt = json.loads(json.dumps(objects[kind]))
    spoil(spoilt["spec"])
    done = ask("kserve_objects.py", stdin=json.dumps([spoilt]))
    assert done.returncode == 1
    assert sentence in done.stderr


def test_the_service_asks_for_what_the_runtime_offers(objects: dict[str, Any]) -> None:
    runtime, model = objects["ServingRuntime"], objects["InferenceService"]["spec"]["predictor"]["model"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["modelFormat"]["name"] in [offer["name"] for offer in runtime["spec"]["supportedModelFormats"]]
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]
    [container] = runtime["spec"]["containers"]
    [port] = container["ports"]
    assert container["name"] == "kserve-container"  # by which KServe finds it
    assert f"--port={port['containerPort']}" in container["args"]
    assert runtime["spec"]["annotations"]["prometheus.kserve.io/port"] == str(port["containerPort"])


def given(objects: dict[str, Any], models: Path) -> list[str]:
    """What the runtime gives to `calibrant serve` for the InferenceService, but for host, port and folder."""
    [container] = objects["ServingRuntime"]["spec"]["containers"]
    options = arguments(container, host="127.0.0.1", port=0, models=models)
    return [str(option).replace("{{.Name}}", objects["InferenceService"]["metadata"]["name"]) for option in options]


def test_a_process_that_has_stopped_is_ended_as_one_of_the_chart_and_a_failed_start_read_alike(
    objects: dict[str, Any],
) -> None:
    [container] = objects["ServingRuntime"]["spec"]["containers"]
    assert longest_hang_s(container) <= 25
    assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"


@pytest.mark.parametrize("place", ["model.onnx", "1/model.onnx", "digits/1/model.onnx"])
def test_a_server_started_as_the_runtime_starts_it_answers_kserve_s_client(
    place: str, ask: Ask, objects: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(SHIPPED, tmp_path / place)
    [container] = objects["ServingRuntime"]["spec"]["containers"]
    name = objects["InferenceService"]["metadata"]["name"]
    with serve(
        *given(objects, tmp_path), CALIBRANT_PORT="tcp://10.0.0.1:80"
    ) as process:  # as a Service called calibrant would bring
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert process.client.get(container[probe]["httpGet"]["path"]).status_code == 200
        done = ask("kserve_rest.py", process.url, name)
        native = process.client.post("/v1/predict", json={"logits": [[2.0, 1.0, 0.1], [0.3, -1.0, 4.0]]}).json()
    assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        [pytest.approx(row, rel=1e-6) for row in native["probabilities"]]
    ] * 2


def test_a_folder_without_the_model_of_the_service_s_name_stops_the_start(
    objects: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "other" / "1").mkdir(parents=True)
    shutil.copyfile(SHIPPED, tmp_path / "other" / "1" / "model.onnx")
    done = calibrant("serve", *given(objects, tmp_path))
    assert done.returncode == 3
    assert "the default model digits is not there; --default-model takes other" in done.stderr
