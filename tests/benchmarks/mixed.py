"""How long small requests wait behind large ones: 1x10 over a few connections, alone and while large ones run."""

import statistics
import time
from contextlib import ExitStack
from typing import Any, Final

from rich.table import Table

from tests.benchmarks.load import Load, Measured
from tests.benchmarks.options import Options, console
from tests.benchmarks.processes import SPECS, Server, Watch
from tests.benchmarks.work import Work, made

SMALL: Final = "1x10"
N_SMALL: Final = 4
# name to the large requests that run meanwhile, shape and connections
NEIGHBOURS: Final[dict[str, tuple[tuple[str, int], ...]]] = {
    "alone": (),
    "64x1000": (("64x1000", 2),),
    "1x100000": (("1x100000", 2),),
    "both": (("64x1000", 2), ("1x100000", 2)),
}
EARLIER_S: Final = 1.0  # the large ones begin before, and end after


def run(options: Options) -> dict[str, Any]:
    """Measure the servers asked for, interleaved."""
    names = [name for name in options.servers if SPECS[name].computes]
    works = {shape: made(shape) for shape in (SMALL, *(s for large in NEIGHBOURS.values() for s, _ in large))}
    seen: dict[tuple[str, str], list[tuple[Measured, float]]] = {}
    with ExitStack() as stack:
        servers = [stack.enter_context(Server(SPECS[name], options.server_core)) for name in names]
        for server in servers:
            server.wait()
            for work in works.values():
                server.check(work)
        for number in range(options.rounds):
            for server in servers if number % 2 else servers[::-1]:
                for name in NEIGHBOURS:
                    seen.setdefault((server.spec.name, name), []).append(beside(server, name, works, options))
    lines = [line(server, name, seen[server, name]) for server in names for name in NEIGHBOURS]
    console.print(table(lines))
    return {"lines": lines}


def beside(server: Server, name: str, works: dict[str, Work], options: Options) -> tuple[Measured, float]:
    """The small requests' times beside these neighbours, and the share of the core that went to other processes."""
    core, generator = options.client_core, options.generator
    with ExitStack() as stack:
        for shape, n in NEIGHBOURS[name]:
            longer = options.seconds + 2 * EARLIER_S
            stack.enter_context(Load(server, works[shape], n, longer, generator, core))
        if NEIGHBOURS[name]:
            time.sleep(EARLIER_S)
        watch = Watch(server, options.server_core)
        load = stack.enter_context(Load(server, works[SMALL], N_SMALL, options.seconds, generator, core))
        measured = load.measured()
        _, others = watch.seen()
    server.settle()
    return measured, others


def line(server: str, name: str, runs: list[tuple[Measured, float]]) -> dict[str, Any]:
    """Medians over the rounds."""
    found: dict[str, Any] = {"server": server, "beside": name, "errors": sum(run.errors for run, _ in runs)}
    for figure in ("rps", "p50_us", "p99_us", "max_us"):
        found[figure] = statistics.median(getattr(run, figure) for run, _ in runs)
    found["others"] = statistics.median(others for _, others in runs)
    return found


def table(lines: list[dict[str, Any]]) -> Table:
    """The lines, for the terminal."""
    drawn = Table(
        title=f"{SMALL} over {N_SMALL} connections while large requests run",
        title_justify="left",
        caption_justify="left",
    )
    for name in ("server", "beside"):
        drawn.add_column(name)
    for name in ("req/s", "p50 ms", "p99 ms", "max ms", "errors"):
        drawn.add_column(name, justify="right")
    server = None
    for each in lines:
        if server not in (None, each["server"]):
            drawn.add_section()
        server = each["server"]
        times = (f"{each[name] / 1e3:.2f}" for name in ("p50_us", "p99_us", "max_us"))
        drawn.add_row(server, each["beside"], f"{each['rps']:,.0f}", *times, str(each["errors"]))
    worst = max(each["others"] for each in lines)
    drawn.caption = f"other processes took up to {worst:.0%} of the servers' core (median of a line's rounds)"
    return drawn
