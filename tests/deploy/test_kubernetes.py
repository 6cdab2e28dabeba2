"""The Helm chart and what is rendered of it: valid, consistent, and a server that is started as a pod starts it."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from service import __version__
from service.engine.head import Head
from service.process.server import GRACE_S
from service.repository import Repository
from service.settings import Settings
from tests.conftest import ROOT, Running, serving
from tests.deploy.conftest import Tool
from tests.heads_made import head
from tests.processes import calibrant, serve
from tests.rpc.calls import Caller
from tests.rpc.test_life import address
from tests.test_repository_volumes import project

CHART = ROOT / "deploy" / "helm" / "calibrant"
RENDERED = ROOT / "deploy" / "kubernetes"
OWN = {"host", "port", "grpc", "models", "api_keys"}  # settings that the chart gives itself
BOUNDS = ("type", "enum", "minimum", "maximum", "exclusiveMinimum", "description")
PLAIN = {"autoscaling": {"enabled": False}, "podDisruptionBudget": {"enabled": False}}
VALUES: dict[str, dict[str, Any]] = {
    "default": {},
    "bare": PLAIN | {"networkPolicy": {"enabled": False}, "image": {"pullSecrets": [{"name": "registry"}]}},
    "config map": {
        "models": {
            "source": "configMap",
            "configMap": {"name": "heads", "items": [{"key": "digits-3", "path": "digits/3/model.onnx"}]},
        }
    },
    "volume": {
        "models": {
            "source": "persistentVolumeClaim",
            "persistentVolumeClaim": {"claimName": "heads", "subPath": "models"},
        }
    },
    "grpc": {"service": {"grpcPort": 9000}},
    "everything": {
        "autoscaling": {"queueRows": {"enabled": True}},
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "apiKeys": {"secretName": "keys"},
        "env": [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector:4318"}],
        "networkPolicy": {
            "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}}],
            "egress": [{"ports": [{"port": 4318, "protocol": "TCP"}]}],
        },
        "settings": {"max_body_bytes": 2**25, "fast_http": False, "default_timeout_ms": 0.5, "drain_delay_s": 2.5},
        "podAnnotations": {"example.org/team": "inference"},
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "affinity": {"nodeAffinity": {}},
        "runtimeClassName": "nvidia",
        "priorityClassName": "high",
        "service": {"type": "LoadBalancer", "port": 80},
    },
}

Manifests = Callable[..., dict[str, Any]]


def needed(name: str, config: pytest.Config) -> ModuleType:
    """A package of the group `deploy`."""
    if find_spec(name) is None:
        give_up = pytest.fail if config.getoption("thorough") else pytest.skip
        give_up(f"needs {name}: make .venv/deploying")
    return import_module(name)


@pytest.fixture(scope="session")
def helm(pytestconfig: pytest.Config) -> ModuleType:
    """Helm's library."""
    return needed("helm_python", pytestconfig)


@pytest.fixture(scope="session")
def yaml(pytestconfig: pytest.Config) -> ModuleType:
    """The reader of YAML."""
    return needed("yaml", pytestconfig)


@pytest.fixture(scope="session")
def render(helm: ModuleType) -> ModuleType:
    """What writes deploy/kubernetes."""
    return import_module("deploy.kubernetes.render")


@pytest.fixture(scope="session")
def variants(yaml: ModuleType) -> dict[str, dict[str, Any]]:
    """Values by what they are for."""
    return VALUES | {"gpu": yaml.safe_load((CHART / "values-gpu.yaml").read_text())}


@pytest.fixture(scope="session")
def manifests(render: ModuleType, yaml: ModuleType, variants: Mapping[str, Any]) -> Manifests:
    """The objects that the chart makes of a variant, by kind."""

    def made(variant: str = "default", **values: Any) -> dict[str, Any]:
        objects = map(yaml.safe_load, render.manifests(variants[variant] | values).values())
        return {one["kind"]: one for one in objects}

    return made


def pod(objects: Mapping[str, Any]) -> Any:
    """The pod of a Deployment."""
    return objects["Deployment"]["spec"]["template"]["spec"]


def test_helm_finds_nothing_to_complain_of(helm: ModuleType, variants: Mapping[str, Any]) -> None:
    for values in variants.values():
        report = helm.lint(CHART, values, strict=True)
        assert report["errors"] == []
        assert [message["error"] for message in report["messages"]] == ["icon is recommended"]


def test_the_chart_has_the_version_of_the_service(yaml: ModuleType) -> None:
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == __version__


def test_what_lies_rendered_is_what_the_chart_makes(render: ModuleType) -> None:
    there = {path.name: path.read_text() for path in RENDERED.glob("*.yaml") if path.name != "kustomization.yaml"}
    assert there == {name: render.NOTE + text for name, text in render.manifests().items()}, "run `make manifests`"


@pytest.mark.parametrize("version", ["1.27", "1.37"], ids="Kubernetes {}".format)
@pytest.mark.parametrize("variant", [*VALUES, "gpu"])
def test_every_manifest_is_valid(
    variant: str, version: str, tool: Tool, helm: ModuleType, yaml: ModuleType, variants: Any, tmp_path: Path
) -> None:
    rendered = helm.Chart.load(CHART).render(variants[variant], name="calibrant", namespace="default")
    files = []
    for path, text in rendered.items():
        if path.endswith(".yaml") and text.strip() and "ServiceMonitor" not in text:  # which Kubernetes does not know
            files.append(tmp_path / Path(path).name)
            files[-1].write_text(text)
    command = [tool("kubernetes-validate"), "--strict", "-k", version, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (done.stdout + done.stderr).count(" passed for resource ") == len(files) >= 4


@pytest.mark.online
def test_the_service_monitor_is_what_the_prometheus_operator_knows(
    tool: Tool, manifests: Manifests, tmp_path: Path
) -> None:
    package = "@kubernetes-models/prometheus-operator"  # the operator's definitions as JSON schemas
    install = [tool("npm", "apt-get install npm"), "install", "--silent", "--prefix", str(tmp_path), f"{package}@6.0.0"]
    subprocess.run(install, check=True, timeout=300)
    (tmp_path / "check.mjs").write_text(
        f"import {{ ServiceMonitor }} from '{package}/monitoring.coreos.com/v1/ServiceMonitor';\n"
        "for (const one of JSON.parse(process.argv[2])) {\n"
        "  try { new ServiceMonitor(one).validate(); console.log('valid'); }\n"
        "  catch (error) { console.log(error.message); }\n"
        "}\n"
    )
    good = manifests("everything")["ServiceMonitor"]
    bad = good | {"spec": good["spec"] | {"endpoints": [{"port": "http", "interval": "15 seconds"}]}}
    command = [tool("node", "apt-get install nodejs"), "check.mjs", json.dumps([good, bad])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, cwd=tmp_path)
    first, second = done.stdout.splitlines()
    assert first == "valid"
    assert "endpoints/0/interval must match pattern" in second


def test_kustomize_takes_the_rendered_folder(tool: Tool, yaml: ModuleType, manifests: Manifests) -> None:
    command = [tool("kubectl", "apt-get install kubernetes-client"), "kustomize", str(RENDERED)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert {one["kind"]: one for one in yaml.safe_load_all(done.stdout)} == manifests()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"replica": 1}, "additional properties 'replica' not allowed"),
        ({"settings": {"max_batch_row": 1}}, "additional properties 'max_batch_row' not allowed"),
        ({"settings": {"port": 9000}}, "additional properties 'port' not allowed"),
        ({"settings": {"drain_delay_s": "10"}}, "'/settings/drain_delay_s': got string, want number"),
        ({"settings": {"max_batch_rows": 0}}, "'/settings/max_batch_rows': minimum: got 0, want 1"),
        ({"settings": {"provider": "gpu"}}, "'/settings/provider': value must be one of 'cpu', 'cuda', 'auto'"),
        ({"image": {"tag": 0.1}}, "'/image/tag': got number, want string"),
        ({"models": {"source": "s3"}}, "value must be one of 'image', 'configMap', 'persistentVolumeClaim'"),
        ({"models": {"source": "configMap"}}, "'/models/configMap/name': minLength: got 0, want 1"),
        ({"models": {"source": "persistentVolumeClaim"}}, "'/models/persistentVolumeClaim/claimName': minLength"),
        (
            {"models": {"configMap": {"items": [{"key": "k", "path": "softmax/model.onnx"}]}}},
            "'/models/configMap/items/0/path': 'softmax/model.onnx' does not match pattern",
        ),
        ({"service": {"port": 70000}}, "'/service/port': maximum: got 70,000, want 65,535"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(helm: ModuleType, values: Any, sentence: str) -> None:
    with helm.Chart.load(CHART) as chart, pytest.raises(helm.HelmError) as refused:
        chart.render(values, name="calibrant", namespace="default")
    assert sentence in str(refused.value)


def test_the_schema_takes_both_files_of_values(helm: ModuleType, yaml: ModuleType, pytestconfig: pytest.Config) -> None:
    jsonschema = needed("jsonschema", pytestconfig)
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    assert schema["properties"].keys() == {*defaults, "global"}
    with helm.Chart.load(CHART) as chart:
        for name in ("values.yaml", "values-gpu.yaml"):
            values = chart.merge_values(yaml.safe_load((CHART / name).read_text()))
            jsonschema.validate(values, schema, jsonschema.Draft7Validator)


def test_the_settings_of_the_chart_are_those_of_the_service() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]["settings"]
    ours = Settings.model_json_schema()["properties"]
    assert schema["properties"] == {
        name: {key: says[key] for key in BOUNDS if key in says} for name, says in ours.items() if name not in OWN
    }


def test_a_setting_arrives_as_it_was_given(manifests: Manifests, monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = {name: field.default for name, field in Settings.model_fields.items() if name not in OWN}
    given = {name: value for name, value in defaults.items() if value is not None} | {
        "max_queue_rows": 10**9,
        "max_wait_ms": 0.25,
        "watch": False,
        "provider": "auto",
    }
    objects = manifests(settings=given)
    for name, value in objects["ConfigMap"]["data"].items():
        monkeypatch.setenv(name, value)
    assert Settings().model_dump(exclude=OWN) == defaults | given
    assert pod(objects)["containers"][0]["envFrom"] == [{"configMapRef": {"name": "calibrant"}}]


def test_other_settings_make_other_pods(manifests: Manifests) -> None:
    def checksum(**settings: Any) -> str:
        template = manifests(settings=settings)["Deployment"]["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/settings"])

    assert checksum() == checksum(drain_delay_s=10)
    assert checksum() != checksum(drain_delay_s=11)


@pytest.mark.parametrize("variant", [*VALUES, "gpu"])
def test_what_belongs_together_finds_each_other(variant: str, manifests: Manifests) -> None:
    objects = manifests(variant)
    deployment, service = objects["Deployment"], objects["Service"]
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    container = pod(objects)["containers"][0]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels
    assert service["spec"]["selector"].items() <= labels
    for constraint in pod(objects)["topologySpreadConstraints"]:
        assert constraint["labelSelector"]["matchLabels"].items() <= labels
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    options = dict(option.removeprefix("--").split("=") for option in container["args"][1:])
    asked = {"http": int(options["port"])} | ({"grpc": int(options["grpc"])} if variant == "grpc" else {})
    assert ports == asked
    assert {port["targetPort"] for port in service["spec"]["ports"]} == ports.keys()
    assert {container[f"{probe}Probe"]["httpGet"]["port"] for probe in ("startup", "readiness", "liveness")} == {"http"}
    volumes = {volume["name"] for volume in pod(objects)["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    if scaler := objects.get("HorizontalPodAutoscaler"):
        assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
        assert "replicas" not in deployment["spec"]
        assert "cpu" in container["resources"]["requests"]
    if budget := objects.get("PodDisruptionBudget"):
        assert budget["spec"]["selector"]["matchLabels"].items() <= labels
    if policy := objects.get("NetworkPolicy"):
        assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels
        assert {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]} == ports.keys()
    if monitor := objects.get("ServiceMonitor"):
        assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        assert monitor["spec"]["jobLabel"] in service["metadata"]["labels"]
        assert [endpoint["port"] for endpoint in monitor["spec"]["endpoints"]] == ["http"]
    assert ("ServiceMonitor" in objects) == (variant == "everything")


@pytest.mark.parametrize("variant", [*VALUES, "gpu"])
def test_every_pod_meets_the_restricted_pod_security_standard(
    variant: str, helm: ModuleType, yaml: ModuleType, manifests: Manifests, variants: Any
) -> None:
    rendered = helm.Chart.load(CHART).render(variants[variant], name="calibrant", namespace="default")
    pods = [pod(manifests(variant)), yaml.safe_load(rendered["calibrant/templates/tests/predict.yaml"])["spec"]]
    for spec in pods:
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert all({"emptyDir", "configMap", "persistentVolumeClaim"} & v.keys() for v in spec.get("volumes", []))
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def test_the_drain_fits_between_the_probes_and_the_end(manifests: Manifests) -> None:
    for variant in ("default", "gpu", "everything"):
        objects = manifests(variant)
        drain_delay_s = float(objects["ConfigMap"]["data"]["CALIBRANT_DRAIN_DELAY_S"])
        assert pod(objects)["terminationGracePeriodSeconds"] >= drain_delay_s + GRACE_S + 5
    readiness = pod(manifests())["containers"][0]["readinessProbe"]
    assert readiness["failureThreshold"] * readiness["periodSeconds"] + readiness["timeoutSeconds"] < 10
    assert manifests()["ConfigMap"]["data"]["CALIBRANT_DRAIN_DELAY_S"] == "10"


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
    with serve(*given, **objects["ConfigMap"]["data"], **keys) as process:
        assert [process.client.get(path).status_code for path in probes] == [200, 200, 200]
        assert process.client.get("/v1/models").status_code == 401
        process.popen.send_signal(signal.SIGTERM)
        while process.client.get(probes[1]).status_code == 200:
            pass
        headers = {"authorization": "Bearer secret"}
        answer = process.client.post("/v1/predict", json={"logits": [1, 2]}, headers=headers)
        assert (answer.status_code, process.client.get(probes[2]).status_code) == (200, 200)
        assert process.popen.wait(30) == 0


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


def test_the_autoscaler_asks_for_a_metric_that_there_is(manifests: Manifests, running: Running) -> None:
    metrics = manifests("everything")["HorizontalPodAutoscaler"]["spec"]["metrics"]
    name = metrics[1]["pods"]["metric"]["name"]
    assert re.search(rf"^{name} ", running.client.get("/metrics").text, re.MULTILINE)


@pytest.mark.parametrize("keys", ["", "first,second"], ids=["open", "with keys"])
def test_the_chart_s_own_test_asks_and_gets_an_answer(keys: str, helm: ModuleType, yaml: ModuleType) -> None:
    values = {"apiKeys": {"secretName": "keys"}} if keys else {}
    rendered = helm.Chart.load(CHART).render(values, name="calibrant", namespace="default")
    container = yaml.safe_load(rendered["calibrant/templates/tests/predict.yaml"])["spec"]["containers"][0]
    assert {variable["name"] for variable in container["env"]} == ({"URL", "KEYS"} if keys else {"URL"})
    with serving(api_keys=keys) as service:
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
    container = pod(manifests("volume"))["containers"][0]
    assert container["env"] == [
        {"name": "WATCHFILES_FORCE_POLLING", "value": "true"},
        {"name": "WATCHFILES_POLL_DELAY_MS", "value": "5000"},
    ]
    claim = {"source": "persistentVolumeClaim", "persistentVolumeClaim": {"claimName": "heads", "poll_ms": 0}}
    assert "env" not in pod(manifests(models=claim))["containers"][0]


def test_two_releases_in_one_namespace_do_not_meet(render: ModuleType, yaml: ModuleType) -> None:
    for one, other in zip(*(render.manifests(name=name).values() for name in ("red", "blue")), strict=True):
        assert yaml.safe_load(one)["metadata"]["name"] == "red-calibrant"
        assert yaml.safe_load(other)["metadata"]["name"] == "blue-calibrant"
        assert yaml.safe_load(one)["metadata"]["labels"] != yaml.safe_load(other)["metadata"]["labels"]
