"""What a server costs when it does nothing: while it starts, and after it was loaded."""

import statistics
import time
from typing import Any, Final

from rich.table import Table

from tests.benchmarks.load import Load
from tests.benchmarks.options import Options, console
from tests.benchmarks.processes import SPECS, Server, Spec
from tests.benchmarks.work import made

SHAPE, N_CONNECTIONS = "1x1000", 64
WARM_S: Final = 1.0


def run_idle(options: Options) -> dict[str, Any]:
    """CPU and memory of each server, before a load, and over a while after it."""
    drawn = Table(title=f"Idle for {options.idle_s:g} s after a load", title_justify="left")
    drawn.add_column("server")
    for name in ("CPU s", "CPU %", "RSS MB before", "after the load", "after idling", "grown %"):
        drawn.add_column(name, justify="right")
    lines = [idle(SPECS[name], options) for name in options.servers]
    for line in lines:
        sizes = (f"{line[name]:.1f}" for name in ("before_mb", "loaded_mb", "idle_mb"))
        drawn.add_row(
            line["server"],
            f"{line['cpu_s']:.2f}",
            f"{line['cpu_percent']:.2f}",
            *sizes,
            f"{100 * (line['idle_mb'] / line['before_mb'] - 1):.1f}",
        )
    console.print(drawn)
    return {"lines": lines}


def idle(spec: Spec, options: Options) -> dict[str, Any]:
    """Load a server, and leave it alone."""
    work = made(SHAPE)
    with Server(spec, options.server_core) as server:
        server.wait().check(work)
        load(server, WARM_S, options)  # before is after the first requests: buffers are there then
        before_mb = server.usage()[1]
        load(server, options.seconds, options)
        loaded_s, loaded_mb = server.usage()
        time.sleep(options.idle_s)
        idle_s, idle_mb = server.usage()
    return {
        "server": spec.name,
        "cpu_s": idle_s - loaded_s,
        "cpu_percent": 100 * (idle_s - loaded_s) / options.idle_s,
        "before_mb": before_mb,
        "loaded_mb": loaded_mb,
        "idle_mb": idle_mb,
        "grown": idle_mb / before_mb,
    }


def load(server: Server, seconds: float, options: Options) -> None:
    """Load a server, and wait until it is done."""
    with Load(server, made(SHAPE), N_CONNECTIONS, seconds, options.generator, options.client_core) as load:
        load.measured()
    server.settle()


def run_coldstart(options: Options) -> dict[str, Any]:
    """CPU, time and memory of each server from its start to its first answer; `/readyz` is what it is asked."""
    drawn = Table(title=f"Start to ready, medians of {options.rounds}", title_justify="left")
    drawn.add_column("server")
    for name in ("CPU s", "wall s", "RSS MB"):
        drawn.add_column(name, justify="right")
    lines = [started(SPECS[name], options) for name in options.servers]
    for line in lines:
        drawn.add_row(line["server"], f"{line['cpu_s']:.2f}", f"{line['wall_s']:.2f}", f"{line['rss_mb']:.1f}")
    console.print(drawn)
    return {"lines": lines}


def started(spec: Spec, options: Options) -> dict[str, Any]:
    """Start a server some times; a start before them fills the caches of the disk."""
    samples = []
    for _ in range(options.rounds + 1):
        start = time.perf_counter()
        with Server(spec, options.server_core) as server:
            server.wait("/readyz", every_s=0.01)
            samples.append((time.perf_counter() - start, *server.usage()))
    wall_s, cpu_s, rss_mb = (statistics.median(values) for values in zip(*samples[1:], strict=True))
    return {"server": spec.name, "cpu_s": cpu_s, "wall_s": wall_s, "rss_mb": rss_mb, "samples": samples[1:]}
