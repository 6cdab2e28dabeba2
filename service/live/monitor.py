"""The monitor of one version of a model: a fold of its labels, in the order in which they count."""

from dataclasses import asdict, replace
from typing import Any, Final, Literal

import numpy as np

from service.datasets.dataset import Floats
from service.live.bets import LAMBDAS, e_values, failure_slopes, flat_slopes, log_steps
from service.live.delay import Disagreement, Lags
from service.live.evidence import Evidence
from service.live.history import History
from service.live.records import Records, right
from service.live.reference import Reference
from service.live.stream import BLOCK, Stream
from service.live.summary import Summary
from service.live.watch import Watch
from service.measures import curve_fit
from service.measures.curve import ReferenceCurve

Policy = Literal["arrival", "matured"]

MOST_GROUPS: Final = 256
"""More are counted in the measures of all rows alone."""
LIVE_ROWS: Final = 1000
"""The first labels, from which a head without a reference curve gets one."""
MOST_EPOCHS: Final = 100
"""That are remembered."""
FORMAT: Final = 1


class Monitor:
    """What the labels of one version of a model say.

    Its state follows from the labels in their order alone, to the bit, however they were cut into updates. Inside a
    block of 100 labels their order does not count either, except for the largest evidence and for which label it was.

    Attributes:
        n: labels counted so far; the index of the next one.
        reference: what they are held against.
        policy: whether labels count as they come, or in the order of their predictions once these are old enough.
        bound: of the absolute question, whether the calibration error is above it.
    """

    def __init__(self, reference: Reference, *, bound: float = 0.02, policy: Policy = "arrival") -> None:
        self.reference, self.bound, self.policy = reference, bound, policy
        self.n = self._in_block = self._last_ns = 0
        self.summary = Summary()
        self.groups: dict[str, Summary] = {}
        self.lags = Lags()
        self.epochs: list[dict[str, Any]] = []
        self.groups_left_out = self._is_share = False
        self._first_rows: list[tuple[float, bool]] = []
        self._new: set[str] = set()
        self._open()

    def _open(self) -> None:
        """Begin an epoch: all evidence from 1."""
        start, known = (self.n, self._last_ns), sorted(self.groups.keys() - self._new)
        self.evidence = None if self.reference.curve is None else Evidence(self.reference, known, start)
        self.absolute = Watch("all", f"ece<={self.bound:g}", Stream(2 * len(LAMBDAS), start))
        self.sets = Watch("prediction sets", "coverage>=1-alpha", Stream(4, start))
        self.disagreement = Disagreement()
        self.history = History(self.n)

    def update(self, rows: Records, probabilities: Floats | None = None) -> None:
        """Count labels: `rows` `[n]` of `RECORD` in the order of their index, `probabilities` `[n,K]` if known.

        Raises:
            ValueError: their indices do not follow those that were counted.
        """
        if not np.array_equal(rows["index"], np.arange(self.n, self.n + len(rows))):
            raise ValueError(f"labels are out of order; expected those from number {self.n} on, without a gap")
        start = 0
        while start < len(rows):
            stop = min(len(rows), start + BLOCK - self._in_block)
            self.fold(rows[start:stop], None if probabilities is None else probabilities[start:stop])
            start = stop

    def fold(self, rows: Records, probabilities: Floats | None = None) -> None:
        """Count labels of the open block; of a share, some of those, whatever their indices."""
        self.n, self._in_block = self.n + len(rows), self._in_block + len(rows)
        self._last_ns = max([self._last_ns, *rows["labelled_ns"].tolist()])
        self._measure(rows)
        self._bet(rows, probabilities)
        if self._in_block >= BLOCK and not self._is_share:
            self._close()

    def _measure(self, rows: Records) -> None:
        self.summary.add(Summary.of(rows))
        for name in sorted(set(rows["group"].tolist()) - {None}):
            self._add_to_group(name, Summary.of(rows[rows["group"] == name]))

    def _add_to_group(self, name: str, summary: Summary) -> None:
        if name not in self.groups:
            self._new.add(name)
        self.groups.setdefault(name, Summary()).add(summary)

    def _bet(self, rows: Records, probabilities: Floats | None) -> None:
        bins, hit = Lags.bins(rows), right(rows)
        self.lags.add(bins)
        bets = e_values(flat_slopes(len(rows)), rows["confidence"], np.full(len(rows), self.bound), hit)
        self.absolute.bet(log_steps(bets), rows)
        asked = rows[~np.isnan(rows["alpha"])]
        r = 1 - asked["alpha"]
        self.sets.bet(log_steps(e_values(failure_slopes(r), r, np.zeros(len(r)), asked["in_set"])), asked)
        plain = ~rows["apart"]
        if self.evidence is None:
            self._first_rows += zip(rows["confidence"][plain].tolist(), hit[plain].tolist(), strict=True)
            return
        self.evidence.add(rows[plain], None if probabilities is None else probabilities[plain])
        if self.policy == "arrival":  # of matured labels no delay is informative
            self.disagreement.add(rows[plain], bins[plain], self.evidence.reference)

    def _close(self) -> None:
        """End the block: new groups and a reference of the first labels count from the next one on."""
        room = max(0, MOST_GROUPS - (len(self.groups) - len(self._new)))
        new = sorted(self._new)
        self.groups_left_out |= len(new) > room
        for name in new[room:]:
            del self.groups[name]
        for watch in (self.absolute, self.sets):
            watch.stream.close(self.n, self._last_ns)
        self.disagreement.close(self.n, self._last_ns, self.lags)
        if self.evidence is not None:
            self.evidence.close(self.n, self._last_ns, new[:room])
        elif len(self._first_rows) >= LIVE_ROWS:
            self.reference, self._first_rows = with_live_curve(self.reference, self._first_rows), []
            self.evidence = Evidence(self.reference, sorted(self.groups), (self.n, self._last_ns))
        self._in_block, self._new = 0, set()
        self.history.see(self.n, largest(self))

    def replace(self, before: Records, after: Records) -> None:
        """Take other labels for some that were counted: the measures change; evidence is never unspent."""
        for rows, times in ((before, -1), (after, 1)):
            self.summary.add(Summary.of(rows), times)
            for name in self.groups.keys() & set(rows["group"].tolist()):
                self.groups[name].add(Summary.of(rows[rows["group"] == name]), times)

    def acknowledge(self, by: str, at_ns: int) -> None:
        """Begin a new epoch with the next label: the promise of 1 % is one for each."""
        latch = None if self.evidence is None else self.evidence.latch
        found = (None, None) if latch is None else (latch.max_e, latch.alarm_at)
        epoch = {"until": self.n, "by": by, "at_ns": at_ns, "max_e": found[0], "alarm_at": found[1]}
        self.epochs = [*self.epochs, epoch][-MOST_EPOCHS:]
        self._in_block = 0
        self._open()

    @property
    def epoch_start(self) -> int:
        """The number of the first label of this epoch."""
        return int(self.epochs[-1]["until"]) if self.epochs else 0

    def share(self) -> "Monitor":
        """A monitor for some of the labels of the open block, to be folded elsewhere and merged."""
        share = Monitor(self.reference, bound=self.bound, policy=self.policy)
        share._is_share = True
        share.evidence = None if self.evidence is None else self.evidence.share()
        share.absolute.stream, share.sets.stream = self.absolute.stream.share(), self.sets.stream.share()
        share.disagreement = self.disagreement.share()
        return share

    def merge(self, share: "Monitor") -> None:
        """Add what a share has folded; of the evidence between its labels only the last is looked at.

        Raises:
            ValueError: the labels of the share do not fit into the open block.
        """
        room = BLOCK - self._in_block
        if share.n > room:
            raise ValueError(f"the share has {share.n} labels; expected at most {room}, the rest of the open block")
        self.n, self._in_block = self.n + share.n, self._in_block + share.n
        self._last_ns = max(self._last_ns, share._last_ns)
        self.summary.add(share.summary)
        for name, summary in share.groups.items():
            self._add_to_group(name, summary)
        self.lags.add_counts(share.lags)
        self._first_rows += share._first_rows
        now = self.n - 1, self._last_ns
        self.absolute.merge(share.absolute, *now)
        self.sets.merge(share.sets, *now)
        self.disagreement.merge(share.disagreement, *now)
        if self.evidence is not None and share.evidence is not None:
            self.evidence.merge(share.evidence, *now)
        if self._in_block >= BLOCK:
            self._close()

    def state(self) -> dict[str, Any]:
        """All of it, as JSON; whole numbers may have more than 64 bits."""
        curve = self.reference.curve if self.reference.source == "live" else None
        return {
            "format": FORMAT,
            "n": self.n,
            "in_block": self._in_block,
            "last_ns": self._last_ns,
            "bound": self.bound,
            "policy": self.policy,
            "summary": asdict(self.summary),
            "groups": {name: asdict(self.groups[name]) for name in sorted(self.groups)},
            "new": sorted(self._new),
            "groups_left_out": self.groups_left_out,
            "lags": self.lags.counts.tolist(),
            "epochs": self.epochs,
            "first_rows": sorted(self._first_rows),
            "curve": None if curve is None else curve.to_metadata(),
            "evidence": None if self.evidence is None else self.evidence.state(),
            "absolute": self.absolute.state(),
            "sets": self.sets.state(),
            "disagreement": self.disagreement.state(),
            "history": self.history.state(),
        }

    @classmethod
    def restore(cls, reference: Reference, state: dict[str, Any]) -> "Monitor":
        """Read back what `state` wrote; `reference` is that of the head file, as when it began."""
        if state["curve"] is not None:
            reference = replace(reference, curve=ReferenceCurve.from_metadata(state["curve"]), source="live")
        found = cls(reference, bound=state["bound"], policy=state["policy"])
        found.n, found._in_block, found._last_ns = state["n"], state["in_block"], state["last_ns"]
        found.summary = Summary(**state["summary"])
        found.groups = {name: Summary(**one) for name, one in state["groups"].items()}
        found._new, found.groups_left_out = set(state["new"]), state["groups_left_out"]
        found.lags = Lags(np.array(state["lags"], np.int64))
        found.epochs = list(state["epochs"])
        found._first_rows = [(confidence, hit) for confidence, hit in state["first_rows"]]
        found.evidence = None if state["evidence"] is None else Evidence.restore(reference, state["evidence"])
        found.absolute.load(state["absolute"])
        found.sets.load(state["sets"])
        found.disagreement = Disagreement.restore(state["disagreement"])
        found.history = History.restore(state.get("history"), found.n)
        return found


def largest(monitor: Monitor) -> float:
    """The largest evidence of all that a monitor watches."""
    found = monitor.evidence
    of_fit = [] if found is None else [found.e, *(watch.stream.e for watch in found.watches)]
    return max(monitor.absolute.stream.e, monitor.sets.stream.e, *of_fit)


def with_live_curve(reference: Reference, rows: list[tuple[float, bool]]) -> Reference:
    """The reference with the curve of the first `rows`: their confidence, and whether they were right."""
    first = np.array(sorted(rows))
    found = curve_fit.fit(first[:, 0], first[:, 1] > 0, np.ones(len(first)))
    return replace(reference, curve=found, source="live")
