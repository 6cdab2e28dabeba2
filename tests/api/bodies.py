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


@contextmanager
def held(running: Running, model: str = "softmax") -> Iterator[Held]:
    """Send every run of a model to a thread, and let none of them end before the test says so."""
    head, batcher = running.service.repository.find(model).head, running.service.batcher
    assert batcher is not None
    hold, run, inline_s = Held(), head.run, batcher.inline_s

    def waiting(feed: Any, bits: int) -> Any:
        hold.begun.release()
        assert hold.go.wait(10)
        return run(feed, bits)

    head.run, batcher.inline_s = waiting, -1.0  # type: ignore[method-assign]
    try:
        yield hold
    finally:
        hold.go.set()
        del head.run
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
