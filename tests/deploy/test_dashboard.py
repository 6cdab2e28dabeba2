"""The dashboard: what it asks for is there, it is what Grafana reads, and under load every panel shows something."""

import json
import math
import re
import subprocess
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

from service.api.live_metrics import live_metrics
from service.telemetry.tally import WARNINGS
from tests.api.test_live_metrics import REFIT
from tests.conftest import ROOT, Running
from tests.deploy.conftest import Tool
from tests.deploy.queries import ALERTS, Asked, Prometheus, alerts, dashboard, filled, panels, rules, watching
from tests.live.made import drawn, told
from tests.telemetry.test_counts import workers

GRAFANA = Path(__file__).with_name("grafana")
PROVISIONING = ROOT / "deploy" / "grafana" / "provisioning"
SELECTED = re.compile(r"\b(calibrant_\w+|process_\w+|calibrant:[\w:]+|up|ALERTS)\b(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)(=~|=)"([^"]*)"')
OF_PROMETHEUS = ({"__name__": "up"}, {"__name__": "ALERTS", "alertname": "CalibrantDown", "alertstate": "firing"})


def selects(matchers: str, labels: dict[str, str]) -> bool:
    """Whether a selector takes a sample; what Prometheus adds to it fits anything."""
    for name, how, wanted in MATCHER.findall(matchers):
        value = labels.get(name, "")
        if name not in ("job", "instance") and not (value == wanted if how == "=" else re.fullmatch(wanted, value)):
            return False
    return True


def missing(queries: Iterable[Asked], samples: list[dict[str, str]]) -> list[str]:
    """Selectors that would find nothing."""
    found = []
    for where, expr in queries:
        for name, matchers in SELECTED.findall(filled(expr)):
            if not any(labels["__name__"] == name and selects(matchers, labels) for labels in samples):
                found.append(f"{where}: {name}{{{matchers}}}")
    return found


@pytest.fixture
def samples(running: Running) -> list[dict[str, str]]:
    """The names and labels of all that a service with its shipped models says, and the rules make of it."""
    served = text_string_to_metric_families(running.client.get("/metrics").text)
    state = told(drawn(200, 0))
    state["models"]["digits/1"]["refit"] = REFIT
    of_labels = live_metrics(state)  # what a service with a journal says on top
    recorded = [{"__name__": rule["record"], "code": code} for rule in rules() if "record" in rule for code in WARNINGS]
    said = [{"__name__": sample.name, **sample.labels} for family in (*served, *of_labels) for sample in family.samples]
    return [*said, *recorded, *OF_PROMETHEUS]


def test_the_service_says_all_that_panels_and_alerts_select(samples: list[dict[str, str]]) -> None:
    recorded = [Asked(rule["record"], rule["expr"]) for rule in rules() if "record" in rule]
    assert missing([*panels(), *alerts(), *recorded], samples) == []


def test_a_selector_that_finds_nothing_is_found(samples: list[dict[str, str]]) -> None:
    wrong = [Asked("a", "rate(calibrant_request_total[5m])"), Asked("b", 'calibrant_rejected_total{reason="full"}')]
    assert [said[0] for said in missing(wrong, samples)] == ["a", "b"]


def test_the_dashboard_asks_in_order_and_explains_itself() -> None:
    board = dashboard()
    rows = [panel["title"] for panel in board["panels"] if panel["type"] == "row"]
    assert rows == ["Is it up?", "Is it fast?", "Is it full?", "Is it right?", "Is it still right?"]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    assert all(panel["description"] for panel in board["panels"] if panel["type"] != "row")
    known = {variable["name"] for variable in board["templating"]["list"]} | {"__rate_interval", "__range"}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(board))) - known == {"__all"}


def test_panels_lie_beside_each_other_and_not_upon() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]


def test_what_is_provisioned_fits_together() -> None:
    (source,) = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "calibrant.yml").read_text())["providers"]
    scraped = yaml.safe_load((ALERTS.with_name("prometheus.yml")).read_text())
    assert source["type"] == dashboard()["templating"]["list"][0]["query"]
    assert source["jsonData"]["timeInterval"] == scraped["global"]["scrape_interval"]
    assert provider["type"] == "file"


def typed(board: Any) -> str:
    """What the TypeScript compiler says of a dashboard."""
    source = 'import type { OurDashboard } from "./types.js";\nexport default {} satisfies OurDashboard;\n'
    (GRAFANA / "dashboard.ts").write_text(source.replace("{}", json.dumps(board, indent=1)))
    command = [str(GRAFANA / "node_modules" / ".bin" / "tsc"), "-p", "."]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=GRAFANA)
    assert (run.returncode == 0) == (run.stdout == "")
    return run.stdout


@pytest.mark.online
def test_the_dashboard_is_what_grafana_s_types_say(tool: Tool) -> None:
    npm = tool("npm", "apt-get install npm")
    subprocess.run([npm, "ci", "--ignore-scripts"], cwd=GRAFANA, check=True, timeout=300, capture_output=True)
    wrong = dashboard()
    wrong["panels"][1]["options"]["colorMode"] = "colourful"
    assert '"colourful"' in typed(wrong)
    assert typed(dashboard()) == ""


def test_under_load_every_panel_shows_something_and_every_alert_can_be_judged(tool: Tool, tmp_path: Path) -> None:
    if find_spec("locust") is None:
        tool("locust", "make .venv/loading")
    with workers(2, "--journal", str(tmp_path / "journal")) as url:
        target = url.removeprefix("http://")
        with watching(tool("prometheus", "apt-get install prometheus"), target, tmp_path) as prometheus:
            load(url)
            silent = []
            for chosen in ({}, {"job": "calibrant", "instance": target, "model": "digits"}):
                silent += shown(prometheus, panels(), chosen)
            assert silent == []
            shown(prometheus, alerts(), {})
            judged = [rule for group in prometheus.ask("/rules")["groups"] for rule in group["rules"]]
            assert len(judged) == len(rules())
            assert [(rule["name"], rule.get("lastError")) for rule in judged if rule["health"] != "ok"] == []
            assert [rule["name"] for rule in judged if rule.get("state") == "firing"] == []
            for name, values in variables(prometheus).items():
                assert values == {"job": ["calibrant"], "instance": [target], "model": ["digits", "softmax"]}[name]


def load(url: str) -> None:
    """What `make load` does, shortened; beside it somebody asks the other model, and takes probabilities for logits.

    Labels come for it, too.
    """
    command = [sys.executable, "-m", "deploy.locust.run", "--host", url, "--stage-s", "5"]
    # labels wait some seconds for a live process that is behind
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT) as locust,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        for n in count():
            if locust.poll() is not None:
                break
            for i, logits in enumerate(([1.0] + [0.0] * 9, [5.0] * 10)):
                asked = f"{n}-{i}"
                client.post("/v1/models/digits/predict", json={"logits": logits, "id": asked})
                label = n % (5, 10)[i]  # about as often right as they are sure: no alarm
                client.post("/v1/labels", json={"labels": [{"id": asked, "label": label}]})
            try:
                locust.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
        printed = locust.communicate()[0]
        sys.stdout.write(printed)
        assert locust.returncode == 0, printed


def shown(prometheus: Prometheus, queries: list[Asked], chosen: dict[str, str]) -> list[str]:
    """Ask all, print a table (`pytest -s`), and return those without an answer."""
    table = Table("where", "series", "largest value", "query", title=f"with {chosen or 'All'}", title_justify="left")
    silent = []
    for where, expr in queries:
        values = [value for value in prometheus.values(filled(expr, **chosen)) if math.isfinite(value)]
        table.add_row(where, str(len(values)), f"{max(values):.6g}" if values else "-", filled(expr, **chosen))
        if not values:
            silent.append(f"{where}: {filled(expr, **chosen)}")
    Console(width=230, highlight=False).print(table)
    return silent


def variables(prometheus: Prometheus) -> dict[str, list[str]]:
    """What can be chosen on the dashboard."""
    found = {}
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            match = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
            assert match
            selector, label = match.groups()
            found[variable["name"]] = prometheus.ask(f"/label/{label}/values", **{"match[]": filled(selector)})
    return found
