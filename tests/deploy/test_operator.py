"""What the chart has for the Prometheus operator."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.deploy.conftest import Manifests, Tool
from tests.deploy.queries import ALERTS


def limited(memory: str | None) -> dict[str, Any]:
    """Values with a limit of memory, or none."""
    return {"prometheusRule": {"enabled": True}, "resources": {"limits": {"memory": memory}}}


def test_the_alerts_of_the_chart_are_those_of_prometheus_with_the_limit_of_its_memory(
    manifests: Manifests, variants: Mapping[str, Any], yaml: ModuleType, tool: Tool, tmp_path: Path
) -> None:
    text = ALERTS.read_text()
    assert text.count("0.8 * 2 ^ 30") == 1
    for values, bound in (
        (limited("1Gi"), "0.8 * 1 * 2 ^ 30"),
        (limited("1500M"), "0.8 * 1500 * 10 ^ 6"),
        (limited("2000000000"), "0.8 * 2000000000 * 1"),
        (limited(None), "0.8 * 1 * 2 ^ 30"),
        (variants["gpu"] | {"prometheusRule": {"enabled": True}}, "0.8 * 4 * 2 ^ 30"),
    ):
        rule = manifests(**values)["PrometheusRule"]
        assert rule["spec"] == yaml.safe_load(text.replace("0.8 * 2 ^ 30", bound))
        (tmp_path / "rules.yml").write_text(json.dumps(rule["spec"]))
        command = [tool("promtool", "apt-get install prometheus"), "check", "rules", str(tmp_path / "rules.yml")]
        subprocess.run(command, check=True, timeout=60, capture_output=True)


@pytest.mark.online
@pytest.mark.parametrize(
    ("kind", "spoilt", "sentence"),
    [
        (
            "ServiceMonitor",
            {"endpoints": [{"port": "http", "interval": "15 seconds"}]},
            "endpoints/0/interval must match pattern",
        ),
        (
            "PrometheusRule",
            {"groups": [{"name": "calibrant", "rules": [{"alert": "Down"}]}]},
            "must have required property expr",
        ),
    ],
)
def test_the_operator_knows_what_the_chart_has_for_it(
    kind: str, spoilt: Any, sentence: str, tool: Tool, manifests: Manifests, tmp_path: Path
) -> None:
    package = "@kubernetes-models/prometheus-operator"  # the operator's definitions as JSON schemas
    install = [tool("npm", "apt-get install npm"), "install", "--silent", "--prefix", str(tmp_path), f"{package}@6.0.0"]
    subprocess.run(install, check=True, timeout=300)
    (tmp_path / "check.mjs").write_text(
        f"import {{ {kind} }} from '{package}/monitoring.coreos.com/v1/{kind}';\n"
        "for (const one of JSON.parse(process.argv[2])) {\n"
        f"  try {{ new {kind}(one).validate(); console.log('valid'); }}\n"
        "  catch (error) { console.log(error.message); }\n"
        "}\n"
    )
    good = manifests("everything")[kind]
    bad = good | {"spec": good["spec"] | spoilt}
    command = [tool("node", "apt-get install nodejs"), "check.mjs", json.dumps([good, bad])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, cwd=tmp_path)
    first, second = done.stdout.splitlines()
    assert first == "valid"
    assert sentence in second
