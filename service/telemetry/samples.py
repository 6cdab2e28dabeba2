"""What came since the last time that it was added up: a few bytes a request and a batch."""

from collections.abc import Callable
from struct import Struct
from typing import Final

pack_request: Final = Struct("5d").pack
pack_batch: Final = Struct("2d").pack
SAMPLED: Final = 16  # answers between two `add_up` whose confidence is looked at: enough for a mean, and costs nothing


class Samples:
    """What came since the last time.

    Attributes:
        requests: rows, and the seconds of the four phases, float64 `[N, 5]` as bytes: thousands of floats would push
            everything else out of the cache.
        batches: rows and seconds, float64 `[N, 2]` as bytes.
        confidences: the largest probability of the first row of a few answers.
    """

    __slots__ = ("batches", "confidences", "requests", "wake")

    def __init__(self, wake: Callable[[], None]) -> None:
        """Start with nothing; `wake` is called when there is something to add up."""
        self.wake = wake
        self.requests = bytearray()
        self.batches = bytearray()
        self.confidences: list[float] = []

    def answered(self, n_rows: int, decode_s: float, queue_s: float, run_s: float, encode_s: float) -> None:
        """A request of `n_rows` was answered."""
        if not self.requests:
            self.wake()
        self.requests += pack_request(n_rows, decode_s, queue_s, run_s, encode_s)

    def ran(self, n_rows: int, took_s: float) -> None:
        """A batch of `n_rows` ran."""
        if not self.batches:
            self.wake()
        self.batches += pack_batch(n_rows, took_s)


class NoSamples(Samples):
    """Those of who counts nothing."""

    def answered(self, n_rows: int, decode_s: float, queue_s: float, run_s: float, encode_s: float) -> None:
        """Not counted."""

    def ran(self, n_rows: int, took_s: float) -> None:
        """Not counted."""
