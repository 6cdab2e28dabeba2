"""The counts of one version of a model: each is declared once, in the table `Counts`.

What workers exchange, how it is added up, what is stated before anything has come and the families of Prometheus all
follow from the table. To add a metric, add its line there, and count it where it happens: in `Tally`, or where a tally
is at hand. Families stand in the order of the lines.

A request costs a few bytes at the end of a buffer; the arithmetic happens in numpy for all requests at once, when
`counts.Telemetry` calls `add_up`. Knows neither HTTP nor Prometheus' library: `api/metrics.py` does.
"""

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from service.telemetry.samples import NoSamples, Samples

SECONDS: Final = tuple(1e-5 * 10**power * step for power in range(6) for step in (1, 2.5, 5))
ROWS: Final = tuple(2.0**power for power in range(14))
CONFIDENCES: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1.0)
# stated as 0 before they first come: a rate needs something to start from
CODES: Final = (200, 429, 500, 503, 504)
REASONS: Final = ("deadline_passed", "internal_error", "not_ready", "queue_full", "run_failed")
WARNINGS: Final = ("looks_like_probabilities", "no_class_allowed", "unknown_group")


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


@dataclass(frozen=True)
class Count(ABC):
    """A declared count; its kind says what its value is, and how the values of two processes are added.

    Attributes:
        help: what is counted, in a sentence.
        metric: its name in Prometheus, behind `calibrant_`; empty where Prometheus does not have it.
        scope: `version`: a series for each version of a model; `request`: one more for the requests for which no
            model was found; `service`: one in all, counted in the tally of no model.
    """

    help: str
    metric: str = ""
    scope: Literal["version", "request", "service"] = "version"

    @abstractmethod
    def zero(self) -> Any:
        """Return the value before anything is counted."""

    def state(self, value: Any) -> Any:
        """Return a value as JSON."""
        return value

    @abstractmethod
    def merged(self, ours: Any, theirs: Any) -> Any:
        """Return the value of two processes: ours, which may be changed, and the other's `state`."""


class Sum(Count):
    """A number that only grows."""

    def zero(self) -> int:
        return 0

    def merged(self, ours: int, theirs: int) -> int:
        return ours + theirs


class Latest(Count):
    """A moment; of several, the last."""

    def zero(self) -> int:
        """Return 0, which stands for never."""
        return 0

    def merged(self, ours: int, theirs: int) -> int:
        """Return the later one."""
        return max(ours, theirs)


@dataclass(frozen=True)
class ByLabel(Count):
    """A number that only grows for each value of a label; `zeros` are the values stated before they first come."""

    label: str = ""
    zeros: tuple[int | str, ...] = ()

    def zero(self) -> Counter[Any]:
        """Return a counter of nothing."""
        return Counter()

    def state(self, value: Counter[Any]) -> list[tuple[Any, int]]:
        """Return pairs: as the keys of a JSON object, numbers would come back as strings."""
        return list(value.items())

    def merged(self, ours: Counter[Any], theirs: list[tuple[Any, int]]) -> Counter[Any]:
        """Return the sum, label by label."""
        ours.update(dict(theirs))
        return ours


@dataclass(frozen=True)
class Distribution(Count):
    """A histogram with these upper bounds."""

    bounds: tuple[float, ...] = ()

    def zero(self) -> Histogram:
        """Return a histogram of nothing."""
        return Histogram(self.bounds)

    def state(self, value: Histogram) -> dict[str, Any]:
        """Return what was counted; the bounds are the same everywhere."""
        return {"counts": value.counts.tolist(), "sum": value.sum}

    def merged(self, ours: Histogram, theirs: dict[str, Any]) -> Histogram:
        """Return the sum, bound by bound."""
        ours.counts += np.array(theirs["counts"])
        ours.sum += theirs["sum"]
        return ours


def declare(count: Count) -> Any:
    """Return a line of the table: in the class it is the declaration, in an instance the value, typed as annotated."""
    return count


class Counts:
    """The table: attribute, type of its value, and declaration."""

    codes: Counter[int] = declare(ByLabel("Requests answered.", "requests", scope="request", label="code", zeros=CODES))
    n_rows: int = declare(Sum("Rows answered.", "rows"))
    n_batches: int = declare(Sum("Batches run.", "batches"))
    rejected: Counter[str] = declare(
        ByLabel(
            "Requests refused, by the code of the error.", "rejected", scope="service", label="reason", zeros=REASONS
        )
    )
    warned: Counter[str] = declare(
        ByLabel("Answers that carried a warning, by its code.", "warnings", label="code", zeros=WARNINGS)
    )
    batch_rows: Histogram = declare(Distribution("Rows in a batch.", "batch_rows", bounds=ROWS))
    batch_s: Histogram = declare(Distribution("Seconds that a batch ran.", "batch_seconds", bounds=SECONDS))
    request_s: Histogram = declare(
        Distribution("Seconds that a request took: the sum of its four phases.", "request_seconds", bounds=SECONDS)
    )
    confidence: Histogram = declare(
        Distribution(
            "The largest probability of a row, for a sample: the first rows of the first answers of every moment.",
            "confidence",
            bounds=CONFIDENCES,
        )
    )
    decode_s: Histogram = declare(Distribution("Seconds from the body to rows.", "decode_seconds", bounds=SECONDS))
    queue_s: Histogram = declare(
        Distribution("Seconds that a request waited for its batch.", "queue_seconds", bounds=SECONDS)
    )
    run_s: Histogram = declare(Distribution("Seconds that the batch of a request ran.", "run_seconds", bounds=SECONDS))
    encode_s: Histogram = declare(Distribution("Seconds from arrays to the answer.", "encode_seconds", bounds=SECONDS))
    n_journaled: int = declare(Sum("Rows written to the journal.", "journal_rows", scope="service"))
    n_dropped: int = declare(
        Sum(
            "Rows that the journal has not kept: no room, a disk that fails, or nothing in the answer to keep.",
            "journal_dropped_rows",
            scope="service",
        )
    )
    n_unsent: int = declare(
        Sum(
            "Spans that were not sent: the collector did not take them, or too many waited.",
            "unsent_spans",
            scope="service",
        )
    )
    n_failed_ns: int = declare(Sum("Nanoseconds that refused requests took."))
    last_ms: int = declare(Latest("When requests were last answered, in milliseconds since 1970."))
    sizes: Counter[int] = declare(ByLabel("Batches run, by their rows."))
    size_s: dict[int, float] = declare(ByLabel("Seconds that batches ran, by their rows."))

    def __init__(self) -> None:
        for name, count in TABLE.items():
            setattr(self, name, count.zero())

    def state(self) -> dict[str, Any]:
        """Return all of it as JSON."""
        return {name: count.state(getattr(self, name)) for name, count in TABLE.items()}

    def merge(self, state: dict[str, Any]) -> None:
        for name, count in TABLE.items():
            setattr(self, name, count.merged(getattr(self, name), state[name]))


TABLE: Final = {name: count for name, count in vars(Counts).items() if isinstance(count, Count)}


class Tally(Counts):
    """One version of one model, in one process."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """Start at zero; `wake` is called when there is something to add up."""
        super().__init__()
        self.wake = wake
        self.samples = Samples(wake)

    @property
    def phases(self) -> dict[str, Histogram]:
        """The phases of a request by name, in this order in a sample, behind its rows."""
        return {"decode": self.decode_s, "queue": self.queue_s, "run": self.run_s, "encode": self.encode_s}

    def refused(self, status: int, took_s: float) -> None:
        """A request was answered with an error."""
        self.wake()
        self.codes[status] += 1
        self.n_failed_ns += int(1e9 * took_s)

    def add_up(self) -> None:
        """Put what came since the last time where it belongs."""
        recent = self.samples
        if recent.requests:
            samples, recent.requests = np.frombuffer(recent.requests).reshape(-1, 5), bytearray()
            self.n_rows += int(samples[:, 0].sum())
            for phase, values in zip(self.phases.values(), samples.T[1:], strict=True):
                phase.add(values)
            self.request_s.add(samples[:, 1:].sum(axis=1))
            self.codes[200] += len(samples)
            self.last_ms = int(1e3 * time.time())
        if recent.confidences:
            self.confidence.add(np.array(recent.confidences))
            recent.confidences.clear()
        if recent.batches:
            batches, recent.batches = np.frombuffer(recent.batches).reshape(-1, 2), bytearray()
            self.n_batches += len(batches)
            self.batch_rows.add(batches[:, 0])
            self.batch_s.add(batches[:, 1])
            sizes = batches[:, 0].astype(np.int64)
            counts, seconds = np.bincount(sizes), np.bincount(sizes, batches[:, 1])
            for n_rows in np.flatnonzero(counts).tolist():
                self.sizes[n_rows] += int(counts[n_rows])
                self.size_s[n_rows] = self.size_s.get(n_rows, 0.0) + float(seconds[n_rows])


class Silence(Tally):
    """The tally of who counts nothing."""

    def __init__(self) -> None:
        super().__init__(do_nothing)
        self.samples = NoSamples(do_nothing)

    def refused(self, status: int, took_s: float) -> None:
        """Not counted."""


def do_nothing() -> None:
    """Nobody is to be woken."""


SILENCE: Final = Silence()
