"""What a test needs of a running service: a way to hold its runs, and what every error has in common."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.conftest import Running


def until(true: Callable[..., bool]) -> None:
    """Wait for what somebody else must bring about."""
    for _ in range(2000):
        if true():
            return
        time.sleep(0.01)
    pytest.fail("it never came true")


class Held:
    """Runs of a head that have begun and wait for the test to let them go."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go = threading.Event()

    def wait(self) -> None:
        """Until a run has begun."""
        assert self.begun.acquire(timeout=10)


class HeldSession:
    """A session of ONNX Runtime whose runs wait; a head that is compiled keeps its own methods, and takes this."""

    def __init__(self, session: Any, hold: Held) -> None:
        self.session = session
        self.hold = hold
        self._sess = self  # what the engine runs, past the wrapper

    def run(self, *given: Any) -> Any:
        """Wait, then run."""
        self.hold.begun.release()
        assert self.hold.go.wait(10)
        return self.session.run(*given)


@contextmanager
def held(running: Running, model: str = "softmax") -> Iterator[Held]:
    """Send every run of a model to a thread, and let none of them end before the test says so."""
    head, batcher = running.service.repository.find(model).head, running.service.batcher
    assert batcher is not None
    hold, inline_s = Held(), batcher.inline_s
    sessions = head.session, head.short, head.without_logsumexp
    waiting = {session: HeldSession(session, hold) for session in sessions}
    head.session, head.short, head.without_logsumexp = (waiting[session] for session in sessions)
    batcher.inline_s = -1.0
    try:
        yield hold
    finally:
        hold.go.set()
        head.session, head.short, head.without_logsumexp = sessions
        batcher.inline_s = inline_s


def refused(response: httpx.Response, status: int, code: str, sentence: str = "") -> dict[str, Any]:
    """Assert that an answer is an error as the contract has it, and return it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    assert response.headers["server-timing"]
    body: dict[str, Any] = response.json()
    assert {"error", "code"} <= body.keys() <= {"error", "code", "row", "class"}
    assert body["code"] == code
    assert sentence in body["error"]
    return body
