"""When labels come: how long they take, and whether that depends on the answer.

Labels that come sooner where the answer was wrong look like a model that broke, and what they say alone cannot tell the
two apart. What can be seen is that early labels and late ones disagree about the same answers: one of them says that
fewer were right than expected and the other that more were, each with evidence of 20.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.datasets.dataset import Floats, Ints
from service.live.bets import e_values, log_steps, shift_slopes
from service.live.latch import WARNING
from service.live.records import Records, right
from service.live.reference import Reference
from service.live.stream import Stream

PER_OCTAVE: Final = 4
N_LAGS: Final = 4 * 64
FEWER: Final = (-1.0, -0.5, -0.25)
MORE: Final = (0.25, 0.5, 1.0)
SIDES: Final = ("early fewer", "early more", "late fewer", "late more")


class Lags:
    """How many labels took how long: quarters of an octave of nanoseconds."""

    def __init__(self, counts: Ints | None = None) -> None:
        self.counts: Ints = np.zeros(N_LAGS, np.int64) if counts is None else counts

    @staticmethod
    def bins(rows: Records) -> Ints:
        """The bin of each row, `[n]`; a label that came before its prediction took 1 ns."""
        ns = np.maximum(rows["labelled_ns"] - rows["predicted_ns"], 1)
        return np.asarray(np.minimum(np.log2(ns) * PER_OCTAVE, N_LAGS - 1), np.int64)

    def add(self, bins: Ints) -> None:
        self.counts += np.bincount(bins, minlength=N_LAGS)

    def add_counts(self, other: "Lags") -> None:
        self.counts += other.counts

    def bin_of(self, share: float) -> int | None:
        """The bin in which that share of the labels has come; none without labels."""
        total = int(self.counts.sum())
        return int(np.searchsorted(np.cumsum(self.counts), share * total)) if total else None

    def quantiles(self) -> dict[str, float | None]:
        """In seconds, to a tenth of their size."""
        found = {}
        for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
            at = self.bin_of(share)
            found[name] = None if at is None else float(2 ** ((at + 0.5) / PER_OCTAVE) / 1e9)
        return found


class Disagreement:
    """Four streams: do early labels say that fewer answers, or more, are right than expected, and do late ones.

    Attributes:
        at: the number of the label at which they disagreed; none before.
    """

    def __init__(self) -> None:
        self.at: int | None = None
        self._streams = {side: Stream(len(FEWER)) for side in SIDES}
        self._median: int | None = None

    def add(self, rows: Records, bins: Ints, reference: Reference) -> None:
        """Bet on labels of one block; what is early and late was settled before it."""
        if self._median is None or not len(rows):
            return
        r, tau = reference.expect(rows["confidence"])
        hit, paths = right(rows), {}
        for when, chosen in (("early", bins < self._median), ("late", bins > self._median)):
            for what, shifts in (("fewer", FEWER), ("more", MORE)):
                stream = self._streams[f"{when} {what}"]
                before = stream.e
                g = shift_slopes(r[chosen], shifts)
                path = stream.add(log_steps(e_values(g, r[chosen], tau[chosen], hit[chosen])))
                paths[f"{when} {what}"] = np.concatenate([[before], path])[np.cumsum(chosen)]
        over = disagree(paths)
        if self.at is None and over.any():
            self.at = int(rows["index"][over.argmax()])

    def close(self, next_label: int, at_ns: int, lags: Lags) -> None:
        """End the block: the median of all lags so far parts the labels of the next one."""
        for stream in self._streams.values():
            stream.close(next_label, at_ns)
        self._median = lags.bin_of(0.5)

    def share(self) -> "Disagreement":
        other = Disagreement.restore(self.state())
        for side, stream in self._streams.items():
            other._streams[side] = stream.share()
        return other

    def merge(self, share: "Disagreement", label: int, _: int = 0) -> None:
        """Add the labels that a share was given; the last of them has that number."""
        for side, stream in self._streams.items():
            stream.merge(share._streams[side])
        if self.at is None and disagree({side: np.array([one.e]) for side, one in self._streams.items()})[0]:
            self.at = label

    def state(self) -> dict[str, Any]:
        """As JSON."""
        streams = {side: stream.state() for side, stream in self._streams.items()}
        return {"at": self.at, "median": self._median, "streams": streams}

    @classmethod
    def restore(cls, state: dict[str, Any]) -> "Disagreement":
        """Read back what `state` wrote."""
        found = cls()
        found.at, found._median = state["at"], state["median"]
        found._streams = {side: Stream.restore(state["streams"][side]) for side in SIDES}
        return found


def disagree(e: dict[str, Floats]) -> NDArray[np.bool_]:
    """Whether early and late labels say the opposite, of E of each side, `[n]`."""
    sooner_wrong = np.minimum(e["early fewer"], e["late more"])
    sooner_right = np.minimum(e["early more"], e["late fewer"])
    return np.asarray(np.maximum(sooner_wrong, sooner_right) >= WARNING)
