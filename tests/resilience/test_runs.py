"""Runs that never return, in a service as it runs: their head is out, the others go on, and SIGTERM ends it."""

import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.api.bodies import until
from tests.conftest import ROOT
from tests.engine.hostile import TRAP, trap
from tests.engine.runners import NEVER_INLINE
from tests.processes import Process, serve

POISON = [2 * TRAP] * 10
LIMITS = ("--no-watch", "--load-timeout-s", 0, "--run-timeout-s", 2)
# the command, but that all runs happen where the test wants them
PLACED = """
import ctypes, sys
import service.app
from service.cli import main
from service.engine.head import Head

async def measure_hand_over(batcher):
    batcher.inline_s = INLINE_S

service.app.measure_hand_over = measure_hand_over
"""
# and that runs of large logits hang, whatever they are told: they wait in C for a lock that they hold themselves
HANGING = """
libc, mutex, run = ctypes.CDLL(None), ctypes.create_string_buffer(64), Head.run

def run_or_hang(head, feed, bits):
    if feed["logits"].max() > 1000:
        print("hangs", flush=True)
        libc.pthread_mutex_lock(mutex)
        libc.pthread_mutex_lock(mutex)
    return run(head, feed, bits)

Head.run = run_or_hang
"""
IMPATIENT = """
import service.process.server
service.process.server.LAST_S = 1.0
"""
MAIN = """
if __name__ == "__main__":
    sys.exit(main())
"""
ON_LOOP, IN_THREAD = 60.0, NEVER_INLINE
BOTH = pytest.mark.parametrize("inline_s", [ON_LOOP, IN_THREAD], ids=["on the loop", "in a thread"])


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """The model `trapped` beside those that are shipped."""
    models = tmp_path / "models"
    shutil.copytree(ROOT / "models", models)
    (models / "trapped/1").mkdir(parents=True)
    trap(models / "trapped/1/model.onnx")
    return models


@contextmanager
def placed(
    models: Path, inline_s: float, *options: object, hangs: bool = False, impatient: bool = False
) -> Iterator[Process]:
    """A service whose runs happen on the loop up to so many seconds, and hang where they `hang`."""
    script = models.parent / "script.py"
    script.write_text(PLACED.replace("INLINE_S", str(inline_s)) + HANGING * hangs + IMPATIENT * impatient + MAIN)
    with serve("--models", models, *LIMITS, *options, program=[script], PYTHONPATH=str(ROOT)) as process:
        yield process


def poison(process: Process) -> httpx.Response:
    """Ask for a run that never ends."""
    return process.client.post("/v1/models/trapped/predict", json={"logits": POISON})


def poison_in_vain(process: Process) -> None:
    """The same of a process that ends over it."""
    with suppress(httpx.TransportError):
        poison(process)


def answers(process: Process, model: str) -> int:
    """The status of a harmless request."""
    return process.client.post(f"/v1/models/{model}/predict", json={"logits": [1] * 10}).status_code


def check_stopped(process: Process) -> None:
    """The head `trapped` is out of service, which can be read everywhere; the others go on."""
    ready = process.client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["stopped"].keys() == {"trapped/1"}
    assert "was taken out of service (--run-timeout-s)" in ready.json()["stopped"]["trapped/1"]
    assert "calibrant_stopped_heads 1.0" in process.client.get("/metrics").text
    assert process.client.get("/v2/models/trapped/ready").status_code == 503
    assert process.client.get("/v2/models/digits/ready").status_code == 200
    index = process.client.post("/v2/repository/index").json()
    assert {line["name"]: line["state"] for line in index}["trapped"] == "UNAVAILABLE"
    again = process.client.post("/v1/models/trapped/predict", json={"logits": [1] * 10})
    assert (again.status_code, again.json()["code"]) == (503, "head_stopped")
    assert answers(process, "digits") == 200


@BOTH
def test_a_run_that_never_returns_takes_its_head_out_until_it_is_loaded_again(models: Path, inline_s: float) -> None:
    with placed(models, inline_s) as process:
        failed = poison(process)
        assert (failed.status_code, failed.json()["code"]) == (500, "run_timeout")
        assert failed.json()["error"].startswith("a run did not end within ")
        check_stopped(process)
        assert process.client.post("/v2/repository/models/trapped/load").status_code == 200
        assert process.client.get("/readyz").json() == {"status": "ready"}
        assert answers(process, "trapped") == 200
        code, logged = process.end(signal.SIGTERM)
    assert code == 0
    assert "trapped/1: a run did not end within " in logged
    assert "<Head " not in logged


def test_with_no_head_left_the_service_is_not_ready(tmp_path: Path) -> None:
    (tmp_path / "models/trapped/1").mkdir(parents=True)
    trap(tmp_path / "models/trapped/1/model.onnx")
    with serve("--models", tmp_path / "models", "--default-model", "trapped", *LIMITS) as process:
        assert poison(process).status_code == 500
        ready = process.client.get("/readyz")
        assert ready.status_code == 503
        assert ready.json()["error"].startswith("no head is in service: trapped/1: a run did not end within ")
        assert process.client.get("/healthz").status_code == 200


def test_sigterm_ends_the_process_though_a_thread_never_returns(models: Path) -> None:
    with placed(models, IN_THREAD, hangs=True) as process:
        assert poison(process).status_code == 500
        check_stopped(process)
        code, logged = process.end(signal.SIGTERM)
    assert code == 0
    assert "ends without 1 runs that do not" in logged


def test_a_run_that_holds_the_loop_for_ever_ends_the_process(models: Path) -> None:
    with placed(models, ON_LOOP, hangs=True) as process:
        with pytest.raises(httpx.TransportError):
            poison(process)
        _, logged = process.popen.communicate(timeout=30)
        assert process.popen.returncode == 1
    assert "and does not stop: the process ends" in logged


def test_a_worker_whose_loop_is_held_for_ever_is_replaced(models: Path) -> None:
    with placed(models, ON_LOOP, "--workers", 2, hangs=True) as process:
        with pytest.raises(httpx.TransportError):
            poison(process)
        until(lambda: process.client.get("/readyz").status_code == 200)
        assert answers(process, "trapped") == 200
        assert process.end(signal.SIGTERM)[0] == 0
    assert "ended with exit code 1, another starts" in process.logged


@pytest.fixture
def hears_hangups() -> Iterator[None]:
    """Let what is started here hear SIGHUP, which tests may have been told to ignore, as under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hears_hangups")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_process_though_a_run_holds_its_loop_for_ever(models: Path, number: int) -> None:
    with placed(models, ON_LOOP, "--run-timeout-s", 0, hangs=True, impatient=True) as process:
        client = threading.Thread(target=poison_in_vain, args=(process,))
        client.start()
        assert process.popen.stdout is not None
        assert "hangs\n" in iter(process.popen.stdout.readline, "")
        code, logged = process.end(number)
        client.join(30)
    assert code == 1
    assert "did not stop within 1 s: it ends now" in logged
