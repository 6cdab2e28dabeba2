"""Hostile model files come into the folder of a service under load: each is named, and nobody notices."""

import shutil
import signal
import time
from pathlib import Path

from tests.conftest import ROOT
from tests.engine.hostile import KINDS
from tests.processes import serve
from tests.resilience.traffic import Traffic

# the worst of them; tests/engine/test_loader.py has all
WORST = ("endless loop", "memory bomb", "external data", "10,000 nodes", "truncated", "FIFO", "folder", "symlink out")


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
