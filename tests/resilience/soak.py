"""For long: `python -m tests.resilience.soak --minutes 50`, as `make soak` does. Each part prints a line, or fails.

A fifth of the time damaged bytes go into every reader, a fifth whatever the OpenAPI page describes into a service, and
for the rest a service with a journal answers half of what it can, while its head is swapped and labels come. Before
that, 1,000 connections bring what is no request.
"""

import argparse
import json
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np

from tests.api.bodies import until
from tests.api.test_schema import ask_all, n_passed
from tests.conftest import ROOT
from tests.heads_made import head, put
from tests.processes import Process, serve
from tests.resilience.mutation import damaged
from tests.resilience.seeds import WIRE
from tests.resilience.targets import statuses
from tests.resilience.test_slow_clients import n_descriptors

N_CONNECTIONS: Final = 16
N_LABELS: Final = 20  # a second
SWAP_S: Final = 10.0
WARM: Final = 0.2  # of the time, in which memory may still grow
LOGITS: Final = [2.5, -1.25, 0.5, 3.0, 1.0, -0.5, 0.25, 4.0, -2.0, 1.5]
BODY: Final = json.dumps({"logits": LOGITS}).encode()
PATH: Final = "/v1/models/digits/predict"


def send_malformed(process: Process, n: int, draw: random.Random) -> dict[int, int]:
    """Open `n` connections, one after the other, and send what is no request: how often each status came back."""
    address = ("127.0.0.1", int(process.url.rpartition(":")[2]))
    before = n_descriptors(process)
    counts: dict[int, int] = {}
    for _ in range(n):
        with socket.create_connection(address, timeout=30) as client:
            try:
                client.sendall(damaged(WIRE, draw))
                client.shutdown(socket.SHUT_WR)
                answered = b"".join(iter(lambda client=client: client.recv(65536), b""))  # type: ignore[misc]
            except ConnectionError:
                continue
        for status in statuses(answered):
            counts[status] = counts.get(status, 0) + 1
    assert not [status for status in counts if status >= 500 and status != 504], counts  # 504: it may ask for no time
    until(lambda: n_descriptors(process) <= before)
    assert process.client.get("/readyz").status_code == 200
    return counts


def slope(seconds: Sequence[float], n_bytes: Sequence[float]) -> tuple[float, float]:
    """MB an hour by linear regression, and its standard error."""
    x, y = np.array(seconds) / 3600, np.array(n_bytes) / 2**20
    (gradient, _), covariance = np.polyfit(x, y, 1, cov=True)
    return float(gradient), float(covariance[0, 0] ** 0.5)


def load(process: Process, folder: Path, seconds: float, per_second: float | None = None) -> subprocess.Popen[str]:
    """Begin to load a service, in a process of its own."""
    body = folder / "body.json"
    body.write_bytes(BODY)
    command = [sys.executable, "-m", "tests.benchmarks.generator", "--port", process.url.rpartition(":")[2]]
    command += ["--path", PATH, "--body", str(body), "--connections", str(N_CONNECTIONS), "--seconds", str(seconds)]
    command += [] if per_second is None else ["--per-second", str(per_second)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def measured(loading: subprocess.Popen[str]) -> dict[str, float]:
    """What the load has seen, once it is over."""
    printed, _ = loading.communicate()
    found: dict[str, float] = json.loads(printed.rpartition("RESULT ")[2])
    return found


class Every(threading.Thread):
    """Does something every so many seconds, until it is stopped; `fault` is what went wrong."""

    def __init__(self, seconds: float, do: Callable[[int], object]) -> None:
        super().__init__()
        self.seconds = seconds
        self.do = do
        self.n = 0
        self.fault: BaseException | None = None
        self.stopped = threading.Event()

    def run(self) -> None:
        try:
            while not self.stopped.wait(self.seconds):
                self.do(self.n)
                self.n += 1
        except BaseException as fault:  # told where it is joined
            self.fault = fault

    def stop(self) -> int:
        """How often it was done."""
        self.stopped.set()
        self.join()
        if self.fault is not None:
            raise self.fault
        return self.n


def send_labels(client: httpx.Client, n_before: int) -> None:
    """Ask for predictions with ids of their own, and send a label for each."""
    ids = [f"{n_before}-{i}" for i in range(N_LABELS)]
    for id_ in ids:
        assert client.post(PATH, json={"logits": LOGITS, "id": id_}).status_code == 200
    labels = [{"id": id_, "label": i % 10} for i, id_ in enumerate(ids)]
    answer = client.post("/v1/labels", json={"labels": labels})
    assert answer.status_code == 202, answer.text
    assert answer.json()["accepted"] + answer.json()["pending"] == N_LABELS, answer.text


def soak(folder: Path, seconds: float, *, share: float = 0.5, swap_s: float = SWAP_S) -> dict[str, Any]:
    """A share of what a service can answer, for so long, while its head is swapped and labels come."""
    models = folder / "models"
    shutil.copytree(ROOT / "models", models)
    heads = [head(folder / f"{i}.onnx", temperature, classes=10) for i, temperature in enumerate((1.0, 2.0))]
    with serve("--models", models, "--journal", folder / "journal") as process, ExitStack() as stack:
        capacity = measured(load(process, folder, min(10.0, seconds / 4)))
        per_second = share * capacity["requests"] / capacity["seconds"]
        watched = [process.popen.pid, *children(process.popen.pid)]
        samples: list[list[float]] = []
        began = time.monotonic()
        client = stack.enter_context(httpx.Client(base_url=process.url, timeout=30))
        doing = [
            Every(swap_s, lambda n: put(models, "digits", 1, heads[n % 2])),
            Every(1.0, lambda n: send_labels(client, n)),
            Every(
                min(1.0, seconds / 40), lambda _: samples.append([time.monotonic() - began, *map(resident, watched)])
            ),
        ]
        for one in doing:
            one.start()
        try:
            found = measured(load(process, folder, seconds, per_second))
        finally:
            for one in doing:
                one.stopped.set()
        n_swaps, n_rounds, _ = [one.stop() for one in doing]
        ready = process.client.get("/readyz").status_code
        failures = process.client.get("/v1/models").json()["failures"]
        code = process.end(signal.SIGTERM)[0]
    times, *memory = np.array([sample for sample in samples if sample[0] > WARM * seconds]).T
    return {
        **{key: found[key] for key in ("requests", "errors", "p99_us", "max_us")},
        "per_second": round(per_second),
        "swaps": n_swaps,
        "labels": N_LABELS * n_rounds,
        "ready": ready,
        "exit_code": code,
        "failures": failures,
        "memory_mb": [round(float(one[-1]) / 2**20) for one in memory],
        "mb_per_hour": [f"{gradient:.1f} +- {error:.1f}" for gradient, error in (slope(times, one) for one in memory)],
    }


def children(pid: int) -> list[int]:
    """The processes that a process has started and not seen end."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def resident(pid: int) -> float:
    """Bytes that a process holds."""
    status = Path(f"/proc/{pid}/status").read_text()
    return float(status.partition("VmRSS:")[2].split()[0]) * 1024


def main() -> int:
    """All of it, and whether it went well."""
    parser = argparse.ArgumentParser(prog="tests.resilience.soak")
    parser.add_argument("--minutes", type=float, default=50)
    parser.add_argument("--share", type=float, default=0.5, help="of the capacity that is measured at first")
    given = parser.parse_args()
    seconds = 60 * given.minutes

    def tell(what: str) -> None:
        sys.stdout.write(what + "\n")
        sys.stdout.flush()

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for transport in ("--fast-http", "--no-fast-http"):
            with serve(transport) as process:
                counts = send_malformed(process, 1000, random.Random(transport))
                tell(f"1000 connections that bring no request, {transport}: {dict(sorted(counts.items()))}")
        with serve("--journal", folder / "asked") as process:
            how = ("--phases", "examples,coverage,fuzzing,stateful", "--max-time", str(int(seconds / 10)))
            for known in (True, False):
                left_out = () if known else ("--exclude-path-regex", "unload")  # with no head left, /readyz says 503
                report = ask_all(process.url, folder, *how, *left_out, known=known, timeout_s=seconds)
                tell(f"schemathesis, {'models that are there' if known else 'any models'}: {n_passed(report)} passed")
        (folder / "soak").mkdir()
        found = soak(folder / "soak", seconds * 3 / 5, share=given.share)
        tell(json.dumps(found))
    fuzzing = [sys.executable, "-m", "tests.resilience.fuzz", "--seconds", str(seconds / 5)]
    return subprocess.run(fuzzing, check=False, cwd=ROOT).returncode or int(found["errors"] > 0)


if __name__ == "__main__":
    sys.exit(main())
