"""A worker: how it ends where it cannot start."""

import socket
from pathlib import Path

import pytest

from service.errors import CannotStart
from service.process.worker import run_worker
from service.process.workers import SPAWN
from service.settings import Settings


def test_a_worker_that_cannot_start_says_why_and_ends_with_that_exit_code(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as listening:
        settings = Settings(models=tmp_path / "nowhere")
        process = SPAWN.Process(
            target=run_worker, args=(settings, tmp_path, 0, SPAWN.RawArray("b", 1), listening), daemon=True
        )
        process.start()
        process.join(60)
    assert process.exitcode == CannotStart.exit_code
    logged = capfd.readouterr().err
    assert "a worker cannot start: " in logged
    assert "nowhere" in logged
    assert "Traceback" not in logged
