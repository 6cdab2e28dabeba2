"""The counts: right to the last request, over all workers, and gone when they are switched off."""

import asyncio
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from service.errors import InvalidValue
from service.telemetry.counts import INTERVAL_S, NO_MODEL, Off, Telemetry, Totals, lives, start
from service.telemetry.request import Request
from service.telemetry.tally import Tally
from service.transports.response import Response
from tests.api.bodies import held
from tests.conftest import ROOT, Running


def scraped(client: httpx.Client, *, accept: str = "") -> dict[tuple[str, tuple[str, ...]], float]:
    """All samples, by name and the values of the labels, in the order of their names."""
    response = client.get("/metrics", headers={"accept": accept})
    assert response.status_code == 200
    parse = openmetrics if "openmetrics" in accept else plain
    families = list(parse(response.text))
    assert families
    return {
        (s.name, tuple(value for _, value in sorted(s.labels.items()))): s.value for f in families for s in f.samples
    }


@pytest.mark.parametrize("accept", ["", "text/plain", "application/openmetrics-text; version=1.0.0"])
def test_every_count_is_there_and_moves(run: Callable[..., Running], accept: str) -> None:
    running = run()
    with socket.create_connection(("127.0.0.1", running.port)):  # who is alone need not queue
        for _ in range(5):
            assert running.predict({"logits": [[1, 2], [3, 4]]}).status_code == 200
    assert running.predict({"logits": ["x"]}).status_code == 422
    assert running.predict(b"{").status_code == 400
    assert running.predict({"logits": [1]}, model="nobody").status_code == 404
    assert running.client.post("/v1/predict", content=b"", headers={"content-type": "a/b"}).status_code == 415
    found = scraped(running.client, accept=accept)
    mine = ("softmax", "1")
    assert found["calibrant_requests_total", ("200", *mine)] == 5
    assert found["calibrant_requests_total", ("422", *mine)] == 1
    assert found["calibrant_requests_total", ("400", *mine)] == 1
    assert found["calibrant_requests_total", ("404", "", "")] == 1
    assert found["calibrant_requests_total", ("415", "", "")] == 1
    assert found["calibrant_rows_total", mine] == 10
    assert found["calibrant_batches_total", mine] == 5
    assert found["calibrant_batch_rows_sum", mine] == 10
    assert found["calibrant_queue_rows", ()] == 0
    for phase in ("decode", "queue", "run", "encode"):
        assert found[f"calibrant_{phase}_seconds_count", mine] == 5
        assert found[f"calibrant_{phase}_seconds_sum", mine] > 0
    reasons = {key[1][0]: n for key, n in found.items() if key[0] == "calibrant_rejected_total" and n}
    assert reasons == {"bad_logit": 1, "not_json": 1, "unknown_model": 1, "unsupported_media_type": 1}
    infos = [set(labels) for name, labels in found if name == "calibrant_model_info"]
    assert any({"softmax", "cpu", "none"} <= info for info in infos)


def test_the_queue_s_depth_is_what_waits(run: Callable[..., Running]) -> None:
    running = run()
    with held(running) as hold:
        threads = [
            threading.Thread(target=httpx.post, args=(f"{running.url}/v1/predict",), kwargs={"json": {"logits": [1]}})
            for _ in range(4)
        ]
        threads[0].start()
        hold.wait()
        for thread in threads[1:]:
            thread.start()
        while scraped(running.client)["calibrant_queue_rows", ()] != 3:
            time.sleep(0.01)
        hold.go.set()
        for thread in threads:
            thread.join()
    assert scraped(running.client)["calibrant_queue_rows", ()] == 0


def test_switched_off_nothing_is_counted_and_who_asks_hears_which_option_does_it(run: Callable[..., Running]) -> None:
    running = run(metrics=False)
    assert running.predict({"logits": [1]}).status_code == 200
    assert running.predict({"logits": []}).status_code == 422
    sentence = "nothing is counted; expected a service that was started without --no-metrics (CALIBRANT_METRICS)"
    for path in ("/metrics", "/v2/models/stats", "/v2/models/softmax/stats", "/v2/models/softmax/versions/1/stats"):
        answer = running.client.get(path)
        assert (answer.status_code, answer.json()) == (404, {"error": sentence, "code": "not_found"})


def test_counts_survive_a_swap_of_the_model() -> None:
    telemetry = start()
    assert telemetry.of("m", "1") is telemetry.of("m", "1")
    assert telemetry.of("m", "1") is not telemetry.of("m", "2")
    assert isinstance(Off().of("m", "1"), Tally)


def test_processes_add_up_and_a_dead_one_s_queue_is_gone(tmp_path: Path) -> None:
    async def count() -> Totals:
        telemetry = Telemetry(tmp_path)
        tally = telemetry.of("m", "1")
        tally.samples.answered(3, 0.1, 0.2, 0.3, 0.4)
        tally.samples.ran(3, 0.3)
        request = Request(b"1", "predict")
        request.model, request.decode_s = SimpleNamespace(tally=tally), 0.5
        telemetry.refused(request, InvalidValue("", code="bad_logit"), Response(422, b""))
        telemetry.add_up()
        state = json.loads(json.dumps(telemetry.state()))
        for pid, n_waiting in ((os.getppid(), 5), (2**22 + 1, 7)):  # one lives, the other cannot
            (tmp_path / f"{pid}.json").write_text(json.dumps(state | {"n_waiting": n_waiting}))
        telemetry.close()
        return telemetry.totals()

    totals = asyncio.run(count())
    tally = totals.tallies["m", "1"]
    assert tally.codes == {200: 3, 422: 3}
    assert tally.n_rows == 9
    assert tally.phases["queue"].sum == pytest.approx(0.6)
    assert tally.sizes == {3: 3}
    assert totals.tallies[NO_MODEL].rejected == {"bad_logit": 3}
    assert totals.n_waiting == 5


def test_counts_that_find_no_disk_are_told_once_and_come_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    telemetry = Telemetry(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", fail)
        telemetry.publish()
        telemetry.publish()
    assert list(tmp_path.glob("*.json")) == []
    telemetry.publish()
    assert len(list(tmp_path.glob("*.json"))) == 1
    assert caplog.text.count("cannot be written, /metrics lacks them: [Errno 28] No space left on device") == 1


def test_a_process_of_another_user_lives_and_one_that_is_gone_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lives(os.getpid())
    assert not lives(2**22 + 1)  # beyond every process id

    def forbidden(pid: int, number: int) -> None:
        assert (pid, number) == (1, 0)
        raise PermissionError

    monkeypatch.setattr(os, "kill", forbidden)
    assert lives(1)


def test_an_idle_process_has_no_timer() -> None:
    async def count() -> tuple[bool, bool]:
        telemetry = start()
        telemetry.of("m", "1").samples.answered(1, 0.1, 0.1, 0.1, 0.1)
        busy = telemetry.timer is not None
        await asyncio.sleep(2 * INTERVAL_S)
        return busy, telemetry.timer is not None

    assert asyncio.run(count()) == (True, False)


@contextmanager
def workers(n: int, *options: str) -> Iterator[str]:
    """`calibrant serve` with several workers, and other options; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "service",
        "serve",
        "--workers",
        str(n),
        "--port",
        str(port),
        "--no-watch",
        *options,
    ]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                if httpx.get(f"{url}/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.05)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert process.returncode == 0


def test_with_two_workers_the_counts_add_up_to_the_requests_sent() -> None:
    with workers(2) as url:
        for _ in range(40):  # each on a connection of its own, so that both workers get some
            assert httpx.post(f"{url}/v1/predict", json={"logits": [1, 2]}).status_code == 200
        time.sleep(3 * INTERVAL_S)
        for _ in range(6):
            with httpx.Client(base_url=url) as client:
                found = scraped(client)
                assert found["calibrant_requests_total", ("200", "softmax", "1")] == 40
                assert found["calibrant_rows_total", ("softmax", "1")] == 40
