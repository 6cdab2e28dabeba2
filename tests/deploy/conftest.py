"""The tools that check what is under deploy/: a missing one skips a test, and fails it under `make check-deploy`."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

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
