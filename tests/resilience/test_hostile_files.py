"""Hostile model files come into the folder of a service: each is named, and what is served is served on."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.api.bodies import until
from tests.conftest import ROOT
from tests.engine.hostile import KINDS
from tests.processes import serve
from tests.resilience.traffic import Traffic

# the worst of them; tests/engine/test_loader.py has all
WORST = ("endless loop", "memory bomb", "external data", "10,000 nodes", "truncated", "FIFO", "folder", "symlink out")
# the command, but that a file that passed its trial hangs in the service itself, whatever it is told: it waits in C for
# a lock that it holds itself
HANGING = """
import ctypes, sys
from service.cli import main
from service.engine import head

libc, mutex, warm_up = ctypes.CDLL(None), ctypes.create_string_buffer(64), head.warm_up

def warm_up_or_hang(loaded):
    if "hanging" in str(loaded.path):
        loaded.path.with_name("hangs").touch()
        libc.pthread_mutex_lock(mutex)
        libc.pthread_mutex_lock(mutex)
    return warm_up(loaded)

head.warm_up = warm_up_or_hang
if __name__ == "__main__":
    sys.exit(main())
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    script = tmp_path / "script.py"
    script.write_text(HANGING)
    return script


def put(models: Path, name: str) -> None:
    """A good head of that name."""
    shutil.copytree(ROOT / "models/softmax", models / f".{name}")
    (models / f".{name}").rename(models / name)


def test_a_load_that_hangs_after_its_trial_is_named_and_holds_neither_later_models_nor_the_end(
    tmp_path: Path, script: Path
) -> None:
    models = tmp_path / "models"
    put(models, "softmax")
    with serve("--models", models, "--load-timeout-s", 4, program=[script], PYTHONPATH=str(ROOT)) as process:
        put(models, "hanging")
        put(models, "zealous")
        until(lambda: "zealous" in [m["model"] for m in process.client.get("/v1/models").json()["models"]])
        failure = process.client.get("/v1/models").json()["failures"]["hanging/1"]
        assert failure == (
            "hanging/1/model.onnx passed its trial, and did not load in the service within 4 s (--load-timeout-s)"
        )
        ready = process.client.get("/readyz")
        assert (ready.status_code, ready.json()["stopped"]) == (200, {"hanging/1": failure})
        began = time.monotonic()
        code, logged = process.end(signal.SIGTERM)
    assert (code, time.monotonic() - began < 10) == (0, True)
    assert "model hanging/1 does not load; it is not served: " in logged
    assert "ends without 1 loads that do not" in logged


def test_the_end_waits_for_no_load(tmp_path: Path, script: Path) -> None:
    models = tmp_path / "models"
    put(models, "softmax")
    with serve("--models", models, "--load-timeout-s", 600, program=[script], PYTHONPATH=str(ROOT)) as process:
        put(models, "hanging")
        put(models, "later")
        until((models / "hanging/1/hangs").exists)
        began = time.monotonic()
        code, _ = process.end(signal.SIGTERM)
    assert (code, time.monotonic() - began < 10) == (0, True)


def test_a_start_whose_only_model_hangs_fails_in_time(tmp_path: Path, script: Path) -> None:
    put(tmp_path / "models", "hanging")
    command = [sys.executable, script, "serve", "--models", tmp_path / "models", "--load-timeout-s", "4", "--port", "0"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(list(map(str, command)), env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3
    assert "passed its trial, and did not load in the service within 4 s" in done.stderr


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
