"""The alarm of a head that has drifted, from the labels to a real Prometheus that fires."""

import time
from pathlib import Path
from typing import Any

from deploy.drift.scans import Scanner, scanners
from tests.deploy.conftest import Tool
from tests.deploy.queries import Prometheus, watching
from tests.processes import Process, serve

ALERT = "CalibrantCalibrationDrifted"
SHEETS, SHEET = 40, 20


def answer_and_label(process: Process, scanner: Scanner, group: str) -> None:
    """Have scans of a group answered, and tell what they were."""
    for number in range(SHEETS):
        sheet = scanner.sheet(SHEET)
        body: dict[str, Any] = {"id": f"{group}-{number}", "logits": sheet.logits.tolist(), "group": group}
        assert process.client.post("/v1/models/digits/predict", json=body).status_code == 200
        labels = [{"id": body["id"], "row": row, "label": label} for row, label in enumerate(sheet.labels.tolist())]
        assert process.client.post("/v1/labels", json={"labels": labels}).status_code == 202


def wait_for_labels(process: Process, prometheus: Prometheus, n: int) -> None:
    """Return once Prometheus knows that so many labels were counted, which is after what they say."""
    end = time.monotonic() + 60
    while prometheus.values('calibrant_live_labels_total{model="digits"}') != [n]:
        assert time.monotonic() < end, process.client.get("/v1/models/digits/versions/1/calibration").text
        time.sleep(0.2)


def firing(prometheus: Prometheus) -> set[str]:
    """The scopes for which the alert fires."""
    found = prometheus.ask("/alerts")["alerts"]
    return {one["labels"]["scope"] for one in found if one["labels"]["alertname"] == ALERT and one["state"] == "firing"}


def test_an_alert_fires_and_names_the_guilty_group(tool: Tool, tmp_path: Path) -> None:
    program = tool("prometheus", "apt-get install prometheus")
    clean, dirty = scanners()
    with serve("--journal", tmp_path / "journal") as process:
        target = process.url.removeprefix("http://")
        with watching(program, target, tmp_path) as prometheus:
            answer_and_label(process, clean, "front desk")
            wait_for_labels(process, prometheus, SHEETS * SHEET)
            assert firing(prometheus) == set()
            answer_and_label(process, dirty, "archive")
            wait_for_labels(process, prometheus, 2 * SHEETS * SHEET)
            end = time.monotonic() + 30
            while "group archive" not in firing(prometheus):
                assert time.monotonic() < end, prometheus.ask("/alerts")
                time.sleep(0.2)
            assert "group front desk" not in firing(prometheus)
