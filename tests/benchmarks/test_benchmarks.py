"""The benchmarks themselves: what they say is what was there. Nothing here is about how fast anything is."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from tests.benchmarks import __main__ as benchmarks
from tests.benchmarks import aims, batching, life, mixed, processes, queueing
from tests.benchmarks.generator import generate
from tests.benchmarks.processes import SPECS, DidNotStart, Server, Spec
from tests.benchmarks.queueing import Service
from tests.benchmarks.race import Cell, Run, summed
from tests.benchmarks.usage import used_by
from tests.benchmarks.work import WrongAnswer, dumped, made
from tests.conftest import Running


def measured(folder: Path, *arguments: str) -> dict[str, Any]:
    """What the command writes."""
    file = folder / "figures.json"
    quick = ("--generator", "python", "--rounds", "1", "--seconds", "0.2", "--retries", "0", "--json", str(file))
    assert benchmarks.main([*quick, *arguments]) == 0
    figures: dict[str, Any] = orjson.loads(file.read_bytes())
    return figures


def test_a_race_times_every_server_and_tells_its_ratios(tmp_path: Path) -> None:
    figures = measured(tmp_path, "race", "--cells", "1x10@2", "--servers", "bare,fast")
    lines = {line["server"]: line for line in figures["race"]["lines"]}
    assert set(lines) == {"bare", "fast"}
    for line in lines.values():
        assert line["errors"] == 0
        assert line["rounds"][0]["requests"] > 0
        assert 0 < line["p50_us"] <= line["p99_us"] <= line["max_us"]
        assert line["rss_mb"] > 1
    assert lines["fast"]["rps/bare"] == pytest.approx(lines["fast"]["rps"] / lines["bare"]["rps"])
    assert figures["generator"] == "python"
    assert "onnxruntime" in figures["machine"]


def test_the_stages_of_a_request_all_take_some_time(tmp_path: Path) -> None:
    stages = measured(tmp_path, "micro", "--seconds", "0.05")["micro"]["stages_us"]
    assert set(stages) == {"1x10", "1x1000", "64x1000", "1x50000"}
    for shape in stages.values():
        assert all(us is None or us > 0 for us in shape.values())
        assert {"head run", "encode", "decode, careful"} <= set(shape)


def test_the_other_benchmarks_fill_their_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixed, "EARLIER_S", 0.05)
    monkeypatch.setattr(mixed, "NEIGHBOURS", {"alone": (), "64x1000": (("64x1000", 1),)})
    monkeypatch.setattr(life, "WARM_S", 0.05)
    figures = measured(tmp_path, "mixed", "--servers", "fast")
    alone, beside = figures["mixed"]["lines"]
    assert (alone["beside"], beside["beside"]) == ("alone", "64x1000")
    assert alone["errors"] == beside["errors"] == 0
    assert 0 < beside["p50_us"] <= beside["p99_us"]
    figures = measured(tmp_path, "idle", "coldstart", "--servers", "bare", "--idle-s", "0.2")
    (idle,) = figures["idle"]["lines"]
    assert idle["grown"] == idle["idle_mb"] / idle["before_mb"]
    assert 0 <= idle["cpu_percent"] <= 110
    (start,) = figures["coldstart"]["lines"]
    assert start["cpu_s"] > 0
    assert 0 < start["wall_s"] < processes.START_S
    assert start["rss_mb"] > 1


@pytest.mark.parametrize("shape", ["1x10", "3x7", "2x5/logits"])
def test_the_service_passes_the_check_that_servers_must_pass(running: Running, shape: str) -> None:
    work = made(shape)
    work.check(running.predict(work.body).content)


@pytest.mark.parametrize("spoil", ["a number", "a masked class", "the shape"])
def test_a_wrong_answer_is_found_before_anything_is_timed(spoil: str) -> None:
    work = made("3x7")
    answer = work.expected.copy()
    assert (~work.allowed).any()
    if spoil == "a number":
        answer[1, 0] += 1e-5
    elif spoil == "a masked class":
        answer[~work.allowed] = 1e-9
    else:
        answer = answer[:, :-1]
    work.check(dumped({"probabilities": work.expected}))
    with pytest.raises(WrongAnswer):
        work.check(dumped({"probabilities": np.ascontiguousarray(answer)}))


def test_a_server_that_does_not_start_says_why_and_leaves_nothing() -> None:
    spec = Spec("broken", lambda port: ["-c", f"raise SystemExit('no port {port}')"], "")
    server = Server(spec)
    with server, pytest.raises(DidNotStart, match=f"no port {server.port}"):
        server.wait()
    assert server.process.returncode == 1


def test_a_server_is_stopped_when_its_benchmark_fails() -> None:
    server = Server(SPECS["bare"])

    def fail() -> None:
        with server:
            server.wait()
            assert server.usage()[1] > 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert server.process.returncode is not None
    assert used_by(server.process.pid)[1] == 0


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system pins nothing")
def test_a_pinned_server_has_its_core_and_we_keep_ours() -> None:
    before = os.sched_getaffinity(0)
    core = max(before)
    spec = Spec("sleeper", lambda _: ["-c", "import time; time.sleep(60)"], "")
    with Server(spec, core) as server:
        assert os.sched_getaffinity(server.process.pid) == {core}
    assert os.sched_getaffinity(0) == before


@contextmanager
def answering(status: int, *, close: bool = False) -> Iterator[int]:
    """A server that answers every POST with one status; its port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")
            self.close_connection = close

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


def test_the_generator_counts_what_was_answered() -> None:
    with answering(200) as port:
        seen = asyncio.run(generate(port, REQUEST, 3, 0.1))
    assert seen["errors"] == 0
    assert seen["requests"] > 3
    assert 0 < seen["p50_us"] <= seen["p99_us"] <= seen["max_us"] < 1e6 * seen["seconds"]


def test_the_generator_counts_answers_that_are_not_200_as_errors() -> None:
    with answering(429) as port:
        seen = asyncio.run(generate(port, REQUEST, 2, 0.05))
    assert seen["errors"] == seen["requests"] > 0


def test_the_generator_counts_connections_that_were_closed_as_errors() -> None:
    with answering(200, close=True) as port:
        seen = asyncio.run(generate(port, REQUEST, 2, 0.1))
    assert seen["requests"] == 2
    assert seen["errors"] == 2


def a_run(server: str, number: int, rps: float) -> Run:
    return Run("1x10@1", server, number, rps, 1e6 / rps, 0, 0, 1, 0, 1, 1, 0)


def test_a_ratio_is_the_median_of_the_ratios_within_a_round() -> None:
    # the machine is ten times as slow in the second round
    runs = [a_run("fast", i, rps) for i, rps in enumerate((200, 30, 400))]
    runs += [a_run("bare", i, rps) for i, rps in enumerate((100, 10, 100))]
    fast, bare = summed(runs)
    assert fast["rps/bare"] == 3
    assert bare["rps/fast"] == pytest.approx(1 / 3)
    assert fast["rps"] == 200


@pytest.mark.parametrize(("rps", "met"), [(0.89, False), (0.9, True)])
def test_an_aim_is_met_at_its_bound(rps: float, met: bool) -> None:
    line = {"cell": "1x10@16", "server": "fast", "rps/bare": rps}
    results = {"race": {"lines": [line, {"cell": "1x10@16", "server": "asgi"}]}}
    aim = aims.AIMS[0]
    figure = aims.found(aim, results)
    assert figure is not None
    assert aims.met(aim, figure) is met
    table = aims.table(results)
    assert table is not None
    assert table.row_count == 1


@pytest.mark.parametrize(("others", "said"), [(0.05, None), (0.3, "30%")])
def test_the_aims_say_when_others_disturbed_the_run(others: float, said: str | None) -> None:
    line = {"cell": "1x10@16", "server": "fast", "rps/bare": 1.0, "others": others}
    table = aims.table({"machine": {}, "generator": "wrk", "race": {"lines": [line]}})
    assert table is not None
    assert said in str(table.caption) if said else table.caption is None


@pytest.mark.parametrize("text", ["10@1", "1x10", "1x10@0", "1x10/mask@1", "0x10@1"])
def test_a_cell_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        Cell.read(text)


@pytest.mark.parametrize("arguments", [["races"], ["--servers", "quick"], ["--cells", "1x10"]])
def test_what_is_not_there_is_not_measured(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        benchmarks.main(arguments)
    assert stopped.value.code == 2
    assert arguments[-1] in capsys.readouterr().err


def test_the_expensive_head_answers_what_numpy_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "WIDTH", 64)
    work = batching.expensive(tmp_path)
    spec = Spec("wide", processes.calibrant("--models", str(tmp_path), "--default-model", "wide"), "")
    with Server(spec) as server:
        server.wait().check(work)


def test_the_generator_is_a_program(running: Running, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(made("1x10").body)
    options = {"port": running.port, "path": "/v1/predict", "body": body, "connections": 2, "seconds": 0.1}
    command = [sys.executable, "-m", "tests.benchmarks.generator", *(f"--{k}={v}" for k, v in options.items())]
    run = subprocess.run(command, cwd=processes.ROOT, capture_output=True, check=True, timeout=30)
    assert orjson.loads(run.stdout.removeprefix(b"RESULT "))["errors"] == 0


def test_a_queue_that_nobody_waits_in_takes_what_a_request_takes() -> None:
    latencies = queueing.simulate(Service(2e-5, 1e-5, 1e-4), per_second=1.0, n=1000)
    assert latencies == pytest.approx(1.3e-4)


@pytest.mark.parametrize("load", [0.3, 0.7, 0.9])
def test_without_batches_the_mean_wait_is_that_of_the_textbook(load: float) -> None:
    latencies = queueing.simulate(Service(0.0, 1.0, most=1), per_second=load)
    assert latencies.mean() == pytest.approx(1 + load / (2 * (1 - load)), rel=0.03)  # M/D/1, Pollaczek and Khinchine


def test_a_batch_shares_what_is_fixed() -> None:
    service = Service(1.0, 0.0)
    for per_second in (0.5, 5.0, 50.0):
        assert queueing.simulate(service, per_second, 10_000).max() <= 2 + 1e-9  # the rest of one batch, and its own
    assert queueing.simulate(Service(1.0, 0.0, most=1), 5.0, 10_000).max() > 1000


def test_waits_grow_with_the_load() -> None:
    service = Service(2e-5, 1e-5)
    p99 = [np.quantile(queueing.simulate(service, load * service.per_second), 0.99) for load in queueing.LOADS]
    assert p99 == sorted(p99)
    assert p99[-1] > 3 * p99[0]


def test_the_model_is_fitted_to_the_cpu_time_at_one_connection_and_at_many() -> None:
    def seen(cpu_us: float, p50_us: float) -> Run:
        return Run("1x10@1", "fast", 1, 1e4, p50_us, 2 * p50_us, 3 * p50_us, 100, 0, cpu_us, 100.0, 0.0)

    service = Service.fit(seen(40.0, 65.0), seen(12.0, 900.0), 16)
    assert service.fixed_s + service.each_s == pytest.approx(40e-6)
    assert service.fixed_s / 16 + service.each_s == pytest.approx(12e-6)
    assert service.outside_s == pytest.approx(25e-6)
    for alone_us, shared_us in ((0.0, 0.0), (40.0, 0.0)):  # too short a run to see what it takes
        assert Service.fit(seen(alone_us, 65.0), seen(shared_us, 900.0), 16).per_second > 0


def test_the_model_stands_beside_a_point_that_was_measured(tmp_path: Path) -> None:
    figures = measured(tmp_path, "queueing", "--cells", "1x10@4")
    lines = figures["queueing"]["lines"]
    assert [line["load"] for line in lines] == list(queueing.LOADS)
    assert all(0 < line["p50_us"] <= line["p99_us"] for line in lines)
    [point] = [line for line in lines if "measured_rps" in line]
    assert point["measured_errors"] == 0
    assert 0 < point["measured_p50_us"] <= point["measured_p99_us"]


def test_requests_that_are_due_while_no_connection_is_free_count_from_then(running: Running) -> None:
    body = b'{"logits":[1,2]}'
    request = b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    open_loop = asyncio.run(generate(running.port, request, 1, 0.5, per_second=1e5))
    closed = asyncio.run(generate(running.port, request, 1, 0.5))
    assert open_loop["errors"] == closed["errors"] == 0
    assert open_loop["p99_us"] > 0.1 * 1e6 > closed["p50_us"]
    few = asyncio.run(generate(running.port, request, 4, 1.0, per_second=50.0))
    assert 20 <= few["requests"] <= 90
    assert few["p50_us"] < 0.1 * 1e6
