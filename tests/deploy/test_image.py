"""The image, built and run as hardened as it gets: nothing writable, no capabilities, no root."""

import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.deploy.conftest import Engine
from tests.heads_made import head
from tests.rpc.calls import Caller, arrays, request

pytestmark = pytest.mark.online

TAG = "calibrant:test"
HARDENED = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
HARDENED += ["--memory", "1g", "--memory-swap", "1g", "--cpus", "1"]
BODY = {"logits": [2.0, 1.0, 0.1]}
LARGEST = 2**25  # bytes of a body: `--max-body-bytes`


class Container:
    """A container of the image."""

    def __init__(self, engine: Engine, *arguments: object) -> None:
        self.engine = engine
        self.id = engine("run", "--detach", "--publish", "127.0.0.1::8000", *HARDENED, *arguments)

    @property
    def url(self) -> str:
        """Where its port is."""
        return "http://" + self.engine("port", self.id, 8000).splitlines()[0]

    def told(self, template: str) -> str:
        """What the engine knows of it."""
        return self.engine("inspect", "--format", template, self.id)

    def healthy(self) -> "Container":
        """Itself, when the health check says so."""
        until(lambda: self.told("{{.State.Health.Status}}") == "healthy", self)
        return self

    def stop(self, timeout_s: int = 60) -> int:
        """The exit code after a SIGTERM; 137 where it took longer than that."""
        self.engine("stop", "--time", timeout_s, self.id)
        return self.code()

    def code(self) -> int:
        """The exit code, once it has ended."""
        return int(self.engine("wait", self.id))

    def memory_peak_mb(self) -> float:
        """What the largest of its processes held at most."""
        init = self.told("{{.State.Pid}}")
        pids = [init, *Path(f"/proc/{init}/task/{init}/children").read_text().split()]
        peaks = [Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0] for pid in pids]
        return max(map(int, peaks)) / 1024

    def errors(self) -> str:
        """What it wrote to the standard error."""
        return self.engine.run("logs", self.id).stderr

    def complaints(self) -> list[str]:
        """The lines of it that say more than that the service starts and ends."""
        return [line for line in self.errors().splitlines() if " INFO " not in line]


def until(true: Callable[[], bool], container: Container, patience_s: float = 60) -> None:
    """Wait for something to be so."""
    end = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < end, container.errors()
        time.sleep(0.1)


@pytest.fixture(scope="module")
def network(engine: Engine) -> Iterator[str]:
    """The image is there, and a network to run it in."""
    engine("build", "--network", "host", "--tag", TAG, ".", timeout_s=900)
    name = f"calibrant-test-{os.getpid()}"
    engine("network", "create", name)
    yield name
    engine("network", "rm", name)


@pytest.fixture
def start(engine: Engine, network: str) -> Iterator[Callable[..., Container]]:
    """Run `calibrant` with arguments in a container; `options` are the engine's."""
    containers = []

    def run(*arguments: object, options: tuple[object, ...] = ()) -> Container:
        containers.append(Container(engine, "--network", network, *options, TAG, *arguments))
        return containers[-1]

    yield run
    for container in containers:
        engine("rm", "--force", container.id)


Start = Callable[..., Container]


def test_it_answers_without_root_and_ends_well(start: Start) -> None:
    container = start().healthy()
    answer = httpx.post(container.url + "/v1/predict", json=BODY)
    assert answer.json()["probabilities"] == [0.6590011, 0.24243297, 0.09856589]
    assert httpx.get(container.url + "/console/main.js").status_code == 200
    assert container.told("{{.Config.User}}") == "65532:65532"
    assert container.stop() == 0
    assert container.complaints() == []


def test_several_workers_count_together_without_a_disk(start: Start) -> None:
    container = start("serve", "--workers", 2).healthy()
    for _ in range(40):
        assert httpx.post(container.url + "/v1/predict", json=BODY).status_code == 200
    counted = 'calibrant_requests_total{code="200",model="softmax",version="1"} 40.0'
    until(lambda: counted in httpx.get(container.url + "/metrics").text, container)
    assert container.stop() == 0
    assert container.complaints() == []


def test_what_its_options_need_is_in_it(start: Start) -> None:
    container = start("serve", "--grpc", 8001, "--traces", options=("--publish", "127.0.0.1::8001")).healthy()
    caller = Caller(None, int(container.engine("port", container.id, 8001).splitlines()[0].rpartition(":")[2]))
    with caller.channel:
        answer = caller.infer(request(("logits", "FP32", [BODY["logits"]])))
    expected = np.array([[0.6590011, 0.24243297, 0.09856589]], np.float32)
    assert arrays(answer.message)["probabilities"].tolist() == expected.tolist()
    assert "traceparent" in httpx.post(container.url + "/v1/predict", json=BODY).headers


@pytest.mark.usefixtures("network")
def test_its_bill_of_materials_lists_what_is_in_it(engine: Engine) -> None:
    bill = json.loads(engine("run", "--rm", "--entrypoint", "cat", TAG, "/opt/calibrant/sbom.json"))
    assert {"calibrant", "onnxruntime", "grpcio"} <= {one["name"] for one in bill["components"]}


def test_other_commands_run_too(start: Start) -> None:
    container = start("inspect", "models/digits/1/model.onnx")
    assert container.code() == 0
    assert "zero, one, two" in container.engine("logs", container.id)


def mounted(folder: Path) -> tuple[object, ...]:
    """Options that mount a folder, readable for all, over the models of the image."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return ("--volume", f"{folder}:/models:ro")


def test_a_mounted_folder_takes_the_place_of_the_models(start: Start, tmp_path: Path) -> None:
    head(tmp_path / "models/mine/3/model.onnx", 2.0, labels=["cat", "dog"])
    container = start(options=mounted(tmp_path / "models")).healthy()
    models = httpx.get(container.url + "/v1/models").json()["models"]
    assert [(model["model"], model["version"], model["temperature"]) for model in models] == [("mine", "3", 2.0)]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(None, "has no NAME/VERSION/model.onnx"), ("no model", "is not an ONNX model")],
)
def test_models_that_cannot_be_served_are_exit_code_3(
    start: Start, tmp_path: Path, content: str | None, sentence: str
) -> None:
    place = tmp_path / "models/mine/1"
    place.mkdir(parents=True)
    if content:
        (place / "model.onnx").write_text(content)
    container = start(options=mounted(tmp_path / "models"))
    assert container.code() == 3
    assert container.errors().startswith("calibrant serve: ")
    assert sentence in container.errors()
    assert container.errors().count("\n") == 1


def test_a_stop_before_it_is_up_takes_no_patience(start: Start) -> None:
    assert start().stop() in (0, 143)
    assert start("serve", "--workers", 2).stop() in (0, 143)


def rows_of(number: str, k: int, n_bytes: int = LARGEST) -> bytes:
    """A body of so many bytes: rows of `k` times that number."""
    row = "[" + ",".join([number] * k) + "]"
    n = (n_bytes - len('{"logits":[]}')) // (len(row) + 1)
    return ('{"logits":[' + ",".join([row] * n) + "]}").encode()


def large_bodies() -> Iterator[tuple[str, bytes]]:
    """Of every kind that costs memory: its name, and a body."""
    half, quarter = LARGEST // 2 - 16, LARGEST // 4 - 16
    yield "digits, rows of 1,000", rows_of("1", 1000)
    yield "digits, rows of 10", rows_of("1", 10)
    yield "digits, one row", b'{"logits":[' + b"1," * half + b"1]}"
    yield "exponents", rows_of("1e-300", 1000)
    yield "long numbers", rows_of("1.2345678901234567", 1000)
    yield "the most that is read", rows_of("1", 1000, 11 * 2**20)
    yield "brackets", b'{"logits":' + b"[" * half + b"]" * half + b"}"
    yield "names", b'{"logits":[1.0],"mask":[' + b'"a",' * quarter + b'"a"]}'
    yield "one string", b'{"id":"' + b"a" * (2 * half) + b'","logits":[1.0]}'


def test_sixty_four_of_the_largest_bodies_at_once_end_nothing(start: Start) -> None:
    container = start().healthy()
    pid = container.told("{{.State.Pid}}")
    found: dict[str, Counter[int]] = {}
    for kind, body in large_bodies():
        ask = partial(httpx.post, container.url + "/v1/predict", content=body, timeout=60)
        with ThreadPoolExecutor(64) as pool:
            asked = [pool.submit(ask) for _ in range(64)]
            found[kind] = Counter(one.result().status_code for one in asked)
        assert httpx.post(container.url + "/v1/predict", json=BODY).status_code == 200
    sys.stdout.write(f"{found}\n{container.memory_peak_mb():.0f} MB at most\n")
    assert set().union(*found.values()) <= {200, 400, 413, 422, 429, 503, 504}, found
    assert found["the most that is read"][200]
    assert container.told("{{.State.Pid}} {{.State.OOMKilled}}") == f"{pid} false"
    assert container.stop() == 0
    assert "killed" not in container.errors()


@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_fails_while_it_drains(start: Start, workers: int) -> None:
    delay_s = 3.0
    container = start("serve", "--drain-delay-s", delay_s, "--workers", workers).healthy()
    url = container.url
    answers: list[tuple[float, int]] = []  # when, and with which status; 0 is none

    def ask(client: httpx.Client | None) -> None:
        status = 200
        while status == 200:
            try:
                status = (client or httpx).post(url + "/v1/predict", json=BODY, timeout=30).status_code
            except httpx.TransportError:
                status = 0
            answers.append((time.monotonic(), status))

    clients = [httpx.Client(), httpx.Client(), None, None]  # two keep their connections, two take a new one each time
    asking = [threading.Thread(target=ask, args=(client,)) for client in clients]
    for thread in asking:
        thread.start()
    until(lambda: len(answers) > 20, container)
    before = time.monotonic()
    container.engine("kill", "--signal", "TERM", container.id)
    until(lambda: httpx.get(url + "/readyz", timeout=30).status_code == 503, container)
    assert container.code() == 0
    for thread in asking:
        thread.join(60)
    for client in filter(None, clients):
        client.close()
    while_draining = [status for when, status in answers if before < when < before + delay_s]
    assert len(while_draining) > 20
    assert set(while_draining) == {200}
