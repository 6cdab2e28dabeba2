"""What the service counts: requests, rows, batches and seconds, per version of a model, over all workers.

A request costs a few bytes at the end of a buffer; the arithmetic happens in numpy for all requests of the last
`INTERVAL_S` at once, on a timer that runs only while there is something to add up. Several workers keep a file each in
a folder that they share, and whoever is asked adds them up. Knows neither HTTP nor Prometheus: `api/metrics.py` does.
"""

import asyncio
import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct
from typing import Any, Final, Self

import numpy as np

INTERVAL_S: Final = 0.1
SECONDS: Final = tuple(1e-5 * 10**power * step for power in range(6) for step in (1, 2.5, 5))
ROWS: Final = tuple(2.0**power for power in range(14))
CONFIDENCES: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1.0)
SAMPLED: Final = 16  # answers every INTERVAL_S whose confidence is looked at: enough for a mean, and no request notices
PHASES: Final = ("decode", "queue", "run", "encode")  # of a request, in this order in a sample, behind its rows
pack_sample: Final = Struct("5d").pack
pack_batch: Final = Struct("2d").pack


class Histogram:
    """How many observations fell below each bound, and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = np.array(bounds)
        self.counts = np.zeros(len(bounds) + 1, np.int64)
        self.sum = 0.0

    def add(self, values: Any) -> None:
        """Observe every one of `values`, `[N]`."""
        self.counts += np.bincount(np.searchsorted(self.bounds, values), minlength=len(self.counts))
        self.sum += float(values.sum())

    @property
    def count(self) -> int:
        """How many there were."""
        return int(self.counts.sum())

    def state(self) -> dict[str, Any]:
        """As JSON."""
        return {"counts": self.counts.tolist(), "sum": self.sum}

    def merge(self, state: dict[str, Any]) -> None:
        """Add another process's."""
        self.counts += np.array(state["counts"])
        self.sum += state["sum"]


class Tally:
    """One version of one model, in one process."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.wake = wake
        self.samples = bytearray()  # bytes: thousands of floats would push everything else out of the cache
        self.batches = bytearray()
        self.codes: Counter[int] = Counter()
        self.n_rows = 0
        self.n_failed_ns = 0
        self.last_ms = 0
        self.warned: Counter[str] = Counter()
        self.confidences: list[float] = []
        self.confidence = Histogram(CONFIDENCES)
        self.request_s = Histogram(SECONDS)
        self.phases = {phase: Histogram(SECONDS) for phase in PHASES}
        self.batch_rows = Histogram(ROWS)
        self.batch_s = Histogram(SECONDS)
        self.sizes: Counter[int] = Counter()
        self.size_s: defaultdict[int, float] = defaultdict(float)

    def answered(self, n_rows: int, decode_s: float, queue_s: float, run_s: float, encode_s: float) -> None:
        """A request of `n_rows` was answered."""
        if not self.samples:
            self.wake()
        self.samples += pack_sample(n_rows, decode_s, queue_s, run_s, encode_s)

    def refused(self, status: int, took_s: float) -> None:
        """A request was answered with an error."""
        self.wake()
        self.codes[status] += 1
        self.n_failed_ns += int(1e9 * took_s)

    def ran(self, n_rows: int, took_s: float) -> None:
        """A batch ran."""
        if not self.batches:
            self.wake()
        self.batches += pack_batch(n_rows, took_s)

    def add_up(self) -> None:
        """Put what came since the last time where it belongs."""
        if self.samples:
            samples, self.samples = np.frombuffer(self.samples).reshape(-1, 1 + len(PHASES)), bytearray()
            self.n_rows += int(samples[:, 0].sum())
            for phase, values in zip(PHASES, samples.T[1:], strict=True):
                self.phases[phase].add(values)
            self.request_s.add(samples[:, 1:].sum(axis=1))
            self.codes[200] += len(samples)
            self.last_ms = int(1e3 * time.time())
        if self.confidences:
            self.confidence.add(np.array(self.confidences))
            self.confidences.clear()
        if self.batches:
            batches, self.batches = np.frombuffer(self.batches).reshape(-1, 2), bytearray()
            self.batch_rows.add(batches[:, 0])
            self.batch_s.add(batches[:, 1])
            sizes = batches[:, 0].astype(np.int64)
            counts, seconds = np.bincount(sizes), np.bincount(sizes, batches[:, 1])
            for n_rows in np.flatnonzero(counts).tolist():
                self.sizes[n_rows] += int(counts[n_rows])
                self.size_s[n_rows] += float(seconds[n_rows])

    def state(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "codes": self.codes,
            "n_rows": self.n_rows,
            "n_failed_ns": self.n_failed_ns,
            "last_ms": self.last_ms,
            "warned": self.warned,
            "confidence": self.confidence.state(),
            "request_s": self.request_s.state(),
            "phases": {phase: histogram.state() for phase, histogram in self.phases.items()},
            "batch_rows": self.batch_rows.state(),
            "batch_s": self.batch_s.state(),
            "sizes": [[n, count, self.size_s[n]] for n, count in self.sizes.items()],
        }

    def merge(self, state: dict[str, Any]) -> None:
        """Add another process's."""
        self.codes.update({int(code): n for code, n in state["codes"].items()})
        self.n_rows += state["n_rows"]
        self.n_failed_ns += state["n_failed_ns"]
        self.last_ms = max(self.last_ms, state["last_ms"])
        self.warned.update(state["warned"])
        self.confidence.merge(state["confidence"])
        self.request_s.merge(state["request_s"])
        for phase, histogram in self.phases.items():
            histogram.merge(state["phases"][phase])
        self.batch_rows.merge(state["batch_rows"])
        self.batch_s.merge(state["batch_s"])
        for n, count, took_s in state["sizes"]:
            self.sizes[n] += count
            self.size_s[n] += took_s


Key = tuple[str, str]  # model and version


@dataclass
class Totals:
    """All processes together, at one moment."""

    tallies: dict[Key, Tally] = field(default_factory=dict)
    rejected: Counter[str] = field(default_factory=Counter)
    n_waiting: int = 0
    n_dead_batchers: int = 0
    pids: list[int] = field(default_factory=list)

    def merge(self, state: dict[str, Any], pid: int) -> Self:
        """Add a process's; a dead one's queue is gone."""
        for model, version, tally in state["tallies"]:
            self.tallies.setdefault((model, version), Tally(nothing)).merge(tally)
        self.rejected.update(state["rejected"])
        if lives(pid):
            self.pids.append(pid)
            self.n_waiting += state["n_waiting"]
            self.n_dead_batchers += state["dead"]
        return self


class Telemetry:
    """The counts of this process, and the way to everybody's. Use it from one event loop."""

    def __init__(self, folder: Path | None) -> None:
        self.file = None if folder is None else folder / f"{os.getpid()}.json"
        self.nowhere = Tally(self.wake)
        self.tallies: dict[Key, Tally] = {("", ""): self.nowhere}
        self.rejected: Counter[str] = Counter()
        self.depth: Callable[[], int] = int
        self.dead: Callable[[], bool] = bool
        self.timer: asyncio.TimerHandle | None = None

    def of(self, name: str, version: str) -> Tally:
        """The tally of a version of a model."""
        key = (name, version)
        if key not in self.tallies:
            self.tallies[key] = Tally(self.wake)
        return self.tallies[key]

    def refused(self, status: int, reason: str, tally: Tally | None = None, took_s: float = 0.0) -> None:
        """A request was refused, for a reason that is an error's code; without a tally no model was found for it."""
        self.rejected[reason] += 1
        (self.nowhere if tally is None else tally).refused(status, took_s)

    def ran(self, runner: Any, tags: Sequence[Any], n_rows: int, took_s: float) -> None:  # noqa: ARG002 - traces use them
        """A batch ran: what a batcher's observer is told."""
        runner.tally.ran(n_rows, took_s)

    def wake(self) -> None:
        """Something came: add it up in a moment."""
        if self.timer is None:
            self.timer = asyncio.get_running_loop().call_later(INTERVAL_S, self.ring)

    def ring(self) -> None:
        """Add up, and go on while rows are waiting."""
        self.timer = None
        self.add_up()
        self.publish()
        if self.depth():
            self.wake()

    def add_up(self) -> None:
        """Put everything where it belongs."""
        for tally in list(self.tallies.values()):  # a model may be loaded meanwhile, in a thread
            tally.add_up()

    def state(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "tallies": [[*key, tally.state()] for key, tally in list(self.tallies.items())],
            "rejected": self.rejected,
            "n_waiting": self.depth(),
            "dead": self.dead(),
        }

    def publish(self) -> None:
        """Let the other processes see it."""
        if self.file is not None:
            draft = self.file.with_suffix(".draft")
            with suppress(FileNotFoundError):  # the folder goes with whoever made it
                draft.write_text(json.dumps(self.state()))
                draft.replace(self.file)

    def close(self) -> None:
        """Add up what is left."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.add_up()
        self.publish()

    def totals(self) -> Totals:
        """Everybody's: this process to the last request, the others as of `INTERVAL_S` ago."""
        self.add_up()
        totals = Totals().merge(self.state(), os.getpid())
        if self.file is not None:
            for path in self.file.parent.glob("*.json"):
                if path != self.file:
                    totals.merge(json.loads(path.read_text()), int(path.stem))
        return totals


class Silence(Tally):
    """The tally of who counts nothing."""

    def answered(self, n_rows: int, decode_s: float, queue_s: float, run_s: float, encode_s: float) -> None:
        """Not counted."""

    def refused(self, status: int, took_s: float) -> None:
        """Not counted."""

    def ran(self, n_rows: int, took_s: float) -> None:
        """Not counted."""


class Off(Telemetry):
    """Telemetry switched off: the same surface, and nothing behind it."""

    def __init__(self) -> None:
        super().__init__(None)
        self.tallies.clear()

    def of(self, name: str, version: str) -> Tally:  # noqa: ARG002 - the signature of the one that counts
        """The same for all."""
        return SILENCE

    def refused(self, status: int, reason: str, tally: Tally | None = None, took_s: float = 0.0) -> None:
        """Not counted."""

    def ran(self, runner: Any, tags: Sequence[Any], n_rows: int, took_s: float) -> None:
        """Not counted."""


def start(folder: Path | None = None) -> Telemetry:
    """Telemetry of one process; several that share a folder are added up."""
    return Telemetry(folder)


def nothing() -> None:
    """Nobody is to be woken."""


def lives(pid: int) -> bool:
    """Whether a process lives."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


SILENCE: Final = Silence(nothing)
