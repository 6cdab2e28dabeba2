"""What the chart has for the Prometheus operator."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.deploy.conftest import Manifests, Tool


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
