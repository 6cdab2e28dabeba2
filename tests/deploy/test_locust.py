"""The load that is modelled: each of its requests gets what it claims, and what goes wrong is counted as such."""

import re
import signal
import socket
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import pytest

from deploy.locust.labels import LateLabels, describe
from deploy.locust.ledger import Ledger
from deploy.locust.run import main
from deploy.locust.traffic import PREDICT, WEIGHTS, Sent, Traffic, Writer, fault
from deploy.server import serve
from tests.benchmarks.processes import ROOT, free_port
from tests.conftest import Running

TRAFFIC = Traffic()
RUN = ("-m", "deploy.locust.run")


def test_every_request_gets_what_it_claims(running: Running) -> None:
    for sent in TRAFFIC.pool + TRAFFIC.floods:
        answer = running.client.post(PREDICT, content=sent.body)
        assert answer.status_code == sent.status, (sent.body[:200], answer.text[:200])
        assert fault(sent, answer.status_code, None, answer.content) is None
        if sent.status == 200 and "probabilities" in answer.json():
            n, k = sent.rows
            assert [len(row) for row in answer.json()["probabilities"]] == [k] * n


def test_the_mix_has_every_kind_and_two_sorts_of_answers() -> None:
    assert {sent.kind for sent in TRAFFIC.pool} == set(WEIGHTS)
    drawn = [TRAFFIC.usual() for _ in range(2000)]
    share = sum(sent.status == 422 for sent in drawn) / len(drawn)
    assert 0.02 < share < 0.09
    assert sum(WEIGHTS.values()) == 100


def test_the_same_seed_makes_the_same_traffic() -> None:
    assert Writer(3).masked() == Writer(3).masked()
    assert Writer(3).masked() != Writer(4).masked()


GOOD = b'{"probabilities":[[0.25,0.75]]}'


@pytest.mark.parametrize(
    ("sent_status", "status", "retry_after", "body", "said"),
    [
        (200, 200, None, GOOD, None),
        (422, 422, None, b'{"error":"x"}', None),
        (200, 429, "1", b'{"error":"x"}', None),
        (422, 429, "1", b'{"error":"x"}', None),
        (200, 429, None, b'{"error":"x"}', "429 without Retry-After"),
        (422, 200, None, GOOD, "200 instead of 422"),
        (200, 500, None, b"{}", "500 instead of 200"),
        (200, 0, None, None, "no answer"),
        (200, 200, None, b"", "no JSON object came back"),
        (200, 200, None, b'{"probabilities":[[0.25,0.7]]}', "probabilities add up to 0.95"),
    ],
)
def test_an_answer_is_judged(
    sent_status: int, status: int, retry_after: str | None, body: bytes | None, said: str | None
) -> None:
    assert fault(Sent("1x10", b"", sent_status), status, retry_after, body) == said


def test_refusals_are_counted_apart_from_failures(capsys: pytest.CaptureFixture[str]) -> None:
    ledger = Ledger()
    for time_ms in (1, 2, 3, 400):
        ledger.add("steady", "1x10", time_ms, refused=False, fault=None)
    ledger.add("steady", "1x10", 9000, refused=True, fault=None)
    ledger.add("steady", "wrong", 9000, refused=False, fault="200 instead of 422")
    ledger.add("ramp", "1x10", 5, refused=False, fault=None)
    total = ledger.total("steady")
    assert (total.n, total.n_refused, total.n_failed) == (6, 1, 1)
    assert (total.percentile_ms(50), total.percentile_ms(99)) == (3, 400)
    assert ledger.total().n == 7
    ledger.show()
    assert "1 x 200 instead of 422" in capsys.readouterr().out


def test_half_of_the_answers_get_labels_late_and_as_often_as_their_probabilities_say() -> None:
    late, probabilities = LateLabels(), [0.7, 0.2, 0.1]
    answer = {"model": "softmax", "version": "1", "probabilities": [probabilities]}
    for i in range(4000):
        late.add(f"request-{i}", answer, now_s=100.0)
    assert late.take(now_s=100.0) == []
    early = late.take(now_s=101.0)
    assert 0 < len(early) < 2000
    assert late.take(now_s=101.1) == []  # not again so soon
    labels = early + late.take(now_s=1000.0)
    assert 0.45 < len(labels) / 4000 < 0.55
    assert len({label["id"] for label in labels}) == len(labels)
    shares = [sum(label["label"] == k for label in labels) / len(labels) for k in range(3)]
    assert shares == pytest.approx(probabilities, abs=0.05)


def test_what_the_service_counted_is_told_in_a_line() -> None:
    assert describe({"labels": 0}) == "the service has counted none yet"
    found = {"labels": 1200, "accuracy": 0.9, "ece": {"debiased": 0.012}, "monitors": [{"alarm": False}]}
    assert describe(found).endswith("counted 1,200: accuracy 0.900, calibration error 0.012, no alarm")
    assert describe(found | {"monitors": [{"alarm": True}]}).endswith("an ALARM")


def test_without_a_server_elsewhere_there_is_no_load() -> None:
    command = [sys.executable, *RUN, "--host", "http://nowhere.invalid:1"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30, cwd=ROOT)
    assert run.returncode == 3
    assert "nothing answers at http://nowhere.invalid:1" in run.stderr


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--stage-s", "0"), "--stage-s is 0; expected a number of seconds above 0"),
        (("--stage-s", "nan"), "--stage-s is nan; expected a number of seconds above 0"),
        (("--host", "127.0.0.1:8000"), "--host is '127.0.0.1:8000'; expected a URL with its scheme, such as http://"),
        (("--host", "localhost:8000"), "--host is 'localhost:8000'; expected a URL with its scheme, such as http://"),
    ],
)
def test_an_option_that_cannot_be_meant_is_told_in_a_sentence(
    options: tuple[str, str], sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["load", *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


def test_an_interrupt_ends_the_load_and_its_server_without_a_traceback() -> None:
    # what a shell starts in the background ignores interrupts, and so do its children
    heed = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.executable, sys.argv[1:])"
    )
    command = [sys.executable, "-c", heed, sys.executable, *RUN, "--host", f"http://127.0.0.1:{free_port()}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as load:
        assert load.stdout is not None
        assert "a server is started there" in load.stdout.readline()
        load.send_signal(signal.SIGINT)
        _, err = load.communicate(timeout=60)
    assert load.returncode == 130, err
    assert "load: interrupted" in err
    assert "Traceback" not in err


def test_an_interrupt_while_the_server_is_started_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    started, popen = [], subprocess.Popen

    def interrupted(*_: Any, **__: Any) -> subprocess.Popen[bytes]:
        started.append(popen([sys.executable, "-c", "import time; time.sleep(60)"]))
        signal.raise_signal(signal.SIGINT)
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it
    try:
        with pytest.raises(KeyboardInterrupt), serve(f"http://127.0.0.1:{free_port()}"):
            pass
    finally:
        signal.signal(signal.SIGINT, before)
    assert [one.poll() for one in started] == [-signal.SIGTERM]


@pytest.mark.skipif(find_spec("locust") is None, reason="needs locust: make .venv/loading")
def test_the_load_starts_a_server_where_there_is_none_and_stops_it() -> None:
    port = free_port()
    command = [sys.executable, *RUN, "--host", f"http://127.0.0.1:{port}", "--stage-s", "0.6"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=ROOT)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "1x1000 masked" in run.stdout
    *_, total, _, sent, counted = run.stdout.splitlines()
    assert "all" in total
    assert re.match(r"labels: \d[\d,]* were sent", sent)
    assert counted.startswith("the service has counted ")
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=5):
        pass
