"""`calibrant` as a process."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.conftest import ROOT


def environment(**extra: str) -> dict[str, str]:
    """The environment of the tests, without settings of ours."""
    return {k: v for k, v in os.environ.items() if not k.startswith("CALIBRANT_")} | extra


def calibrant(*arguments: object, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    command = [sys.executable, "-m", "service", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env=environment(**extra), cwd=ROOT
    )


class Process:
    """`calibrant serve` on a free port; `program` is what Python runs in the place of the command."""

    def __init__(self, *arguments: object, program: Sequence[object] = ("-m", "service"), **extra: str) -> None:
        command = [sys.executable, *map(str, program), "serve", "--port", "0", *map(str, arguments)]
        self.popen = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(**extra), cwd=ROOT
        )
        self.client = httpx.Client(timeout=30)
        self.printed = self.logged = ""

    def wait(self) -> None:
        """Until it is ready."""
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            self.printed += line
            if "curl" in line:
                break
        match = re.search(r"https?://127\.0\.0\.1:\d+", self.printed)
        assert match, self.printed
        self.url = match[0]
        self.client = httpx.Client(base_url=self.url, timeout=30, transport=httpx.HTTPTransport(retries=8))
        while self.client.get("/readyz").status_code == 503:  # some of its workers are not there yet
            time.sleep(0.02)
        assert self.client.get("/readyz").status_code == 200

    @property
    def resident_bytes(self) -> int:
        """Memory that it holds."""
        return self.memory("VmRSS")

    @property
    def resident_peak_bytes(self) -> int:
        """The most that it ever held."""
        return self.memory("VmHWM")

    def memory(self, name: str) -> int:
        """A line of its status, in bytes."""
        found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{self.popen.pid}/status").read_text())
        assert found
        return int(found[1]) * 1024

    def end(self, number: int) -> tuple[int, str]:
        """Send a signal; the exit code and what was written to the standard error, but for the lines of its life."""
        self.popen.send_signal(number)
        _, self.logged = self.popen.communicate(timeout=30)
        errors = [line for line in self.logged.splitlines(keepends=True) if " INFO service.process." not in line]
        return self.popen.returncode, "".join(errors)


@contextmanager
def serve(*arguments: object, program: Sequence[object] = ("-m", "service"), **extra: str) -> Iterator[Process]:
    """A process that is ready, and gone afterwards, whatever happens."""
    process = Process(*arguments, program=program, **extra)
    try:
        process.wait()
        yield process
    finally:
        process.client.close()
        process.popen.kill()
        process.popen.communicate()
