"""Ray Serve, really started from deploy/ray/serve.yaml: the same answers, a second replica under load, a clean stop."""

import asyncio
import json
import os
import re
import secrets
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.api.wrong import INVALID, NOT_JSON
from tests.benchmarks.processes import free_port
from tests.benchmarks.usage import family
from tests.conftest import ROOT, TRANSPORTS, serving
from tests.processes import environment
from tests.transports.infer import PATH, binary, framed, tensor, wanted

SERVE = ROOT / ".venv" / "ray" / "bin" / "serve"
START_S = 180
MODES = {"Ray's proxy": {}, "HAProxy": {"RAY_SERVE_ENABLE_HA_PROXY": "1"}}
N_CONNECTIONS = 60  # in flight: far more than one replica's target, fewer than it takes at all
# Beside the application of the file: one whose queue is soon full, one that takes a single request at a time, and one
# whose requests take long enough to be in flight together, however slow the client is.
MORE = """
  - name: tight
    import_path: deploy.ray.app:app
    route_prefix: /tight
    runtime_env: {env_vars: {CALIBRANT_MAX_QUEUE_ROWS: "4", CALIBRANT_MAX_WAIT_MS: "2000"}}
    deployments: [{name: Calibrant, ray_actor_options: {num_cpus: 0}}]
  - name: narrow
    import_path: deploy.ray.app:app
    route_prefix: /narrow
    runtime_env: {env_vars: {CALIBRANT_MAX_WAIT_MS: "2000"}}
    deployments:
      - {name: Calibrant, ray_actor_options: {num_cpus: 0}, max_ongoing_requests: 1, max_queued_requests: 1,
         autoscaling_config: {max_replicas: 1}}
  - name: patient
    import_path: deploy.ray.app:app
    route_prefix: /patient
    runtime_env: {env_vars: {CALIBRANT_MAX_WAIT_MS: "1000"}}
    deployments: [{name: Calibrant, ray_actor_options: {num_cpus: 0}}]
"""


class Ray:
    """`serve run deploy/ray/serve.yaml`, with more applications, on a free port."""

    def __init__(self, folder: Path, **extra: str) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        shipped = (ROOT / "deploy" / "ray" / "serve.yaml").read_text()
        assert "port: 8000\n" in shipped
        config = folder / "serve.yaml"
        config.write_text(shipped.replace("8000", self.url.rpartition(":")[2]) + MORE)
        self.log = folder / "log"
        # of its own, so that no other Ray on this machine is met
        own = {"RAY_TMPDIR": str(folder), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex()}
        own["RAY_USAGE_STATS_ENABLED"] = "0"
        self.environment = environment(**own, **extra)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [SERVE, "run", config], cwd=ROOT, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )

    def wait(self) -> None:
        """Until every application answers."""
        end = time.monotonic() + START_S
        waiting = ["", "/tight", "/narrow", "/patient"]
        while waiting:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.5)
            waiting = [prefix for prefix in waiting if not self.answers(prefix)]

    def answers(self, prefix: str) -> bool:
        """Whether an application is ready."""
        try:
            return httpx.get(f"{self.url}{prefix}/readyz", timeout=30).content == b'{"status":"ready"}'
        except httpx.TransportError:
            return False

    def replicas(self) -> int:
        """How many run of the patient application, as `serve status` says."""
        dashboard = re.search(r"dashboard at \S*?(http://[\d.]+:\d+)", self.log.read_text())
        assert dashboard
        command = [SERVE, "status", "--address", dashboard[1], "--name", "patient"]
        status = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=True)
        running = re.search(r"RUNNING: (\d+)", status.stdout)
        return int(running[1]) if running else 0

    def stop(self) -> None:
        """Ctrl-C; nothing is left running."""
        started = family(self.process.pid)
        assert len(started) > 5  # Ray's own, and the replicas
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(120) == 0, self.log.read_text()
        end = time.monotonic() + 30
        while left := [pid for pid in started if lives(pid)]:
            assert time.monotonic() < end, left
            time.sleep(0.2)


def lives(pid: int) -> bool:
    """Whether a process runs; one that ended and that nobody has asked about does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="module", params=MODES)
def ray(request: pytest.FixtureRequest) -> Iterator[Ray]:
    """Ray Serve, behind one proxy after the other."""
    if not SERVE.exists():
        (pytest.fail if request.config.getoption("thorough") else pytest.skip)("needs Ray: make ray")
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        ray = Ray(Path(folder), **MODES[request.param])
        started = [ray.process.pid]
        try:
            ray.wait()
            started = family(ray.process.pid)
            yield ray
            ray.stop()
        finally:
            for pid in filter(lives, started):
                os.kill(pid, signal.SIGKILL)
            ray.process.wait()


LOGITS = np.random.default_rng(5).standard_normal((64, 1000)).astype(np.float32)
ROWS = {"logits": LOGITS[:3, :10].tolist()}
INPUT = tensor("logits", "FP32", [3, 10], data=ROWS["logits"])
EVERY_OUTPUT = ["probabilities", "log_probabilities", "prediction", "confidence", "entropy", "logsumexp"]


def infer(*data: bytes, **header: Any) -> tuple[str, str, bytes, dict[str, str]]:
    """A request of the protocol."""
    body, headers = framed(header, *data)
    return "POST", PATH, body, headers if data else {}


REQUESTS: list[tuple[str, str, bytes, dict[str, str]]] = [
    *(("GET", path, b"", {}) for path in ("/healthz", "/readyz", "/nowhere", "/openapi.json", "/v1/models/nobody")),
    *(("GET", path, b"", {}) for path in ("/v2", "/v2/health/ready", "/v2/models/digits", "/v2/models/nobody")),
    *(("GET", path, b"", {}) for path in ("/docs", "/v1/predict", "/v2/models/softmax/infer", "/v1/models/a%2Fb")),
    ("PUT", "/v1/predict", b"", {}),
    ("POST", "/v1/predict", b'{"logits":[1,2]}', {"content-type": "text/html"}),
    ("POST", "/v1/predict", b" " * (32 * 2**20 + 1), {}),
    ("POST", "/v1/models/nobody/predict", b'{"logits":[1,2]}', {}),
    ("POST", "/v1/models/digits/predict", json.dumps(ROWS | {"outputs": EVERY_OUTPUT, "top_k": 3}).encode(), {}),
    ("POST", "/v1/models/digits/versions/1/predict", json.dumps(ROWS | {"temperature": [1, 2, 3]}).encode(), {}),
    ("POST", "/v1/predict", json.dumps(ROWS | {"mask": [True] * 9 + [False], "id": "a"}).encode(), {}),
    ("POST", "/v1/predict", json.dumps({"logits": LOGITS.tolist()}).encode(), {}),
    ("POST", "/v1/predict", b'{"logits":[[0.5,0.5],[null,1]],"allowed":[[0,1],[]]}', {}),
    *(("POST", "/v1/predict", body, {}) for body in NOT_JSON.values()),
    *(("POST", "/v1/predict", body, {}) for body, _, _ in INVALID),
    infer(inputs=[INPUT], id="7"),
    infer(inputs=[INPUT], outputs=wanted(*EVERY_OUTPUT, binary_data=True)),
    infer(LOGITS.tobytes(), inputs=[binary("logits", "FP32", [64, 1000], LOGITS.nbytes)]),
    infer(LOGITS[:2].tobytes(), inputs=[binary("logits", "FP32", [2, 1000], 8000)], parameters={"temperature": 2.5}),
    infer(b"1234567", inputs=[binary("logits", "FP32", [1, 2], 7)]),
    infer(inputs=[tensor("logits", "INT32", [1, 2], data=[1, 2])]),
    infer(inputs=[]),
    ("POST", PATH, b"{", {}),
]
KEPT = ("content-type", "content-encoding", "allow", "retry-after", "inference-header-content-length")


def told(url: str, request: tuple[str, str, bytes, dict[str, str]]) -> tuple[Any, ...]:
    """What came back that must be the same everywhere."""
    method, path, body, headers = request
    answer = httpx.request(method, url + path, content=body, headers={"accept-encoding": "identity"} | headers)
    assert answer.headers["x-request-id"]
    assert answer.headers["server-timing"]
    return answer.status_code, [answer.headers.get(name) for name in KEPT], answer.content


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_answers_are_byte_for_byte_uvicorn_s(ray: Ray, transport: str) -> None:
    with serving(fast_http=TRANSPORTS[transport]) as running:
        uvicorn_s = [told(running.url, request) for request in REQUESTS]
    assert [told(ray.url, request) for request in REQUESTS] == uvicorn_s
    statuses = Counter(status for status, *_ in uvicorn_s)
    assert statuses.keys() >= {200, 400, 404, 405, 413, 415, 422}
    assert statuses[200] >= 15
    assert len(REQUESTS) > 110


def at_once(url: str, n: int) -> list[httpx.Response]:
    """The answers to requests of one row that are sent together."""

    async def ask() -> list[httpx.Response]:
        async with httpx.AsyncClient(timeout=60) as client:
            return await asyncio.gather(*(client.post(url, content=b'{"logits":[1,2]}') for _ in range(n)))

    return asyncio.run(ask())


def test_a_full_queue_refuses_in_our_words(ray: Ray) -> None:
    answers = at_once(f"{ray.url}/tight/v1/predict", 24)
    refused = [answer for answer in answers if answer.status_code != 200]
    assert 4 <= len(answers) - len(refused) < len(answers)
    for answer in refused:
        assert (answer.status_code, answer.json()["code"]) == (429, "queue_full")
        assert answer.headers["retry-after"] == "1"


def test_what_comes_on_top_of_ray_s_own_queue_is_refused_in_ray_s_words(ray: Ray) -> None:
    answers = at_once(f"{ray.url}/narrow/v1/predict", 12)
    refused = [answer for answer in answers if answer.status_code != 200]
    assert 1 <= len(answers) - len(refused) < len(answers)
    assert {(answer.status_code, answer.headers["retry-after"]) for answer in refused} == {(429, "1")}


def test_a_second_replica_starts_under_load_and_no_answer_fails(ray: Ray) -> None:
    assert ray.replicas() == 1
    counted: Counter[tuple[int, bytes]] = Counter()

    async def load() -> None:
        enough = asyncio.Event()

        async def ask(client: httpx.AsyncClient) -> None:
            while not enough.is_set():
                answer = await client.post(f"{ray.url}/patient/v1/predict", json=ROWS)
                counted[answer.status_code, answer.content] += 1

        async with httpx.AsyncClient(timeout=60) as client, asyncio.TaskGroup() as group:
            for _ in range(N_CONNECTIONS):
                group.create_task(ask(client))
            end = time.monotonic() + START_S
            try:
                while await asyncio.to_thread(ray.replicas) < 2:
                    assert time.monotonic() < end, "no second replica came"
                    await asyncio.sleep(1)
            finally:
                enough.set()

    asyncio.run(load())
    assert [status for status, _ in counted] == [200]  # and one body
    assert counted.total() > 2 * N_CONNECTIONS
