"""The load: wrk where it is installed, else the generator in Python; bounded in time, on its own core."""

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from tests.benchmarks.processes import ROOT, Server, pinned
from tests.benchmarks.work import Work

SCRIPT: Final = Path(__file__).with_name("post.lua")
GRACE_S: Final = 30.0  # beyond the seconds asked for, then it is killed
RESULT: Final = "RESULT "


class LoadFailed(Exception):
    """The generator said nothing that can be read."""


@dataclass(frozen=True)
class Measured:
    """What the generator saw; times are those of whole answers, in an open loop from when they were due."""

    requests: int
    errors: int
    seconds: float
    p50_us: float
    p99_us: float
    max_us: float

    @property
    def rps(self) -> float:
        """Answers a second."""
        return self.requests / self.seconds


def chosen(generator: str) -> str:
    """`wrk` or `python`, for these or `auto`."""
    if generator == "auto":
        return "wrk" if shutil.which("wrk") else "python"
    return generator


class Load:
    """A generator at work against one server. Use it as a context: it is over at the end, whatever happens."""

    def __init__(
        self,
        server: Server,
        work: Work,
        n_connections: int,
        seconds: float,
        generator: str,
        core: int | None,
        per_second: float | None = None,
    ) -> None:
        """Start it. wrk counts in whole seconds, at least one, and knows no rate `per_second`."""
        self.body = tempfile.NamedTemporaryFile()  # noqa: SIM115 - it lives as long as the load
        form = server.spec.form
        self.body.write(form.body(work))
        self.body.flush()
        headers = [f"{name}: {value}" for name, value in form.headers(work).items()]
        path = server.spec.path(work)
        if generator == "wrk":
            self.bound_s = math.ceil(seconds) + GRACE_S
            url = f"http://127.0.0.1:{server.port}{path}"
            connections = f"-c{n_connections}"
            command = ["wrk", "-t1", connections, f"-d{math.ceil(seconds)}s", "--timeout", "20s", "-s", SCRIPT, url]
        else:
            self.bound_s = seconds + GRACE_S
            options = {"port": server.port, "path": path, "body": self.body.name}
            options |= {"connections": n_connections, "seconds": seconds}
            options |= {} if per_second is None else {"per-second": per_second}
            named = [f"--{name}={value}" for name, value in options.items()]
            named += [f"--header={header}" for header in headers]
            command = [sys.executable, "-m", "tests.benchmarks.generator", *named]
        environment = {**os.environ, "BENCH_BODY": self.body.name, "BENCH_HEADERS": "\n".join(headers)}
        with pinned(core):
            self.process = subprocess.Popen(
                [str(word) for word in command],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        self.body.close()

    def measured(self) -> Measured:
        """Wait for its end.

        Raises:
            LoadFailed: it ended without a result.
        """
        said, _ = self.process.communicate(timeout=self.bound_s)
        for line in said.splitlines():
            if line.startswith(RESULT):
                return Measured(**json.loads(line.removeprefix(RESULT)))
        raise LoadFailed(f"the generator said nothing that can be read: {said[-500:]}")
