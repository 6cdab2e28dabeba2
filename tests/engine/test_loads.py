"""Loads in the service itself: nobody waits for one beyond its time, or when the service stops."""

import threading
from pathlib import Path

import pytest

from service.engine.head import Head
from service.engine.loads import Begin, Load, Loads
from service.errors import HeadError
from tests.api.bodies import until
from tests.engine.hostile import SHIPPED, endless

PATH = Path("models/a/1/model.onnx")


def test_what_a_load_returns_or_raises_comes_out() -> None:
    def fail(_: Begin) -> str:
        raise HeadError("is no head; expected one")

    assert Loads(20).run(PATH, lambda _: "made") == "made"
    assert Loads(0).run(PATH, lambda _: "made") == "made"
    with pytest.raises(HeadError, match="is no head; expected one"):
        Loads(20).run(PATH, fail)


def test_a_load_that_does_not_end_is_a_failure_and_the_next_is_not() -> None:
    loads, free = Loads(0.1), threading.Event()
    with pytest.raises(HeadError) as raised:
        loads.run(PATH, lambda _: free.wait())
    assert str(raised.value) == (
        f"{PATH} passed its trial, and did not load in the service within 0.1 s (--load-timeout-s)"
    )
    assert repr(loads) == "<Loads 1 running>"
    loads.timeout_s = 20
    assert loads.run(PATH, lambda _: "made") == "made"
    free.set()
    until(lambda: not loads.running)


def test_the_runs_of_a_load_that_does_not_end_are_stopped(tmp_path: Path) -> None:
    path, loads = tmp_path / "model.onnx", Loads(2)
    endless(path)
    with pytest.raises(HeadError, match="did not load in the service within 2 s"):
        loads.run(path, lambda begin: Head(path, before_run=begin))
    until(lambda: not loads.running)


def test_a_load_that_is_stopped_before_its_first_run_stops_there() -> None:
    stops: list[str] = []

    class Begun:
        def stop(self, why: str) -> None:
            stops.append(why)

    load = Load(lambda: load.begin(Begun()))
    load.stop("too late")
    load.run()
    assert stops == ["too late"]


def test_at_the_end_of_the_service_nobody_waits_for_a_load() -> None:
    loads, free = Loads(600), threading.Event()
    failures: list[str] = []

    def attempt() -> None:
        with pytest.raises(HeadError) as raised:
            loads.run(PATH, lambda _: free.wait())
        failures.append(str(raised.value))

    thread = threading.Thread(target=attempt)
    thread.start()
    until(lambda: repr(loads) == "<Loads 1 running>")
    loads.close()
    thread.join(20)
    with pytest.raises(HeadError, match="as the service stops"):
        loads.run(PATH, lambda _: free.wait())
    free.set()
    assert failures == [f"{PATH} was not loaded, as the service stops"]


def test_a_head_tells_of_itself_before_its_first_run() -> None:
    told: list[tuple[Head, bool]] = []
    head = Head(SHIPPED, before_run=lambda head: told.append((head, head.warm)))
    assert told == [(head, False)]
