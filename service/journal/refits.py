"""The refits of a store's versions: fed with labels as these are counted, in the monitor's transaction."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from service.journal.rows import column_of, row_of, sizes_of, unpack_columns
from service.journal.store import Store
from service.live.monitor import Monitor
from service.live.proposal import Policy, Refit
from service.live.refit import Labelled
from service.metadata import Metadata

if TYPE_CHECKING:
    from service.journal.counting import Counted


class Refits:
    """One for each version, read from the store when it is needed."""

    def __init__(self, store: Store, policy: Policy) -> None:
        self.store = store
        self.policy: Policy = policy
        self.known: dict[int, Refit] = {}

    def forget(self) -> None:
        """A transaction was undone: what is in memory may be ahead of the store."""
        self.known.clear()

    def find(self, model: int, about: Metadata | None) -> Refit:
        """The refit of a version; of one that has none yet an empty one, which has its predecessor to beat."""
        if model not in self.known or self.store.db.shared:
            state = self.store.refit(model)
            story = None if about is None else about.refit
            back = None if story is None else story.get("factor")
            self.known[model] = (
                Refit(None if back is None else 1 / back) if state is None else Refit.restore(json.loads(state))
            )
        return self.known[model]

    def save(self, model: int, refit: Refit) -> None:
        """Write the state of a refit."""
        self.store.set_refit(model, json.dumps(refit.state()))

    def count(
        self, model: int, about: Metadata | None, monitor: Monitor, labels: Sequence["Counted"], rows: NDArray[Any]
    ) -> None:
        """Count labels that `monitor` has counted, with their records."""
        if self.policy == "off" or not len(rows):
            return
        refit = self.find(model, about)
        before = refit.is_running
        refit.see_alarm(monitor)
        if refit.wants_labels:
            self.feed(refit, labels, rows)
        if refit.wants_labels or before != refit.is_running:
            self.save(model, refit)

    def feed(self, refit: Refit, labels: Sequence["Counted"], rows: NDArray[Any]) -> None:
        """Hand on the rows that the temperature of the head has answered."""
        packed: list[tuple[int, bytes, int]] = []
        for i, (kept, row, label, _) in enumerate(labels):
            if rows["apart"][i]:
                continue
            if kept.log_p is None:
                refit.left_out += 1
            else:
                packed.append((i, row_of(kept.log_p, kept.n, row), label))
        if not packed:
            return
        sizes = sizes_of(packed[0][1])
        same = [one for one in packed if np.array_equal(sizes_of(one[1]), sizes)]
        log_p = np.array([unpack_columns(data) for _, data, _ in same])
        columns = np.array([column_of(data, label) for _, data, label in same])
        refit.update(rows[[i for i, _, _ in same]], Labelled.of(log_p, sizes, columns))
