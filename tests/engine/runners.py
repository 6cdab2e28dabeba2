"""Runners that a test holds in its hand, and a client of the batcher: order is what the test says."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from service.engine.batcher import Batcher
from service.engine.entry import Entry
from service.engine.feed import build_feed
from service.engine.pace import Pace
from service.engine.rows import Rows, Runnable
from service.families.outputs import graph_bits

PROBABILITIES = graph_bits(("probabilities",))
ENTROPY = graph_bits(("entropy",))
NEVER_INLINE = -1.0


class Fake:
    """A runner that answers twice each logit, plus the temperature, and writes down what it was asked."""

    temperature = 7.0
    stopped = ""

    def __init__(self) -> None:
        self.pace = Pace()
        self.feeds: list[dict[str, Any]] = []
        self.bits: list[int] = []
        self.threads: list[threading.Thread] = []
        self.raises: list[Exception] = []
        self.missing_rows = 0

    def cost_s(self, n_numbers: int) -> float:
        """Nothing."""
        return 0.0 * n_numbers

    def run(self, feed: dict[str, Any], bits: int) -> dict[str, Any]:
        """Two outputs where two are asked for."""
        self.feeds.append(feed)
        self.bits.append(bits)
        self.threads.append(threading.current_thread())
        if self.raises:
            raise self.raises.pop()
        logits = feed["logits"][self.missing_rows :]
        answer = {"probabilities": 2 * logits}
        if "temperature" in feed:
            answer["probabilities"] = 2 * logits + feed["temperature"][self.missing_rows :]
        return answer if bits == PROBABILITIES else answer | {"log_probabilities": -logits}

    def run_alone(self, rows: Runnable, bits: int) -> dict[str, Any]:
        """As any run."""
        return self.run(build_feed([rows], self.temperature), bits)

    def stop(self, why: str) -> None:
        """Nothing that runs ends of it, as a node that never returns."""
        self.stopped = why

    @property
    def sizes(self) -> list[int]:
        """Rows per run."""
        return [len(feed["logits"]) for feed in self.feeds]


class Held(Fake):
    """A runner whose every run waits, in its thread, for the test to let it go."""

    def __init__(self) -> None:
        super().__init__()
        self.started = threading.Semaphore(0)
        self.go = threading.Semaphore(0)

    def run(self, feed: dict[str, Any], bits: int) -> dict[str, Any]:
        """As soon as it is let go."""
        self.started.release()
        assert self.go.acquire(timeout=10)
        return super().run(feed, bits)

    async def running(self) -> None:
        """Until a run has begun."""
        assert await asyncio.to_thread(self.started.acquire, timeout=10)

    def release(self, n: int = 100) -> None:
        """Let `n` runs go."""
        self.go.release(n)


class Client:
    """Submits rows, and keeps what comes back, in order."""

    def __init__(self, batcher: Batcher, runner: Any) -> None:
        self.batcher = batcher
        self.runner = runner
        self.answered: list[Entry] = []
        self.n_calls: dict[int, int] = {}
        self.news = asyncio.Event()

    def send(
        self, *logits: float, k: int = 1, bits: int = PROBABILITIES, timeout_s: float = 60.0, **rows: Any
    ) -> Entry:
        """A row a logit, repeated over `k` classes."""
        values = np.repeat(np.array(logits, np.float32)[:, np.newaxis], k, axis=1)
        return self.batcher.submit(self.runner, Rows({"logits": values}, **rows), bits, self.done, timeout_s)

    def done(self, entry: Entry) -> None:
        """Called by the batcher."""
        self.n_calls[id(entry)] = self.n_calls.get(id(entry), 0) + 1
        self.answered.append(entry)
        self.news.set()

    async def all(self, *entries: Entry) -> None:
        """Until these are answered, each exactly once."""
        async with asyncio.timeout(10):
            while not {id(e) for e in entries} <= self.n_calls.keys():
                self.news.clear()
                await self.news.wait()
        assert [self.n_calls[id(e)] for e in entries] == [1] * len(entries)


def said(entry: Entry, output: str = "probabilities") -> list[float]:
    """The first class of each row of an answer."""
    assert entry.answers is not None, entry.error
    first: list[float] = entry.answers[output][:, 0].tolist()
    return first


def with_batcher(test: Callable[..., Any], runner: Fake, **options: Any) -> None:
    """Run a coroutine function of (client, batcher, runner) on its own loop; close, and see that nothing is left."""

    async def main() -> None:
        batcher = Batcher(**options)
        await test(Client(batcher, runner), batcher, runner)
        if isinstance(runner, Held):
            runner.release()
        async with asyncio.timeout(10):
            await batcher.close()
        assert batcher.n_waiting == 0
        assert not batcher.queues

    asyncio.run(main())
