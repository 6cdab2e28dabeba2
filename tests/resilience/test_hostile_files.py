"""Hostile model files come into the folder of a service under load: each is named, and nobody notices."""

import shutil
import signal
import threading
import time
from pathlib import Path

import httpx

from tests.conftest import ROOT
from tests.engine.hostile import KINDS
from tests.processes import serve

# the worst of them; tests/engine/test_loader.py has all
WORST = ("endless loop", "memory bomb", "external data", "10,000 nodes", "truncated", "FIFO", "folder", "symlink out")


class Traffic:
    """A client that asks all the time; what came back, and how long it took."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.statuses: list[int] = []
        self.took_s: list[float] = []
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=30) as client:
            while not self.stopped.is_set():
                began = time.monotonic()
                self.statuses.append(client.post("/v1/predict", json={"logits": [1, 2, 3]}).status_code)
                self.took_s.append(time.monotonic() - began)
                time.sleep(0.005)

    def __enter__(self) -> "Traffic":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.thread.join()


def test_hostile_files_are_named_and_what_is_served_is_served_on(tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(ROOT / "models", models)
    with serve("--models", models, "--load-timeout-s", 4, "--load-memory-mb", 1024) as process:
        with Traffic(process.url) as traffic:
            for i, kind in enumerate(WORST):
                new = tmp_path / "new" / "1"
                new.mkdir(parents=True)
                KINDS[kind][0](new / "model.onnx")
                new.parent.rename(models / f"hostile-{i}")
            shutil.copytree(ROOT / "models/softmax", models / "zealous")
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline:
                said = process.client.get("/v1/models").json()
                if len(said["failures"]) >= len(WORST) and any(m["model"] == "zealous" for m in said["models"]):
                    break
                time.sleep(0.2)
        failures = process.client.get("/v1/models").json()["failures"]
        assert failures.keys() == {f"hostile-{i}/1" for i in range(len(WORST))}
        assert process.client.get("/readyz").status_code == 200
        assert process.client.post("/v1/models/zealous/predict", json={"logits": [1, 2]}).status_code == 200
        missing = process.client.post("/v1/models/hostile-0/predict", json={"logits": [1, 2]})
        assert (missing.status_code, missing.json()["code"]) == (404, "model_failed")
        assert set(traffic.statuses) == {200}
        assert max(traffic.took_s) < 2
        assert process.end(signal.SIGTERM)[0] == 0
