"""The classifiers, made once by their exporters, in an environment of their own: `make exporters`."""

import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

PYTHON = ROOT / ".venv" / "exporters" / "bin" / "python"


def make_in(folder: Path, *makers: str) -> Path:
    """The folder, when the makers, all by default, have written what they make; without them a skipped test."""
    if not PYTHON.exists():
        pytest.skip("needs the exporters: make exporters")
    command = [str(PYTHON), "-W", "ignore", "-m", "tests.exporters.make", str(folder), *makers]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that has NAME/classifier.onnx and NAME/rows.npz for every one."""
    return make_in(tmp_path_factory.mktemp("classifiers"))
