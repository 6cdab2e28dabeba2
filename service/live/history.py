"""The largest evidence of an epoch from its first label on, in few enough points for a page to draw."""

import math
from typing import Any, Final

MOST_POINTS: Final = 200


class History:
    """Points at the ends of blocks: of each of the first, and then of every second, fourth, eighth and so on.

    Attributes:
        points: label numbers and the logarithms, to base 10, of the evidence after them; at most 200.
    """

    def __init__(self, start: int = 0) -> None:
        """`start` is the number of labels before the epoch: its evidence begins at 1."""
        self.points: list[tuple[int, float]] = [(start, 0.0)]
        self._every = self._left = 1

    def see(self, n: int, e: float) -> None:
        """Look at the evidence after `n` labels, at the end of a block."""
        self._left -= 1
        if self._left:
            return
        self.points.append((n, round(math.log10(max(e, 1e-300)), 3)))
        if len(self.points) > MOST_POINTS:
            self.points, self._every = self.points[::2], 2 * self._every
        self._left = self._every

    def state(self) -> dict[str, Any]:
        """As JSON."""
        return {"points": self.points, "every": self._every, "left": self._left}

    @classmethod
    def restore(cls, state: dict[str, Any] | None, n: int) -> "History":
        """Read back what `state` wrote; where it was not kept yet, it begins at label `n`."""
        history = cls(n)
        if state is None:
            return history
        history.points = [(n, log10_e) for n, log10_e in state["points"]]
        history._every, history._left = state["every"], state["left"]
        return history
