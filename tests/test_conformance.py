"""Other people's answers: the conformance cases beside the checkout, where they are at hand."""

import json
import subprocess
import sys
from pathlib import Path

from tests.conftest import Running
from tests.families_made import HEADS


def test_every_conformance_case_passes(running: Running, shared: Path) -> None:
    folder = shared / "conformance"
    check, errors = str(folder / "check.py"), str(folder / "errors.jsonl")
    command = [sys.executable, check, "--base-url", running.url, "--errors", errors]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "219 pass, 0 fail, 0 refused, 0 skipped" in done.stdout


def test_every_case_of_the_families_passes(families: Running, shared: Path) -> None:
    check = [sys.executable, str(shared / "conformance/check_heads.py")]
    listed = subprocess.run([*check, "--list-heads"], capture_output=True, text=True, timeout=60, check=True).stdout
    heads = {head.pop("model"): head for head in map(json.loads, listed.splitlines())}
    assert heads == HEADS
    command = [*check, "--strict", "--base-url", families.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "total 186: 186 pass, 0 fail, 0 skipped" in done.stdout
