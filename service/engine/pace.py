"""How long runs take by now, against what a run cost when its head was loaded: what deadlines are held against."""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from service.engine.runner import Runner

GROWTH: Final = 1.1
TRY_S: Final = 10.0


class Pace:
    """The pace of the runs of a head. Use it on the event loop.

    A quick run shows what can be done and counts at once; a slow one, which something else may have slowed, moves the
    factor by a tenth at most, so that it takes many to be believed.

    Attributes:
        factor: what a run takes, in units of what was measured at its load.
    """

    __slots__ = ("factor", "refused_at")

    def __init__(self) -> None:
        self.factor = 1.0
        self.refused_at = 0.0  # by the clock, since which no run has ended; 0 where nothing was refused since

    def __repr__(self) -> str:
        return f"<Pace {self.factor:.3g}>"

    def see(self, expected_s: float, took_s: float) -> None:
        """A run has ended that was measured at `expected_s`."""
        if expected_s > 0:
            self.factor = min(took_s / expected_s, self.factor * GROWTH)
        self.refused_at = 0.0

    def wants_run(self, now: float) -> bool:
        """Whether one that would be refused shall run, as nothing else has told for long what a run takes."""
        if self.refused_at and now - self.refused_at < TRY_S:
            return False
        is_first, self.refused_at = not self.refused_at, now
        return not is_first


def runs_s(runner: "Runner", n_rows: int, max_rows: int, numbers_a_row: int) -> float:
    """What the runs of so many rows are expected to take, `max_rows` at a time, seconds."""
    n_runs, rest = divmod(n_rows, max_rows)
    cost_s = runner.cost_s
    whole_s = n_runs * cost_s(max_rows * numbers_a_row) if n_runs else 0.0
    return runner.pace.factor * (whole_s + (cost_s(rest * numbers_a_row) if rest else 0.0))
