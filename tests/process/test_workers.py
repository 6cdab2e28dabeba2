"""Several processes behind one port, as a person starts them."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from service.process.workers import Workers
from service.readiness import READY, STARTING, STOPPED
from tests.conftest import ROOT
from tests.processes import environment


class Command:
    """`calibrant serve --workers N`, running."""

    def __init__(self, models: Path, log: Path, workers: int = 2, *options: object) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = log
        arguments = ["serve", "--workers", str(workers), "--port", str(self.port), "--models", str(models)]
        arguments += map(str, options)
        with log.open("w") as stderr:
            command = [sys.executable, "-m", "service", *arguments]
            self.process = subprocess.Popen(command, cwd=ROOT, stderr=stderr, stdout=subprocess.DEVNULL)
        until(lambda: self.status("/readyz") == 200)

    def status(self, path: str) -> int:
        """The status of a GET on a fresh connection, 0 where nobody answers."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=10).status_code
        except httpx.TransportError:
            return 0

    def workers(self) -> set[int]:
        """The process ids of the workers."""
        found = set()
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                stat, command = (folder / "stat").read_text(), (folder / "cmdline").read_bytes()
            except OSError:
                continue
            parent = int(stat.rpartition(")")[2].split()[1])
            if parent == self.process.pid and b"spawn_main" in command:
                found.add(int(folder.name))
        return found


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    running = Command(ROOT / "models", tmp_path / "log")
    yield running
    running.process.send_signal(signal.SIGKILL)
    running.process.wait(30)


def test_two_workers_answer_and_stop_together_on_sigterm(command: Command) -> None:
    assert len(command.workers()) == 2
    assert httpx.post(f"http://127.0.0.1:{command.port}/v1/predict", json={"logits": [1, 2]}).status_code == 200
    workers = command.workers()
    command.process.send_signal(signal.SIGTERM)
    assert command.process.wait(30) == 0
    assert not any(alive(pid) for pid in workers)


def test_a_dead_worker_is_replaced_and_not_ready_says_so_meanwhile(command: Command) -> None:
    before = command.workers()
    victim = before.pop()
    os.kill(victim, signal.SIGKILL)
    until(lambda: command.status("/readyz") == 503)
    until(lambda: command.status("/readyz") == 200)
    after = command.workers()
    assert len(after) == 2
    assert victim not in after
    assert before < after
    assert re.search(rf"worker \d \(pid {victim}\) ended with exit code -9", command.log.read_text())


def test_a_worker_that_stands_still_is_replaced(tmp_path: Path) -> None:
    command = Command(ROOT / "models", tmp_path / "log", 2, "--worker-timeout-s", 5)
    try:
        victim = command.workers().pop()
        os.kill(victim, signal.SIGSTOP)
        until(lambda: not alive(victim) and len(command.workers()) == 2)
        until(lambda: command.status("/readyz") == 200)
        assert re.search(rf"worker \d \(pid {victim}\) stands still for 5 s, it is killed", command.log.read_text())
    finally:
        command.process.send_signal(signal.SIGTERM)
        assert command.process.wait(30) == 0


def test_a_worker_that_stands_still_does_not_keep_the_service_from_its_end(command: Command) -> None:
    victim = command.workers().pop()
    os.kill(victim, signal.SIGSTOP)
    command.process.send_signal(signal.SIGTERM)
    assert command.process.wait(30) == 0
    assert not alive(victim)


BROKEN = """
import socket, sys
from service.process.workers import Workers
from service.readiness import READY, STOPPED
def work(slot, ready, beats, listening):
    sys.exit(7)
if __name__ == "__main__":
    Workers(2, work, [socket.socket()]).run()
"""


def test_a_worker_that_ends_before_it_is_ready_ends_the_service(tmp_path: Path) -> None:
    script = tmp_path / "broken.py"
    script.write_text(BROKEN)
    checkout = environment(PYTHONPATH=str(ROOT))  # not whatever is installed
    done = subprocess.run(
        [sys.executable, script], cwd=ROOT, env=checkout, capture_output=True, text=True, timeout=60, check=False
    )
    assert "CannotStart: a worker ended with exit code 7 before it was ready" in done.stderr


ANNOUNCED = """
import os, signal, socket, sys, time
from service.process.workers import Workers
from service.readiness import READY
def work(slot, ready, beats, listening):
    if slot == 1:
        ready[slot] = READY
    signal.sigwait([signal.SIGTERM])
def announce():
    print(list(workers.ready))
    os.kill(os.getpid(), signal.SIGTERM)
if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # of the workers, who inherit it
    workers = Workers(2, work, [socket.socket()], on_ready=announce)
    start = workers.start
    def start_and_listen(slot):
        process = start(slot)
        if slot == 1:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        return process
    workers.start = start_and_listen
    sys.exit(workers.run())
"""


def test_it_is_announced_once_when_the_first_worker_is_ready(tmp_path: Path) -> None:
    script = tmp_path / "announced.py"
    script.write_text(ANNOUNCED)
    checkout = environment(PYTHONPATH=str(ROOT))
    done = subprocess.run(
        [sys.executable, script], cwd=ROOT, env=checkout, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"{[STARTING, READY]}\n"), done.stderr


def test_workers_do_not_outlive_a_parent_that_was_killed(command: Command) -> None:
    workers = command.workers()
    command.process.kill()
    until(lambda: not any(alive(pid) for pid in workers))


def alive(pid: int) -> bool:
    """Whether a process runs, and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds; it is looked at often, and for long."""
    patience = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < patience
        time.sleep(0.02)


def test_a_dead_worker_is_replaced_though_a_file_that_came_meanwhile_does_not_load(tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(ROOT / "models" / "softmax", models / "softmax")
    command = Command(models, tmp_path / "log")
    try:
        for broken in ("softmax/2", "bad/1"):
            (models / broken).mkdir(parents=True)
            (models / broken / "model.onnx").write_bytes(b"junk")
        victim = command.workers().pop()
        os.kill(victim, signal.SIGKILL)
        until(lambda: victim not in command.workers() and len(command.workers()) == 2)
        until(lambda: command.status("/readyz") == 200)
        assert httpx.post(f"http://127.0.0.1:{command.port}/v1/predict", json={"logits": [1, 2]}).status_code == 200
        until(lambda: "model bad/1 does not load; it is not served" in command.log.read_text())
        assert "Traceback" not in command.log.read_text()
    finally:
        command.process.send_signal(signal.SIGTERM)
        assert command.process.wait(30) == 0


def test_one_that_cannot_start_any_more_is_tried_again_while_the_others_serve(tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(ROOT / "models" / "softmax", models / "softmax")
    command = Command(models, tmp_path / "log")
    try:
        models.rename(tmp_path / "gone")
        os.kill(command.workers().pop(), signal.SIGKILL)
        until(lambda: "before it was ready, another is tried in 5 s" in command.log.read_text())
        for _ in range(10):
            answer = httpx.post(f"http://127.0.0.1:{command.port}/v1/predict", json={"logits": [1, 2]})
            assert answer.status_code == 200
        assert command.status("/readyz") == 503
        (tmp_path / "gone").rename(models)
        until(lambda: command.status("/readyz") == 200)
        assert len(command.workers()) == 2
        assert "Traceback" not in command.log.read_text()
    finally:
        command.process.send_signal(signal.SIGTERM)
        assert command.process.wait(30) == 0


def ignore(slot: int, ready: Any, beats: Any, listening: Sequence[socket.socket]) -> None:
    """The work of a worker that is never started."""


def test_workers_say_in_their_repr_how_many_are_ready() -> None:
    with socket.socket() as listening:
        workers = Workers(3, ignore, [listening])
        assert repr(workers) == "<Workers 0 of 3 ready>"
        workers.ready[1:] = [READY, STOPPED]
        assert repr(workers) == "<Workers 1 of 3 ready>"


def test_a_signal_is_passed_on_to_those_that_live_and_to_no_other_process(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    with socket.socket() as listening:
        workers = Workers(3, ignore, [listening])
        for pid, lives in ((11, True), (12, False), (13, True)):
            workers.processes.append(cast(Any, SimpleNamespace(pid=pid, is_alive=lambda lives=lives: lives)))
        workers.stop(signal.SIGTERM, None)
    assert sent == [(11, signal.SIGTERM), (13, signal.SIGTERM)]
    assert workers.stopping
