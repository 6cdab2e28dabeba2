"""The Helm chart and what is rendered of it: valid, and consistent."""

import json
import subprocess
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import pytest

from service import __version__
from service.settings import Settings
from tests.conftest import ROOT
from tests.deploy.conftest import CHART, OWN, VALUES, Manifests, Tool, needed, pod

RENDERED = ROOT / "deploy" / "kubernetes"
BOUNDS = ("type", "enum", "minimum", "maximum", "exclusiveMinimum", "description")


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
    variant: str, version: str, helm: ModuleType, yaml: ModuleType, variants: Any, pytestconfig: pytest.Config
) -> None:
    validate = needed("kubernetes_validate", pytestconfig).validate
    rendered = helm.Chart.load(CHART).render(variants[variant], name="calibrant", namespace="default")
    texts = [text for path, text in rendered.items() if path.endswith(".yaml") and text.strip()]
    manifests = [yaml.safe_load(text) for text in texts if "monitoring.coreos.com" not in text]  # no schema of these
    assert len(manifests) >= 3
    for manifest in manifests:
        validate(manifest, version, strict=True)


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
        ({"settings": {"journal": "/journal"}}, "additional properties 'journal' not allowed"),
        ({"journal": {"store": {"port": "5432"}}}, "'/journal/store/port': got string, want integer"),
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
    options = dict(option.removeprefix("--").partition("=")[::2] for option in container["args"][1:])
    asked = {"http": int(options["port"])} | ({"grpc": int(options["grpc"])} if variant == "grpc" else {})
    assert ports == asked
    assert {port["targetPort"] for port in service["spec"]["ports"]} == ports.keys()
    assert {container[f"{probe}Probe"]["httpGet"]["port"] for probe in ("startup", "readiness", "liveness")} == {"http"}
    volumes = {volume["name"] for volume in pod(objects).get("volumes", [])}
    assert {mount["name"] for mount in container.get("volumeMounts", [])} == volumes
    if scaler := objects.get("HorizontalPodAutoscaler"):
        assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
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
    assert ({"ServiceMonitor", "PrometheusRule"} <= objects.keys()) == (variant == "everything")


@pytest.mark.parametrize("variant", [*VALUES, "gpu"])
def test_no_variable_of_the_service_is_empty(variant: str, manifests: Manifests) -> None:
    """Which it would refuse."""
    for variable in pod(manifests(variant))["containers"][0].get("env", []):
        assert variable.get("value") or variable["valueFrom"], variable["name"]


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
        assert all(
            {"emptyDir", "configMap", "persistentVolumeClaim", "secret"} & v.keys() for v in spec.get("volumes", [])
        )
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def test_two_releases_in_one_namespace_do_not_meet(render: ModuleType, yaml: ModuleType) -> None:
    for one, other in zip(*(render.manifests(name=name).values() for name in ("red", "blue")), strict=True):
        assert yaml.safe_load(one)["metadata"]["name"] == "red-calibrant"
        assert yaml.safe_load(other)["metadata"]["name"] == "blue-calibrant"
        assert yaml.safe_load(one)["metadata"]["labels"] != yaml.safe_load(other)["metadata"]["labels"]
