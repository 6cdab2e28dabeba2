"""The largest evidence so far, and when it first was enough to warn and to alarm. Neither goes back."""

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from service.datasets.dataset import Floats, Ints

WARNING: Final = 20.0
ALARM: Final = 100.0
"""What E reaches with a probability of at most 1 % where nothing has changed."""


@dataclass
class Latch:
    """What was seen of an E.

    Attributes:
        max_e: the largest.
        warning_at: the number of the label at which it reached 20.
        alarm_at: at which it reached 100.
        alarm_ns: the time of that label.
    """

    max_e: float = 1.0
    warning_at: int | None = None
    alarm_at: int | None = None
    alarm_ns: int | None = None

    def see(self, e: Floats, labels: Ints, ns: Ints, weight: float = 1.0) -> None:
        """Look at E after labels of these numbers and times, `[n]` each; `weight` of it has to reach 100."""
        if not len(e):
            return
        self.max_e = max(self.max_e, float(e.max()))
        if self.warning_at is None and self.max_e * weight >= WARNING:
            self.warning_at = int(labels[(e * weight >= WARNING).argmax()])
        if self.alarm_at is None and self.max_e * weight >= ALARM:
            first = int((e * weight >= ALARM).argmax())
            self.alarm_at, self.alarm_ns = int(labels[first]), int(ns[first])

    def state(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    def report(self, e: float, n: int, since: tuple[int, int]) -> dict[str, Any]:
        """What a monitor says of itself: its evidence now, at its largest, and as an anytime p-value."""
        return {
            "e": e,
            "log10_e": float(np.log10(max(e, 1e-300))),
            "max_e": self.max_e,
            "p": min(1.0, 1 / self.max_e),
            "warning": self.warning_at is not None,
            "warning_at": self.warning_at,
            "alarm": self.alarm_at is not None,
            "alarm_at": self.alarm_at,
            "alarm_ns": self.alarm_ns,
            "since": since[0],
            "since_ns": since[1] or None,
            "n": n,
        }
