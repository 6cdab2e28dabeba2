"""A trial in a process of its own: how it ends, and that it ends when nobody waits for it any more."""

import threading
from pathlib import Path

import pytest

from service.engine.trial import Trials, main
from service.errors import HeadError
from tests.api.bodies import until
from tests.engine.hostile import SHIPPED, endless

TRIALS = Trials(timeout_s=60, memory_mb=1024, max_nodes=10)


def test_a_process_that_ends_by_a_signal_is_told() -> None:
    assert TRIALS.outcome("", "Segmentation fault", -11) == "ended the process that tried it (exit code -11)"
    assert TRIALS.outcome("noise of a library\n", "", 0) == "ended the process that tried it (exit code 0)"


@pytest.mark.parametrize(("output", "errors"), [("tried: std::bad_alloc\n", ""), ("", "MemoryError")])
def test_too_much_memory_is_told_however_it_shows(output: str, errors: str) -> None:
    sentence = "took more than 1024 MB while it was loaded and run (--load-memory-mb)"
    assert TRIALS.outcome(output, errors, 0 if output else 1) == sentence


def test_what_a_library_prints_before_the_answer_does_not_count() -> None:
    assert TRIALS.outcome("loading...\ntried: \n", "", 0) == ""


def test_a_trial_that_nobody_waits_for_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    endless(path)
    trials = Trials(timeout_s=60, memory_mb=1024, max_nodes=1000)
    failures: list[str] = []

    def attempt() -> None:
        with pytest.raises(HeadError) as raised:
            trials.run(path, path.read_bytes())
        failures.append(str(raised.value))

    thread = threading.Thread(target=attempt)
    thread.start()
    until(lambda: repr(trials) == "<Trials 1 running>")
    trials.close()
    thread.join(20)
    assert failures == [f"{path} ended the process that tried it (exit code -9)"]


def test_the_process_says_nothing_of_a_good_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.nice", lambda _: 0)
    monkeypatch.setattr("resource.setrlimit", lambda *_: None)  # they would stay
    assert main(SHIPPED, SHIPPED.read_bytes(), 1024, 1000) == ""
    assert "more than 3 nodes" in main(SHIPPED, SHIPPED.read_bytes(), 1024, 3)
