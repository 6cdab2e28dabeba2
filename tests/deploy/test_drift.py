"""`make drift`: the demo plays to its end, tells what happened, and leaves nothing behind."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deploy.drift.scans import scanners
from tests.benchmarks.processes import ROOT, free_port
from tests.conftest import Running

RUN = ("-m", "deploy.drift.run")


def drift(*options: object, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Play, with temporary folders below `folder`."""
    environment = dict(os.environ) if folder is None else os.environ | {"TMPDIR": str(folder)}
    command = [sys.executable, *RUN, *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=180, cwd=ROOT, env=environment)


def test_the_scans_are_right_as_often_as_those_that_measured_the_head_and_less_often_with_noise() -> None:
    clean, dirty = scanners()
    shares = []
    for scanner in (clean, dirty):
        sheet = scanner.sheet(len(scanner.labels))
        assert sorted(sheet.labels.tolist()) == sorted(scanner.labels.tolist())  # each once
        shares.append(float(np.mean(sheet.logits.argmax(axis=1) == sheet.labels)))
    assert shares[0] == pytest.approx(0.888, abs=0.005)  # models/digits/1/report.json
    assert shares[1] < 0.7


def test_a_head_drifts_in_front_of_everybody(tmp_path: Path) -> None:
    port = free_port()
    run = drift("--port", port, "--scans", 400, "--step-s", 0, folder=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    assert not run.stderr  # nothing of the server's log stands between the lines of the demo
    told = [line.split(" ", 1)[1] for line in run.stdout.splitlines()]
    assert told[0] == f"watch it at http://127.0.0.1:{port}/console/#/calibration/digits/1"
    events = (
        "no alarm",
        "the scanner gets dirty",
        "ALARM",
        "a refit is proposed",
        "earned its place",
        "you approve it",
    )
    at = [next(i for i, line in enumerate(told) if event in line) for event in events]
    assert at == sorted(at)
    clean, noisy, after = (map(int, re.findall(r"(\d+)%", line)) for line in told if "of the answers are right" in line)
    right, sure = noisy
    assert sure - right > 10
    for right, sure in (clean, after):
        assert abs(sure - right) < 8
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=5):
        pass


def test_a_port_that_is_taken_is_told(running: Running) -> None:
    run = drift("--port", running.port)
    assert run.returncode == 3
    assert run.stderr == (f"drift: something answers at {running.url} already; expected a port that is free: --port\n")
