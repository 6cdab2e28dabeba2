"""Runs that fail: whoever is in the batch hears of it, with a sentence; all others, and what comes later, go on."""

import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from service.engine.head import Head
from tests.conftest import ROOT, Running, serving
from tests.engine.hostile import TRAP, greedy

# as ONNX Runtime has it; its exceptions share no root, and this one is no more than its text
CUDA = (
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running MatMul node. Name:'' "
    "Status Message: CUDA failure 2: out of memory ; GPU=0 ; hostname=gpu ; expr=cudaMalloc(&p, size);"
)
TEN = {"logits": [1] * 10}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The shipped models, and `greedy`."""
    models = tmp_path_factory.mktemp("faults") / "models"
    shutil.copytree(ROOT / "models", models)
    (models / "greedy/1").mkdir(parents=True)
    greedy(models / "greedy/1/model.onnx")
    with serving(models=models) as service:
        yield service


class Session:
    """A session of ONNX Runtime, but that its runs are something else."""

    def __init__(self, session: Any, run: Callable[..., Any]) -> None:
        self.session = session
        self.run = self.run_with_iobinding = run
        self._sess = self  # what the engine runs, past the wrapper

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)


def replace_runs(head: Head, run: Callable[..., Any], patch: pytest.MonkeyPatch) -> None:
    """Let the sessions of a head run something else."""
    for name in ("session", "short"):
        patch.setattr(head, name, Session(getattr(head, name), run))
    patch.setattr(head, "bound", {})


def metric(running: Running, name: str) -> float:
    """A line of /metrics."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", running.client.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def check_fault(running: Running, failing: Callable[[], httpx.Response], status: int, code: str) -> None:
    """A request fails, and is counted; other models answer, and the service is ready."""
    counted = f'calibrant_rejected_total{{reason="{code}"}}'
    before = metric(running, counted)
    failed = failing()
    assert (failed.status_code, failed.json()["code"]) == (status, code)
    assert running.predict({"logits": [1, 2]}).status_code == 200
    assert running.client.get("/readyz").json() == {"status": "ready"}
    assert metric(running, counted) == before + 1


def test_a_run_that_raises(running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("[ONNXRuntimeError] : 1 : FAIL : a secret")

    with monkeypatch.context() as patch:
        replace_runs(running.service.repository.find("digits").head, fail, patch)
        check_fault(running, lambda: running.predict(TEN, "digits"), 500, "run_failed")
        check_fault(running, lambda: running.predict({"logits": [[1] * 10] * 3}, "digits"), 500, "run_failed")
    assert running.predict(TEN, "digits").status_code == 200
    assert caplog.text.count("a batch of 1 entry failed") == 2
    assert "a secret" in caplog.text


def test_a_run_that_answers_another_number_of_rows(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    head = running.service.repository.find("digits").head
    run = head.run

    with monkeypatch.context() as patch:
        patch.setattr(head, "run", lambda feed, bits: {name: rows[1:] for name, rows in run(feed, bits).items()})
        check_fault(running, lambda: running.predict({"logits": [[1] * 10] * 3}, "digits"), 500, "run_failed")
    assert running.predict({"logits": [[1] * 10] * 3}, "digits").status_code == 200


def test_a_device_without_memory(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError(CUDA)

    with monkeypatch.context() as patch:
        replace_runs(running.service.repository.find("digits").head, fail, patch)
        check_fault(running, lambda: running.predict(TEN, "digits"), 503, "out_of_memory")
        assert running.predict(TEN, "digits").headers["retry-after"] == "1"
    assert running.predict(TEN, "digits").status_code == 200


def test_a_machine_without_memory(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    assert running.predict(TEN, "greedy").status_code == 200
    check_fault(running, lambda: running.predict({"logits": [2 * TRAP] * 10}, "greedy"), 503, "out_of_memory")
    assert running.predict(TEN, "greedy").status_code == 200
    assert "a batch of 1 entry failed" in caplog.text
