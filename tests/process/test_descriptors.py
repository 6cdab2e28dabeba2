"""The limit of open files, in a process of its own, as it cannot be raised again once it is lowered for good."""

import subprocess
import sys

from tests.conftest import ROOT

SHOW = """
import logging, resource
from service.process.descriptors import raise_limit
logging.basicConfig(format="%(message)s")
resource.setrlimit(resource.RLIMIT_NOFILE, (300, 1000))
raise_limit({}, {}, {})
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def shown(max_connections: int, n_workers: int = 1, n_transports: int = 1) -> tuple[int, str]:
    """The soft limit afterwards, and the log."""
    done = subprocess.run(
        [sys.executable, "-c", SHOW.format(max_connections, n_workers, n_transports)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    return int(done.stdout), done.stderr


def test_the_limit_is_raised_as_far_as_it_is_needed() -> None:
    assert shown(500) == (756, "")
    assert shown(10) == (300, "")
    assert shown(500, n_workers=65) == (884, "")
    assert shown(300, n_transports=2) == (856, "")


def test_a_hard_limit_that_is_too_low_is_told() -> None:
    allowed, log = shown(8192)
    assert allowed == 1000
    assert log == (
        "the process may open 1000 files, which is too few for 8192 connections: raise the limit (ulimit -n 8448) "
        "or lower --max-connections\n"
    )
