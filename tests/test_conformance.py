"""Other people's answers: the conformance cases beside the checkout, where they are at hand."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import Running


def test_every_conformance_case_passes(running: Running, shared: Path) -> None:
    folder = shared / "conformance"
    check, errors = str(folder / "check.py"), str(folder / "errors.jsonl")
    command = [sys.executable, check, "--base-url", running.url, "--errors", errors]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "219 pass, 0 fail, 0 refused, 0 skipped" in done.stdout
