"""The evidence that a head is not as right as it was: of all labels, of groups, of classes, and of them together.

E of the model is a mixture, half of it on all labels, a quarter on the groups, a quarter on the classes; a quarter that
has nothing to bet on is shared out. The groups are not known beforehand: the j-th has the weight 1/(j(j+1)) of their
part. A mixture of supermartingales is one, so that the model's E alarms falsely with a probability of at most 1 %. A
scope is named when its part of the mixture alone reaches 100: that cannot be more often.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

from service.datasets.dataset import Floats, Ints
from service.live.bets import CLASS_LAMBDAS, N_BETS, class_e_values, e_values, log_steps, slopes
from service.live.latch import Latch
from service.live.records import Records, right
from service.live.reference import CLASS_ERRORS, Reference
from service.live.stream import Stream
from service.live.watch import Watch

NULL: Final = "as fitted"
ALL_PART, GROUPS_PART, CLASSES_PART = 2.0, 1.0, 1.0


class Evidence:
    """The watches under the null "as fitted", and their mixture.

    A group starts with the block after the one in which it was first seen.

    Attributes:
        reference: with a curve.
        latch: of the mixture.
    """

    def __init__(self, reference: Reference, groups: Iterable[str] = (), start: tuple[int, int] = (0, 0)) -> None:
        self.reference, self.latch = reference, Latch()
        self._all = Watch("all", NULL, Stream(N_BETS, start))
        self._classes: dict[int, Watch] = {}
        self._bias: Watch | None = None
        self._groups: dict[str, Watch] = {}
        known = reference.classes
        if known is not None:
            armed = np.flatnonzero(known.armed).tolist()
            self._classes = {k: Watch(f"class {k}", NULL, Stream(N_BETS, start)) for k in armed}
            if known.bias_armed:
                self._bias = Watch("class bias", NULL, Stream(2 * len(CLASS_LAMBDAS) * len(known.bias), start))
        self.start_groups(groups, start)

    def start_groups(self, names: Iterable[str], start: tuple[int, int]) -> None:
        """Watch groups from the label `start` on, in this order."""
        for name in names:
            if name not in self._groups:
                self._groups[name] = Watch(f"group {name}", NULL, Stream(N_BETS, start))

    @property
    def groups(self) -> list[str]:
        """The groups that are watched, in the order in which they came."""
        return list(self._groups)

    @property
    def watches(self) -> list[Watch]:
        """All of them, in a fixed order."""
        bias = [] if self._bias is None else [self._bias]
        return [self._all, *self._classes.values(), *bias, *self._groups.values()]

    def weights(self) -> Floats:
        """The part of each of `watches` in the mixture; with what no group has got they are 1."""
        half = sum([bool(self._classes), self._bias is not None])
        total = ALL_PART + GROUPS_PART + CLASSES_PART * bool(half)
        by_class = [CLASSES_PART / half / len(self._classes)] * len(self._classes) if self._classes else []
        bias = [] if self._bias is None else [CLASSES_PART / half]
        j = np.arange(1, len(self._groups) + 1)
        return np.array([ALL_PART, *by_class, *bias, *(GROUPS_PART / (j * (j + 1)))]) / total

    @property
    def e(self) -> float:
        """The mixture now."""
        return float(self._mixed(np.array([[watch.stream.e for watch in self.watches]]))[0])

    def _mixed(self, e: Floats) -> Floats:
        """The mixture of each row of E of `watches`, `[n,watches]`."""
        weights = self.weights()
        return np.asarray((e * weights).sum(axis=1) + (1 - weights.sum()))

    def add(self, rows: Records, probabilities: Floats | None) -> None:
        """Bet on labels of one block, `probabilities` `[n,K]` where they are known."""
        if not len(rows):
            return
        watches, weights = self.watches, self.weights()
        paths = np.tile([watch.stream.e for watch in watches], (len(rows), 1))
        at = {watch.scope: column for column, watch in enumerate(watches)}
        for watch, chosen, logs in self._bets(rows, probabilities):
            column, before = at[watch.scope], watch.stream.e
            path = watch.bet(logs, rows[chosen], weights[column])
            paths[:, column] = np.concatenate([[before], path])[np.cumsum(chosen)]
        self.latch.see(self._mixed(paths), rows["index"], rows["labelled_ns"])

    def _bets(self, rows: Records, probabilities: Floats | None) -> Iterable[tuple[Watch, Any, Ints]]:
        """Who bets, on which of the rows `[n]`, and the logarithms of the e-values `[m,B]` there."""
        confidence, hit = rows["confidence"], right(rows)
        r, tau = self.reference.expect(confidence)
        logs = log_steps(e_values(slopes(r), r, tau, hit))
        yield self._all, np.ones(len(rows), bool), logs
        known = self.reference.classes
        if self._classes:
            r, tau = self.reference.expect_by_class(rows["predicted"], confidence)
            by_class = log_steps(e_values(slopes(r), r, tau, hit))
            for k in sorted(self._classes.keys() & set(rows["predicted"].tolist())):
                chosen = rows["predicted"] == k
                yield self._classes[k], chosen, by_class[chosen]
        if self._bias is not None and known is not None and probabilities is not None:
            e = class_e_values(probabilities, rows["label"], known.bias, CLASS_ERRORS * known.bias_errors)
            yield self._bias, np.ones(len(rows), bool), log_steps(e)
        for name in sorted(self._groups.keys() & set(rows["group"].tolist())):
            chosen = rows["group"] == name
            yield self._groups[name], chosen, logs[chosen]

    def close(self, next_label: int, at_ns: int, groups: Sequence[str]) -> None:
        """End the block; `groups` are those that were seen in it."""
        for watch in self.watches:
            watch.stream.close(next_label, at_ns)
        self.start_groups(groups, (next_label, at_ns))

    def report(self) -> list[dict[str, Any]]:
        """The mixture, then each watch."""
        watches = self.watches
        leading = watches[int((self.weights() * [watch.stream.e for watch in watches]).argmax())].stream
        whole = {"scope": "model", "null": NULL, **self.latch.report(self.e, self._all.stream.n, leading.since)}
        return [whole, *(watch.report() for watch in watches)]

    def share(self) -> "Evidence":
        """The same watches for some of the labels of the open block, to be merged."""
        other = Evidence(self.reference, self._groups)
        for mine, its in zip(self.watches, other.watches, strict=True):
            its.stream = mine.stream.share()
        return other

    def merge(self, share: "Evidence", label: int, at_ns: int) -> None:
        """Add the labels that a share was given; the last of all has that number and time."""
        for mine, its, weight in zip(self.watches, share.watches, self.weights().tolist(), strict=True):
            mine.merge(its, label, at_ns, weight)
        self.latch.see(np.array([self.e]), np.array([label]), np.array([at_ns]))

    def state(self) -> dict[str, Any]:
        """As JSON."""
        watches = {watch.scope: watch.state() for watch in self.watches}
        return {"groups": self.groups, "latch": self.latch.state(), "watches": watches}

    @classmethod
    def restore(cls, reference: Reference, state: dict[str, Any]) -> "Evidence":
        """Read back what `state` wrote, under the same reference."""
        evidence = cls(reference, state["groups"])
        evidence.latch = Latch(**state["latch"])
        for watch in evidence.watches:
            watch.load(state["watches"][watch.scope])
        return evidence
