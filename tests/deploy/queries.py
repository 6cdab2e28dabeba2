"""The queries of the dashboard and of the alerts, read from their files, and a Prometheus to ask them."""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import yaml

from tests.benchmarks.processes import free_port
from tests.conftest import ROOT

PROMETHEUS = ROOT / "deploy" / "prometheus"
ALERTS = PROMETHEUS / "alerts.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "calibrant.json"
VARIABLE = re.compile(r"\$\{?(\w+)\}?")


class Asked(NamedTuple):
    """A query, and where it stands."""

    where: str
    expr: str


def dashboard() -> Any:
    """The dashboard, as Grafana reads it."""
    return json.loads(DASHBOARD.read_text())


def panels() -> list[Asked]:
    """Every query of every panel, with its variables."""
    drawn = [panel for panel in dashboard()["panels"] if panel["type"] != "row"]
    return [
        Asked(f"{panel['title']} {target['refId']}", target["expr"]) for panel in drawn for target in panel["targets"]
    ]


def rules() -> list[dict[str, Any]]:
    """All rules, recorded ones and alerts."""
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def alerts() -> list[Asked]:
    """The expression of every alert."""
    return [Asked(rule["alert"], rule["expr"]) for rule in rules() if "alert" in rule]


def filled(expr: str, **chosen: str) -> str:
    """A query with the values of its variables; those that are not chosen have that of "All"."""
    values = {"__rate_interval": "15s", "__range": "1m", "job": ".*", "instance": ".*", "model": ".*", **chosen}
    return VARIABLE.sub(lambda found: values[found[1]], expr)


class Prometheus:
    """One that runs."""

    def __init__(self, url: str) -> None:
        self.client = httpx.Client(base_url=f"{url}/api/v1", timeout=30)

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer."""
        answer = self.client.get(path, params=parameters).json()
        assert answer["status"] == "success", (parameters, answer)
        return answer["data"]

    def values(self, expr: str) -> list[float]:
        """The values of a query, now."""
        return [float(sample["value"][1]) for sample in self.ask("/query", query=expr)["result"]]

    def sees_a_target(self) -> bool:
        """Whether it has started, and has scraped something."""
        try:
            answer = self.client.get("/query", params={"query": "up == 1"})
        except httpx.TransportError:
            return False
        return answer.status_code == 200 and bool(answer.json()["data"]["result"])  # 503 while it starts


@contextmanager
def watching(program: str, target: str, folder: Path) -> Iterator[Prometheus]:
    """Prometheus with the configuration that is shipped, but for the target, and for looking every second."""
    config = (PROMETHEUS / "prometheus.yml").read_text()
    for shipped, here in (("calibrant:8000", target), ("_interval: 15s", "_interval: 1s")):
        assert shipped in config
        config = config.replace(shipped, here)
    (folder / "prometheus.yml").write_text(config)
    (folder / "alerts.yml").write_text(ALERTS.read_text())
    url = f"127.0.0.1:{free_port()}"
    command = [program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={url}"], stdout=log, stderr=log)
    try:
        prometheus = Prometheus(f"http://{url}")
        with prometheus.client:
            end = time.monotonic() + 60
            while not prometheus.sees_a_target():
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < end, "Prometheus does not find the service"
                time.sleep(0.2)
            yield prometheus
    finally:
        process.terminate()
        process.wait(30)
