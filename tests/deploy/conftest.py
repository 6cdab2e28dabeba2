"""The tools that check what is under deploy/: a missing one skips a test, and fails it under `make check-deploy`.

And the chart: what it makes of values.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.conftest import ROOT

Tool = Callable[..., str]
Manifests = Callable[..., dict[str, Any]]
CHART = ROOT / "deploy" / "helm" / "calibrant"
# settings that the chart gives itself
OWN = {
    "host",
    "port",
    "grpc",
    "models",
    "api_keys",
    "api_keys_file",
    "insecure",
    "tls_cert",
    "tls_key",
    "journal",
    "journal_store",
}
METRICS_KEY = {"credentials": {"name": "keys", "key": "metrics-key"}}
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
    "journal": {"journal": {"store": {"secretName": "journal"}}},
    "everything": {
        "autoscaling": {"queueRows": {"enabled": True}},
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}, "authorization": METRICS_KEY},
        "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
        "apiKeys": {"secretName": "keys", "fileSecretName": "key-file"},
        "journal": {"store": {"secretName": "journal", "secretKey": "address", "port": 6432}, "sizeLimit": "4Gi"},
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


@pytest.fixture(scope="session")
def tool(pytestconfig: pytest.Config) -> Tool:
    """The path of a program, in this environment or on the PATH: `tool("promtool", "apt-get install prometheus")`."""

    def find(name: str, how: str = "make .venv/deploying") -> str:
        here = Path(sys.executable).parent / name
        found = str(here) if here.is_file() else shutil.which(name)
        if found is None:
            give_up = pytest.fail if pytestconfig.getoption("thorough") else pytest.skip
            give_up(f"needs {name}: {how}")
        return found

    return find


class Engine:
    """A container engine: what `docker ARGUMENTS` prints."""

    def __init__(self, docker: str) -> None:
        self.docker = docker

    def __call__(self, *arguments: object, timeout_s: float = 120) -> str:
        """Run the command, which must succeed."""
        done = self.run(*arguments, timeout_s=timeout_s)
        assert done.returncode == 0, (
            f"docker {' '.join(map(str, arguments))}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        )
        return done.stdout.strip()

    def run(self, *arguments: object, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run the command, whatever it says."""
        command = [self.docker, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_s, cwd=ROOT)


@pytest.fixture(scope="session")
def engine(tool: Tool) -> Engine:
    """An engine that answers."""
    engine = Engine(tool("docker", "Docker Engine with buildx and compose"))
    engine("version")
    return engine


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


def variables(objects: Mapping[str, Any]) -> dict[str, str]:
    """The variables of a pod that have their values in it."""
    return {one["name"]: one["value"] for one in pod(objects)["containers"][0].get("env", []) if "value" in one}
