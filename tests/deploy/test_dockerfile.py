"""The Dockerfile, read by a linter."""

import subprocess

from tests.conftest import ROOT
from tests.deploy.conftest import Tool


def test_the_dockerfile_is_clean(tool: Tool) -> None:
    command = [tool("hadolint"), "--failure-threshold", "style", ROOT / "Dockerfile"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
