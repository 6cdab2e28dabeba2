"""Servers against each other, end to end: interleaved rounds, medians, and ratios within a round.

One core for the servers, one for the generator. All servers of a race are up all the time, one at a time is loaded;
the order is turned around every round (A B C, C B A, ...), so that what drifts hits all of them.
"""

import statistics
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any, Final

from rich.progress import Progress
from rich.table import Table

from tests.benchmarks.aims import DISTURBED
from tests.benchmarks.load import Load
from tests.benchmarks.options import Options, console
from tests.benchmarks.processes import SPECS, Server, Spec, Watch
from tests.benchmarks.work import Work, made

CELLS: Final = ("1x10@1", "1x10@16", "1x10@64", "1x1000@16", "64x1000@16", "1x50000@16")
WARM_S: Final = 1.0


@dataclass(frozen=True)
class Cell:
    """One kind of request over so many connections at a time."""

    work: Work
    n_connections: int

    @property
    def name(self) -> str:
        """As on the command line."""
        return f"{self.work.name}@{self.n_connections}"

    @classmethod
    def read(cls, text: str) -> "Cell":
        """`64x1000@16`; raises ValueError for anything else."""
        shape, _, connections = text.partition("@")
        if not connections.isdecimal() or int(connections) < 1:
            raise ValueError(f"{text!r} is no cell; expected SHAPE@CONNECTIONS such as 64x1000@16")
        return cls(made(shape), int(connections))


@dataclass(frozen=True)
class Run:
    """One server, one cell, one round.

    Attributes:
        cpu_us: CPU of the server per request, microseconds.
        others: share of the server's core that went to other processes; a high one spoils the run.
    """

    cell: str
    server: str
    round: int
    rps: float
    p50_us: float
    p99_us: float
    max_us: float
    requests: int
    errors: int
    cpu_us: float
    rss_mb: float
    others: float


def timed(server: Server, cell: Cell, number: int, options: Options) -> Run:
    """Load a server once."""
    watch = Watch(server, options.server_core)
    with Load(server, cell.work, cell.n_connections, options.seconds, options.generator, options.client_core) as load:
        measured = load.measured()
    cpu_s, others = watch.seen()
    _, rss_mb = server.usage()
    server.settle()
    return Run(
        cell=cell.name,
        server=server.spec.name,
        round=number,
        rps=measured.rps,
        p50_us=measured.p50_us,
        p99_us=measured.p99_us,
        max_us=measured.max_us,
        requests=measured.requests,
        errors=measured.errors,
        cpu_us=1e6 * cpu_s / max(1, measured.requests),
        rss_mb=rss_mb,
        others=others,
    )


def calm(server: Server, cell: Cell, number: int, options: Options) -> Run:
    """Load a server, and again where other processes disturbed it; the least disturbed run counts."""
    runs = [timed(server, cell, number, options)]
    while runs[-1].others > DISTURBED and len(runs) <= options.retries:
        runs.append(timed(server, cell, number, options))
    return min(runs, key=lambda run: run.others)


def raced(specs: Sequence[Spec], cells: Sequence[Cell], options: Options) -> list[Run]:
    """Start the servers, check every answer, and time them."""
    runs: list[Run] = []
    with ExitStack() as stack:
        servers = [stack.enter_context(Server(spec, options.server_core)) for spec in specs]
        for server in servers:
            server.wait()
            for work in {cell.work for cell in cells}:
                server.check(work)
        progress = stack.enter_context(Progress(console=console, transient=True))
        task = progress.add_task("", total=(options.rounds + 1) * len(cells) * len(servers))
        for number in range(options.rounds + 1):
            for cell in cells:
                for server in servers if number % 2 else servers[::-1]:
                    progress.update(task, advance=1, description=f"round {number} {cell.name} {server.spec.name}")
                    warms = number == 0
                    how = options.with_seconds(min(WARM_S, options.seconds)) if warms else options
                    if warms:
                        timed(server, cell, number, how)
                    else:
                        runs.append(calm(server, cell, number, how))
    return runs


def summed(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """A line a cell and server: medians over the rounds, and medians of the ratios to the others of the same round."""
    by_place: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        by_place.setdefault((run.cell, run.server), []).append(run)
    lines = []
    for (cell, server), some in by_place.items():
        line: dict[str, Any] = {"cell": cell, "server": server}
        for name in ("rps", "p50_us", "p99_us", "max_us", "cpu_us", "rss_mb", "others"):
            line[name] = statistics.median(getattr(run, name) for run in some)
        line["rps_range"] = [min(run.rps for run in some), max(run.rps for run in some)]
        line["errors"] = sum(run.errors for run in some)
        for base in {place[1] for place in by_place} - {server}:
            others = by_place[cell, base]
            for figure, short in (("rps", "rps"), ("p50_us", "p50"), ("cpu_us", "cpu")):
                line[f"{short}/{base}"] = ratio(some, others, figure)
        line["rounds"] = [asdict(run) for run in some]
        lines.append(line)
    return lines


def ratio(some: Sequence[Run], others: Sequence[Run], figure: str) -> float:
    """The median over the rounds of one server's figure to another's."""
    pairs = zip(some, others, strict=True)
    return float(statistics.median(getattr(one, figure) / max(1e-9, getattr(other, figure)) for one, other in pairs))


def table(title: str, lines: Sequence[dict[str, Any]], bases: Sequence[str]) -> Table:
    """The lines, for the terminal."""
    ratios = [f"{what}/{base}" for what in ("rps", "p50") for base in bases]
    drawn = Table(title=title, title_justify="left", caption_justify="left")
    for name in ("cell", "server"):
        drawn.add_column(name, no_wrap=True)
    for name in ("req/s", "range"):
        drawn.add_column(name, justify="right", no_wrap=True)
    for name in (*ratios, "p50 ms", "p99 ms", "CPU us", "RSS MB", "errors"):
        drawn.add_column(name.replace("rps/", "req/s / ").replace("p50/", "p50 / "), justify="right")
    cell = None
    for line in lines:
        if cell not in (None, line["cell"]):
            drawn.add_section()
        cell = line["cell"]
        drawn.add_row(
            cell,
            line["server"],
            f"{line['rps']:,.0f}",
            "-".join(f"{rps:,.0f}" for rps in line["rps_range"]),
            *(f"{line[name]:.2f}" if name in line else "-" for name in ratios),
            *(spoken(line[name] / 1e3) for name in ("p50_us", "p99_us")),
            *(f"{line[name]:,.0f}" for name in ("cpu_us", "rss_mb", "errors")),
        )
    worst = max((line["others"] for line in lines), default=0.0)
    drawn.caption = f"other processes took up to {worst:.0%} of the servers' core (median of a line's rounds)"
    return drawn


def spoken(number: float) -> str:
    """A number with about three digits."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.2f}"


def run(options: Options) -> dict[str, Any]:
    """The race of this project's lanes with the ceiling and the plain servers."""
    cells = [Cell.read(text) for text in options.cells or CELLS]
    specs = [SPECS[name] for name in options.servers]
    for spec in specs:
        console.print(f"  [bold]{spec.name}[/bold]: {spec.about}")
    bases = [name for name in ("bare", "plain") if name in options.servers]
    runs = raced(specs, cells, options)
    lines = summed(sorted(runs, key=lambda run: [cell.name for cell in cells].index(run.cell)))
    console.print(table("End to end", lines, bases))
    return {"lines": lines}
