"""The tools that check what is under deploy/: a missing one skips a test, and fails it under `make check-deploy`."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT

Tool = Callable[..., str]


@pytest.fixture(scope="session")
def tool(pytestconfig: pytest.Config) -> Tool:
    """The path of a program, in this environment or on the PATH: `tool("promtool", "apt-get install prometheus")`."""

    def find(name: str, how: str = "make .venv/deploying") -> str:
        here = Path(sys.executable).parent / name
        found = str(here) if here.is_file() else shutil.which(name)
        if found is None:
            give_up = pytest.fail if pytestconfig.getoption("thorough") else pytest.skip
            give_up(f"needs {name}: {how}")
        return found

    return find


class Engine:
    """A container engine: what `docker ARGUMENTS` prints."""

    def __init__(self, docker: str) -> None:
        self.docker = docker

    def __call__(self, *arguments: object, timeout_s: float = 120) -> str:
        """Run the command, which must succeed."""
        done = self.run(*arguments, timeout_s=timeout_s)
        assert done.returncode == 0, (
            f"docker {' '.join(map(str, arguments))}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        )
        return done.stdout.strip()

    def run(self, *arguments: object, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run the command, whatever it says."""
        command = [self.docker, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_s, cwd=ROOT)


@pytest.fixture(scope="session")
def engine(tool: Tool) -> Engine:
    """An engine that answers."""
    engine = Engine(tool("docker", "Docker Engine with buildx and compose"))
    engine("version")
    return engine
