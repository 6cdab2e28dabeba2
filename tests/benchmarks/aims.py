"""What was promised, beside what was measured in the same run. It says so, and nothing more: no time fails a test."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from rich.table import Table

DISTURBED: Final = 0.1  # share of the core


class Aim(NamedTuple):
    """A promise about one figure of one line."""

    what: str
    benchmark: str
    line: Mapping[str, str]
    figure: str
    sign: str
    bound: float


def fast(cell: str) -> dict[str, str]:
    """The fast transport's line of a cell."""
    return {"cell": cell, "server": "fast"}


def asgi(cell: str) -> dict[str, str]:
    """The ASGI transport's line of a cell."""
    return {"cell": cell, "server": "asgi"}


AIMS: Final = (
    Aim("fast HTTP, req/s to the ceiling", "race", fast("1x10@16"), "rps/bare", ">=", 0.9),
    Aim("fast HTTP, req/s to the ceiling", "race", fast("1x10@64"), "rps/bare", ">=", 1.1),
    Aim("fast HTTP, median latency to the ceiling", "race", fast("1x10@1"), "p50/bare", "<=", 1.35),
    Aim("fast HTTP, req/s to the ceiling", "race", fast("1x1000@16"), "rps/bare", ">=", 0.3),
    Aim("fast HTTP, req/s to plain FastAPI", "race", fast("1x1000@16"), "rps/plain", ">=", 5),
    Aim("fast HTTP, req/s to plain FastAPI", "race", fast("64x1000@16"), "rps/plain", ">=", 4),
    Aim("fast HTTP, req/s to plain FastAPI", "race", fast("1x50000@16"), "rps/plain", ">=", 4),
    Aim("fast HTTP, req/s to orjson by hand", "race", fast("64x1000@16"), "rps/by_hand", ">=", 1),
    Aim("fast HTTP, req/s to orjson by hand", "race", fast("1x50000@16"), "rps/by_hand", ">=", 1),
    Aim("ASGI transport, req/s to the ceiling", "race", asgi("1x10@16"), "rps/bare", ">=", 0.4),
    Aim("ASGI transport, req/s to the ceiling", "race", asgi("1x1000@16"), "rps/bare", ">=", 0.2),
    Aim("median latency to no batching", "batching", {"cell": "1x10@1", "server": "batching"}, "p50/off", "<=", 1.05),
    Aim("req/s to no batching", "batching", {"cell": "1x10@64", "server": "batching"}, "rps/off", ">=", 1.3),
    Aim("req/s to no batching", "expensive", {"cell": "wide@64", "server": "batching"}, "rps/off", ">=", 4),
    Aim("p99 beside large ones, us", "mixed", {"server": "fast", "beside": "both"}, "p99_us", "<=", 5000),
    Aim("CPU while idle, %", "idle", {"server": "fast"}, "cpu_percent", "<=", 0.3),
    Aim("memory after idling to before", "idle", {"server": "fast"}, "grown", "<=", 1.05),
    Aim("CPU until ready, s", "coldstart", {"server": "fast"}, "cpu_s", "<=", 1),
    Aim("resident memory when ready, MB", "coldstart", {"server": "fast"}, "rss_mb", "<=", 100),
)


def found(aim: Aim, results: Mapping[str, Any]) -> float | None:
    """The figure that an aim is about, if it was measured."""
    for line in results.get(aim.benchmark, {}).get("lines", ()):
        if aim.line.items() <= line.items() and aim.figure in line:
            return float(line[aim.figure])
    return None


def met(aim: Aim, figure: float) -> bool:
    """Whether the figure keeps the promise."""
    return figure >= aim.bound if aim.sign == ">=" else figure <= aim.bound


def table(results: Mapping[str, Any]) -> Table | None:
    """The aims about what was measured, if any is."""
    drawn = Table(title="Aims", title_justify="left")
    for name in ("benchmark", "where", "what"):
        drawn.add_column(name)
    for name in ("aim", "measured"):
        drawn.add_column(name, justify="right")
    drawn.add_column("")
    for aim in AIMS:
        figure = found(aim, results)
        if figure is not None:
            verdict = "[green]met[/green]" if met(aim, figure) else "[red]not met[/red]"
            where = ", ".join(aim.line.values())
            drawn.add_row(aim.benchmark, where, aim.what, f"{aim.sign} {aim.bound:g}", f"{figure:,.4g}", verdict)
    others = disturbance(results)
    if others > DISTURBED:
        drawn.caption = f"other processes took up to {others:.0%} of the servers' core: measure again in a quiet hour"
        drawn.caption_justify = "left"
    return drawn if drawn.row_count else None


def disturbance(results: Mapping[str, Any]) -> float:
    """The largest share of the servers' core that went to other processes, of all lines that know theirs."""
    measured = [line for result in results.values() if "lines" in result for line in result["lines"]]
    return max((line.get("others", 0.0) for line in measured), default=0.0)
