"""Pods: a server that is started as the chart starts one, its settings, probes and end, and the chart's own test."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from service.engine.head import Head
from service.process.server import GRACE_S
from service.repository import Repository
from service.settings import Settings
from tests.api.bodies import until
from tests.conftest import ROOT, serving
from tests.deploy.conftest import CHART, METRICS_KEY, OWN, Manifests, pod, variables
from tests.heads_made import head
from tests.processes import calibrant, serve
from tests.rpc.calls import Caller
from tests.rpc.test_life import address
from tests.test_repository_volumes import project
from tests.transports.test_keys import line


def test_a_setting_arrives_as_it_was_given(manifests: Manifests, monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = {name: field.default for name, field in Settings.model_fields.items() if name not in OWN}
    given = {name: value for name, value in defaults.items() if value not in (None, "")} | {
        "max_queue_rows": 10**9,
        "max_wait_ms": 0.25,
        "watch": False,
        "provider": "auto",
    }
    objects = manifests(settings=given)
    for name, value in variables(objects).items():
        monkeypatch.setenv(name, value)
    assert Settings().model_dump(exclude=OWN) == defaults | given


def test_other_settings_make_other_pods_and_leave_the_old_ones_theirs(manifests: Manifests) -> None:
    assert manifests(settings={"drain_delay_s": 10}) == manifests()
    objects = manifests(settings={"drain_delay_s": 11})
    assert objects["Deployment"]["spec"]["template"] != manifests()["Deployment"]["spec"]["template"]
    assert "envFrom" not in pod(objects)["containers"][0]
    assert "ConfigMap" not in objects


def test_the_drain_fits_between_the_probes_and_the_end(manifests: Manifests) -> None:
    for variant in ("default", "gpu", "everything"):
        objects = manifests(variant)
        drain_delay_s = float(variables(objects)["CALIBRANT_DRAIN_DELAY_S"])
        assert pod(objects)["terminationGracePeriodSeconds"] >= drain_delay_s + GRACE_S + 5
    readiness = pod(manifests())["containers"][0]["readinessProbe"]
    assert readiness["failureThreshold"] * readiness["periodSeconds"] + readiness["timeoutSeconds"] < 10
    assert variables(manifests())["CALIBRANT_DRAIN_DELAY_S"] == "10"


def longest_hang_s(container: Mapping[str, Any]) -> int:
    """Seconds from the moment that a process stops, right after a probe, to SIGKILL: SIGTERM does nothing to it."""
    probe = container["livenessProbe"]
    assert probe["timeoutSeconds"] <= probe["periodSeconds"]  # else one probe would wait for the one before
    to_fail = probe["failureThreshold"] * probe["periodSeconds"] + probe["timeoutSeconds"]
    return int(to_fail + probe["terminationGracePeriodSeconds"])


def test_a_process_that_has_stopped_is_ended_and_started_again_within_30_s(manifests: Manifests) -> None:
    container = pod(manifests())["containers"][0]
    assert longest_hang_s(container) <= 25
    assert container["startupProbe"]["terminationGracePeriodSeconds"] == 5


def test_a_start_that_fails_leaves_its_sentence_where_kubectl_describe_reads_it(
    helm: ModuleType, yaml: ModuleType, manifests: Manifests, tmp_path: Path
) -> None:
    rendered = helm.Chart.load(CHART).render(None, name="calibrant", namespace="default")
    test_pod = yaml.safe_load(rendered["calibrant/templates/tests/predict.yaml"])["spec"]
    containers = [pod(manifests())["containers"][0], test_pod["containers"][0]]
    assert [one["terminationMessagePolicy"] for one in containers] == ["FallbackToLogsOnError"] * 2
    given = arguments(containers[0], host="127.0.0.1", port=0, models=tmp_path)
    done = calibrant("serve", *given, **variables(manifests()))
    assert done.returncode == 3
    assert "has no NAME/VERSION/model.onnx" in (done.stdout + done.stderr)[-2048:]  # as much as kubelet keeps


def arguments(container: Mapping[str, Any], **instead: object) -> list[object]:
    """What the container gives to `calibrant`, with options that this machine needs instead; `serve` is left out."""
    first, *options = container["args"]
    assert first == "serve"
    names = {option.partition("=")[0] for option in options}
    assert {f"--{name}" for name in instead} <= names
    kept = [option for option in options if option.partition("=")[0].removeprefix("--") not in instead]
    return [*kept, *(f"--{name}={value}" for name, value in instead.items())]


def test_a_server_started_as_the_pod_starts_it_passes_the_probes_and_drains(manifests: Manifests) -> None:
    objects = manifests(settings={"drain_delay_s": 2})
    container = pod(objects)["containers"][0]
    given = arguments(container, host="127.0.0.1", port=0, models=ROOT / "models")
    probes = [container[f"{probe}Probe"]["httpGet"]["path"] for probe in ("startup", "readiness", "liveness")]
    keys = {"CALIBRANT_API_KEYS": "secret"}  # which probes do not have
    with serve(*given, **variables(objects), **keys) as process:
        assert [process.client.get(path).status_code for path in probes] == [200, 200, 200]
        assert process.client.get("/v1/models").status_code == 401
        process.popen.send_signal(signal.SIGTERM)
        while process.client.get(probes[1]).status_code == 200:
            pass
        headers = {"authorization": "Bearer secret"}
        answer = process.client.post("/v1/predict", json={"logits": [1, 2]}, headers=headers)
        assert (answer.status_code, process.client.get(probes[2]).status_code) == (200, 200)
        assert process.popen.wait(30) == 0


def test_a_pod_with_a_file_of_keys_accepts_those_alone(manifests: Manifests, tmp_path: Path) -> None:
    monitor = manifests("everything")["ServiceMonitor"]["spec"]
    assert monitor["endpoints"][0]["authorization"] == METRICS_KEY
    objects = manifests(apiKeys={"fileSecretName": "key-file"})
    assert pod(objects)["volumes"] == [{"name": "keys", "secret": {"secretName": "key-file"}}]
    project(tmp_path, {"api-keys": line("ci", "secret").encode()})
    container = pod(objects)["containers"][0]
    assert {"name": "keys", "mountPath": "/keys", "readOnly": True} in container["volumeMounts"]
    path = tmp_path / "api-keys"
    given = arguments(container, host="127.0.0.1", port=0, models=ROOT / "models", **{"api-keys-file": path})
    with serve(*given) as process:
        headers = {"authorization": "Bearer secret"}
        assert process.client.post("/v1/predict", json={"logits": [1, 2]}, headers=headers).status_code == 200
        assert process.client.get("/metrics", headers=headers).status_code == 403
        project(tmp_path, {"api-keys": line("ci", "other").encode()})
        until(lambda: process.client.get("/metrics", headers=headers).status_code == 401)


def test_a_pod_says_whether_it_answers_without_keys(manifests: Manifests) -> None:
    said = {
        variant: [one for one in pod(manifests(variant))["containers"][0]["args"] if "insecure" in one]
        for variant in ("default", "everything")
    }
    assert said == {"default": ["--insecure"], "everything": ["--no-insecure"]}


def test_a_pod_with_a_port_for_grpc_answers_there(manifests: Manifests) -> None:
    objects = manifests("grpc")
    http, over_grpc = objects["Service"]["spec"]["ports"]
    assert (http["port"], over_grpc["port"]) == (8000, 9000)
    assert over_grpc["appProtocol"] == "kubernetes.io/h2c"
    given = arguments(pod(objects)["containers"][0], host="127.0.0.1", port=0, models=ROOT / "models", grpc=0)
    with serve(*given) as process:
        caller = Caller(None, address(process))
        with caller.channel:
            assert caller.call("ServerReady").ready


def test_variables_of_a_service_called_calibrant_never_reach_a_pod(
    helm: ModuleType, yaml: ModuleType, manifests: Manifests
) -> None:
    done = calibrant("serve", CALIBRANT_PORT="tcp://10.0.0.1:8000")
    assert done.returncode == 2
    assert "--port (CALIBRANT_PORT) is 'tcp://10.0.0.1:8000'" in done.stderr
    rendered = helm.Chart.load(CHART).render(None, name="calibrant", namespace="default")
    for spec in (pod(manifests()), yaml.safe_load(rendered["calibrant/templates/tests/predict.yaml"])["spec"]):
        assert spec["enableServiceLinks"] is False


@pytest.mark.parametrize("keys", ["", "first,second"], ids=["open", "with keys"])
def test_the_chart_s_own_test_asks_and_gets_an_answer(keys: str, helm: ModuleType, yaml: ModuleType) -> None:
    values = {"apiKeys": {"secretName": "keys"}} if keys else {}
    rendered = helm.Chart.load(CHART).render(values, name="calibrant", namespace="default")
    container = yaml.safe_load(rendered["calibrant/templates/tests/predict.yaml"])["spec"]["containers"][0]
    assert {variable["name"] for variable in container["env"]} == ({"URL", "KEYS"} if keys else {"URL"})
    options: dict[str, Any] = {"api_keys": keys} if keys else {}
    with serving(**options) as service:
        _, *flags = container["command"]
        environment = os.environ | {"URL": service.url} | ({"KEYS": keys} if keys else {})
        command = [sys.executable, *flags, *container["args"]]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert done.returncode == 0, done.stderr
    assert "'model': 'softmax'" in done.stdout


def test_the_keys_of_a_config_map_become_models(manifests: Manifests, tmp_path: Path) -> None:
    volume = next(volume for volume in pod(manifests("config map"))["volumes"] if volume["name"] == "models")
    [item] = volume["configMap"]["items"]
    project(tmp_path / "models", {item["path"]: head(tmp_path / "model.onnx", 2.0).read_bytes()})
    versions = Repository(tmp_path / "models", Head).models
    assert {name: list(numbers) for name, numbers in versions.items()} == {"digits": [3]}


def test_a_pod_with_a_volume_looks_for_changes_itself(manifests: Manifests) -> None:
    polling = {"WATCHFILES_FORCE_POLLING": "true", "WATCHFILES_POLL_DELAY_MS": "5000"}
    assert polling.items() <= variables(manifests("volume")).items()
    claim = {"source": "persistentVolumeClaim", "persistentVolumeClaim": {"claimName": "heads", "poll_ms": 0}}
    assert not polling.keys() & variables(manifests(models=claim)).keys()
