"""What happened under load, by stage and kind of request: answers, refusals for being busy, and failures, apart."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from rich.console import Console
from rich.table import Table

NARROWEST: Final = 100


@dataclass
class Line:
    """Counts, and the times of the answers in milliseconds; refusals and failures have none."""

    times_ms: list[float] = field(default_factory=list)
    n_refused: int = 0
    faults: dict[str, int] = field(default_factory=dict)

    @property
    def n_failed(self) -> int:
        """Answers that should not have been."""
        return sum(self.faults.values())

    @property
    def n(self) -> int:
        """All requests."""
        return len(self.times_ms) + self.n_refused + self.n_failed

    def percentile_ms(self, percent: int) -> float:
        """The time within which so many of the answers came."""
        return sorted(self.times_ms)[min(len(self.times_ms) - 1, len(self.times_ms) * percent // 100)]


class Ledger:
    """Lines by stage and kind."""

    def __init__(self) -> None:
        self.lines: dict[tuple[str, str], Line] = {}
        self.lasted_s: dict[str, float] = {}

    def add(self, stage: str, kind: str, time_ms: float, *, refused: bool, fault: str | None) -> None:
        """Enter one request."""
        line = self.lines.setdefault((stage, kind), Line())
        if fault:
            line.faults[fault] = line.faults.get(fault, 0) + 1
        elif refused:
            line.n_refused += 1
        else:
            line.times_ms.append(time_ms)

    def stages(self) -> list[str]:
        """In the order in which they came."""
        return list(dict.fromkeys(stage for stage, _ in self.lines))

    def total(self, stage: str | None = None) -> Line:
        """All kinds of a stage, or of all stages."""
        return merged(line for (of, _), line in self.lines.items() if stage in (None, of))

    def table(self) -> Table:
        """A line a stage and kind, with sums."""
        table = Table(title="Load", title_justify="left")
        for name in ("stage", "request"):
            table.add_column(name, no_wrap=True)
        for name in ("requests", "req/s", "p50 ms", "p95 ms", "p99 ms", "429", "failures"):
            table.add_column(name, justify="right", no_wrap=True)
        for stage in self.stages():
            lasted_s = self.lasted_s.get(stage, 0.0)
            for kind in sorted(kind for of, kind in self.lines if of == stage):
                table.add_row(stage, kind, *cells(self.lines[stage, kind], lasted_s))
            table.add_row(stage, "all", *cells(self.total(stage), lasted_s), style="bold", end_section=True)
        table.add_row("all", "all", *cells(self.total(), sum(self.lasted_s.values())), style="bold")
        return table

    def show(self) -> None:
        """Print the table, and what failed how often."""
        console = Console(highlight=False)
        if not console.is_terminal:
            console.width = max(console.width, NARROWEST)
        console.print(self.table())
        for fault, n in sorted(self.total().faults.items(), key=lambda pair: -pair[1]):
            console.print(f"{n:,} x {fault}", style="red")


def merged(lines: Iterable[Line]) -> Line:
    """One line of several."""
    total = Line()
    for line in lines:
        total.times_ms += line.times_ms
        total.n_refused += line.n_refused
        for fault, n in line.faults.items():
            total.faults[fault] = total.faults.get(fault, 0) + n
    return total


def cells(line: Line, lasted_s: float) -> list[str]:
    """A line's figures, for a table."""
    times = [f"{line.percentile_ms(percent):,.1f}" if line.times_ms else "-" for percent in (50, 95, 99)]
    rate = f"{line.n / lasted_s:,.0f}" if lasted_s else "-"
    return [f"{line.n:,}", rate, *times, f"{line.n_refused:,}", f"{line.n_failed:,}"]
