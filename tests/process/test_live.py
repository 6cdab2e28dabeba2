"""The live process beside the server: started, started again, and ended with it."""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from service.journal.state import read_state
from service.process import live
from service.process.live import live_process
from service.settings import Settings
from tests.conftest import ROOT
from tests.processes import serve


def until(condition: Callable[[], Any], patience_s: float = 30.0) -> Any:
    """What it says once it is true of it."""
    end = time.monotonic() + patience_s
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def published(folder: Path) -> dict[str, Any]:
    return read_state(folder) or {}


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a short path."""
    return tmp_path / "j"


def test_without_a_journal_there_is_none() -> None:
    with live_process(Settings()) as process:
        assert process is None


def test_one_that_dies_is_replaced_and_the_last_ends_with_the_server(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(live, "STEADY_S", 0.2)
    folder.mkdir()
    (folder / "segments").mkdir()
    with live_process(Settings(journal=folder, models=ROOT / "models")) as process:
        assert process is not None
        first = until(lambda: published(folder).get("pid"))
        assert first == process.process.pid
        os.kill(first, signal.SIGKILL)
        second = until(lambda: published(folder).get("pid") != first and published(folder)["pid"])
        assert process.process.pid == second
    assert process.process.returncode == 0
    assert f"the live process (pid {first}) ended with exit code -9, another starts" in caplog.text


def test_one_that_stands_still_is_killed_and_replaced(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(live, "STEADY_S", 0.1)
    monkeypatch.setattr(live, "SILENT_S", 3.0)
    with live_process(Settings(journal=folder, models=ROOT / "models")) as process:
        assert process is not None
        first = until(lambda: published(folder).get("pid"))
        until(lambda: process.heard_at < math.inf)
        os.kill(first, signal.SIGSTOP)
        second = until(lambda: published(folder)["pid"] != first and published(folder)["pid"])
        assert process.process.pid == second
    assert f"the live process (pid {first}) stands still for 3 s, it is killed" in caplog.text


def test_it_has_the_settings_of_the_server_and_no_other_variables(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a pod beside a Kubernetes Service of the name calibrant, where the server is given --port."""
    monkeypatch.setenv("CALIBRANT_PORT", "tcp://10.0.0.1:8000")
    with live_process(Settings(port=0, journal=folder, models=ROOT / "models")) as process:
        assert process is not None
        assert until(lambda: published(folder).get("pid")) == process.process.pid


def test_one_that_cannot_start_is_tried_again_more_and_more_seldom(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("service.process.live.sys.executable", "/bin/false")
    process = live.LiveProcess(Settings(journal=folder), folder)
    monkeypatch.setattr(process.stopping, "wait", waits.append)
    until(lambda: len(waits) > 8)
    process.stop()
    # the first ones may be over before they are looked at
    assert [wait for wait in waits if wait > 1][:6] == [3.0, 7.0, 15.0, 30.0, 30.0, 30.0]
    assert "ended with exit code 1, another starts" in caplog.text


@pytest.mark.parametrize("is_told", [True, False])
def test_the_end_of_a_process_is_seen_whether_or_not_the_system_tells_of_it(
    is_told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_told:
        monkeypatch.delattr("os.pidfd_open")
    with subprocess.Popen(["sleep", "60"]) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            live.wait_for_end(process, 0.1)
        process.kill()
        assert [live.wait_for_end(process, 30) for _ in range(2)] == [-signal.SIGKILL] * 2


def test_a_signal_ends_it_in_good_order_although_the_server_still_holds_its_input(folder: Path) -> None:
    (folder / "segments").mkdir(parents=True)
    command: list[str | Path] = [sys.executable, "-m", "service", "live", "--follow", "--journal", folder]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        until(lambda: published(folder).get("pid"))
        process.terminate()
        assert (process.wait(30), process.stderr.read()) == (0, b"")


@pytest.mark.parametrize("workers", [1, 2])
def test_it_ends_when_the_server_is_killed_and_when_it_is_stopped(folder: Path, workers: int) -> None:
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        with serve("--journal", folder, "--workers", workers) as process:
            process.client.post("/v1/predict", json={"logits": [1, 2], "id": f"{number}"})
            pid = until(lambda: published(folder).get("pid"))
            assert Path(f"/proc/{pid}").exists()
            if number == signal.SIGKILL:
                process.popen.kill()
                process.popen.wait()
            else:
                code, _ = process.end(number)
                assert code == 0
            until(partial(is_gone, pid))
        (folder / "live.json").unlink()
