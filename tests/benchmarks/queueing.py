"""How long a request waits for those before it: a model of the queue, beside a measured point.

Requests come by themselves (Poisson, open loop), whoever still waits. The server takes all that has come while it was
busy as one batch, which takes `fixed_s` and `each_s` for each request, and answers them at its end: a queue with one
server and service in batches. The two numbers are fitted to the CPU time of a request at one connection and at many;
what a request costs outside of the server is what its latency at one connection has beyond them.
"""

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from tests.benchmarks.load import Load
from tests.benchmarks.options import Options, console
from tests.benchmarks.processes import SPECS, Server, Spec, Watch
from tests.benchmarks.race import Cell, Run, calm

Floats = NDArray[np.float64]

SHAPES: Final = ("1x1000@64", "64x1000@16")
LOADS: Final = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
MEASURED: Final = 0.5
"""Of what the server can take: less than the generator in Python can send."""
N_SIMULATED: Final = 200_000
LEAST_S: Final = 1e-6
"""No server answers a request in less; a short run on a busy machine may say so."""


@dataclass(frozen=True)
class Service:
    """What a batch of n requests takes: `fixed_s + n * each_s`, seconds; `outside_s` is the wire and the client."""

    fixed_s: float
    each_s: float
    outside_s: float = 0.0
    most: int = 1024

    @property
    def per_second(self) -> float:
        """Requests a second at most."""
        return 1 / (self.each_s + self.fixed_s / self.most)

    @classmethod
    def fit(cls, one: Run, many: Run, n: int) -> "Service":
        """From the CPU time of a request at one connection and at `n`."""
        alone_s, shared_s = one.cpu_us / 1e6, many.cpu_us / 1e6
        fixed_s = max(0.0, alone_s - shared_s) * n / (n - 1)
        return cls(fixed_s, max(LEAST_S, alone_s - fixed_s), max(0.0, one.p50_us / 1e6 - alone_s))


def simulate(service: Service, per_second: float, n: int = N_SIMULATED, seed: int = 0) -> Floats:
    """Latencies of `n` requests, seconds, `[n]` in their order."""
    came = np.random.default_rng(seed).exponential(1 / per_second, n).cumsum()
    left = np.empty(n)
    first, free = 0, 0.0
    while first < n:
        start = max(free, came[first])
        last = min(int(came.searchsorted(start, "right")), first + service.most)
        free = start + service.fixed_s + (last - first) * service.each_s
        left[first:last] = free
        first = last
    return np.asarray(left - came + service.outside_s)


def run(options: Options) -> dict[str, Any]:
    """The model of each cell, and one open-loop measurement."""
    found = [line for text in options.cells or SHAPES for line in lines(SPECS["fast"], Cell.read(text), options)]
    console.print(table(found))
    return {"lines": found}


def lines(spec: Spec, cell: Cell, options: Options) -> list[dict[str, Any]]:
    """What the model predicts of a server for each load; what was measured is in one of them."""
    with Server(spec, options.server_core) as server:
        server.wait()
        server.check(cell.work)
        one, many = (calm(server, Cell(cell.work, n), 1, options) for n in (1, cell.n_connections))
        service = Service.fit(one, many, cell.n_connections)
        measured = measure(server, cell, MEASURED * service.per_second, options)
    found = []
    for share in LOADS:
        seconds = simulate(service, share * service.per_second)
        p50_us, p99_us = (1e6 * float(np.quantile(seconds, q)) for q in (0.5, 0.99))
        line = {"cell": cell.name, "load": share, "rps": share * service.per_second}
        found.append(line | {"p50_us": p50_us, "p99_us": p99_us} | (measured if share == MEASURED else {}))
    found[-1]["service"] = asdict(service)
    found[-1]["others"] = max(one.others, many.others)
    return found


def measure(server: Server, cell: Cell, per_second: float, options: Options) -> dict[str, float]:
    """What requests that are due so often see, and the share of the server's core that others took meanwhile."""
    watch = Watch(server, options.server_core)
    with Load(
        server, cell.work, cell.n_connections, options.seconds, "python", options.client_core, per_second
    ) as load:
        measured = load.measured()
    found = {f"measured_{name}": getattr(measured, name) for name in ("rps", "p50_us", "p99_us", "errors")}
    return found | {"others": watch.seen()[1]}


def table(lines: list[dict[str, Any]]) -> Table:
    """As it is printed."""
    drawn = Table(title="Latency of requests that come by themselves: predicted, and measured at one point")
    for name in ("cell", "load", "requests/s", "p50 us", "p99 us", "measured/s", "p50 us", "p99 us"):
        drawn.add_column(name, justify="right")
    for line in lines:
        figures = ("rps", "p50_us", "p99_us", "measured_rps", "measured_p50_us", "measured_p99_us")
        drawn.add_row(
            line["cell"], f"{line['load']:.0%}", *(f"{line[name]:,.0f}" if name in line else "" for name in figures)
        )
    return drawn
