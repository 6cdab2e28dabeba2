"""This project beside other servers, for docs/benchmark.md: `make benchmark`, `python -m tests.benchmarks.comparison`.

First each server is started alone: its answers are checked, its start and its memory are measured. Then all are up, one
at a time is loaded, and the others stand still (SIGSTOP). The raw figures become JSON, and `page.py` makes the page.
"""

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from rich.progress import Progress

from tests.benchmarks import machine, page, queueing
from tests.benchmarks.contenders import CONTENDERS, PACKAGES
from tests.benchmarks.load import LoadFailed, chosen
from tests.benchmarks.options import Options, console
from tests.benchmarks.processes import ROOT, START_S, DidNotStart, Server, Spec, cores
from tests.benchmarks.race import WARM_S, Cell, Run, timed
from tests.benchmarks.work import Work, WrongAnswer

CELLS: Final = ("1x10@1", "1x10@16", "1x10@64", "1x1000@1", "1x1000@16", "1x1000@64", "64x1000@16")
QUEUE: Final = Cell.read("1x1000@64")
N_CHECKED: Final = 16
"""Answers of each kind that are compared with numpy, asked for at the same time."""
LARGE: Final = 2**18
"""Bytes of a body from which a server may need a second for what is in flight: only Python's generator waits for it."""
DIGITS: Final = 4
EVERYWHERE: Final = ("onnxruntime", "numpy")


def main(argv: Sequence[str] | None = None, specs: Sequence[Spec] = CONTENDERS) -> int:
    """Measure, and write both files."""
    given = arguments().parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are stopped
    if not given.page_only:
        cells = [Cell.read(text) for text in CELLS if given.cells is None or text in given.cells.split(",")]
        server_core, client_core = cores()
        options = Options(
            rounds=given.rounds,
            seconds=given.seconds,
            retries=0,
            generator=chosen("auto"),
            server_core=server_core,
            client_core=client_core,
        )
        given.json.write_text(dumped(compare(specs, cells, options)))
    given.page.write_text(page.drawn(json.loads(given.json.read_text())))
    return 0


def arguments() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.comparison", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds that are timed (default: 5)")
    parser.add_argument("--seconds", type=float, default=1.0, metavar="S", help="load in a round (default: 1)")
    parser.add_argument("--cells", metavar="CELL,...", help=f"of {', '.join(CELLS)} (default: all)")
    parser.add_argument("--page-only", action="store_true", help="make the page of the figures that are there")
    parser.add_argument("--json", type=Path, default=ROOT / "docs" / "benchmark.json", metavar="FILE")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "benchmark.md", metavar="FILE")
    return parser


def compare(specs: Sequence[Spec], cells: Sequence[Cell], options: Options) -> dict[str, Any]:
    """All that is written: the machine, what is known of each server, and every run."""
    facts = machine.described()
    works = list({cell.work: None for cell in cells})
    servers = {spec.name: seen_alone(spec, works, options.server_core) for spec in specs}
    there = [spec for spec in specs if "failure" not in servers[spec.name]]
    runs = raced(there, cells, options)
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": {name: facts[name] for name in ("machine", "pinned", "load at the start", "Python", "commit")},
        "rounds": options.rounds,
        "seconds": options.seconds,
        "generator": options.generator,
        "checked": N_CHECKED,
        "servers": servers,
        "queue": queueing.lines(there[0], QUEUE, options),
        "fields": page.FIELDS,
        "runs": [[rounded(getattr(run, name)) for name in page.FIELDS] for run in runs],
    }


def seen_alone(spec: Spec, works: Sequence[Work], core: int | None) -> dict[str, Any]:
    """A server by itself: versions, seconds to its first answer, largest errors, memory; or why it is not there."""
    about: dict[str, Any] = {"about": spec.about}
    try:
        about["versions"] = versions(spec)
        start = time.monotonic()
        with Server(spec, core) as server, ThreadPoolExecutor(N_CHECKED) as pool:
            await_answer(server, works[0])
            about["start_s"] = rounded(time.monotonic() - start)
            about["errors"] = {work.name: rounded(max(pool.map(server.check, [work] * N_CHECKED))) for work in works}
            about["memory_mb"] = rounded(server.memory_mb())
    except (DidNotStart, WrongAnswer, OSError, subprocess.SubprocessError) as error:
        console.print(f"[yellow]{spec.name}: {error}[/yellow]")
        return {"about": spec.about, "failure": str(error).replace(f"{ROOT}/", "")[-300:]}
    return about


def versions(spec: Spec) -> dict[str, str]:
    """Of the packages in its environment that count."""
    names = [*PACKAGES.get(spec.python.parents[1].name, ()), *EVERYWHERE]
    program = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    command = [str(spec.python), "-P", "-c", program, *names]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=START_S)
    return dict(zip(names, run.stdout.split(), strict=True))


def await_answer(server: Server, work: Work) -> None:
    """Until it answers rightly: some listen before the process that has the head is there.

    Raises:
        DidNotStart: it does not, in time.
    """
    server.wait()
    end = time.monotonic() + START_S
    while True:
        try:
            server.check(work)
        except (DidNotStart, OSError):
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return


def raced(specs: Sequence[Spec], cells: Sequence[Cell], options: Options) -> list[Run]:
    """Every run that is timed, in their order, which is turned around every round; round 0 warms up."""
    warming = list({cell.work: cell for cell in cells}.values())
    runs = []
    with ExitStack() as stack:
        servers = []
        for spec in specs:
            servers.append(server := stack.enter_context(Server(spec, options.server_core)))
            await_answer(server, cells[0].work)
            server.signal(signal.SIGSTOP)
        progress = stack.enter_context(Progress(console=console, transient=True))
        task = progress.add_task("", total=len(servers) * (len(warming) + options.rounds * len(cells)))
        for number in range(options.rounds + 1):
            for cell in cells if number else warming:
                for server in servers if number % 2 else servers[::-1]:
                    progress.update(task, advance=1, description=f"round {number} {cell.name} {server.spec.name}")
                    server.signal(signal.SIGCONT)
                    seconds = options.seconds if number else min(WARM_S, options.seconds)
                    run = loaded(server, cell, number, options.with_seconds(seconds))
                    runs += [run] if number else []
                    server.signal(signal.SIGSTOP)
    return runs


def loaded(server: Server, cell: Cell, number: int, options: Options) -> Run:
    """Load a server once; where that fails it has answered nothing, and the others are measured all the same."""
    if len(cell.work.body) >= LARGE:
        options = replace(options, generator="python")
    try:
        return timed(server, cell, number, options)
    except (LoadFailed, subprocess.TimeoutExpired) as error:
        console.print(f"[yellow]{server.spec.name}, {cell.name}: {error}[/yellow]")
        nothing = dict.fromkeys(("rps", "p50_us", "p99_us", "max_us", "cpu_us", "rss_mb", "others"), 0.0)
        return Run(cell.name, server.spec.name, number, requests=0, errors=1, **nothing)


def rounded(value: Any) -> Any:
    """A float to so many digits that no figure is worse for it, anything else as it is."""
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def dumped(results: dict[str, Any]) -> str:
    """JSON with a run on a line, so that it is small, and a difference can be read."""
    runs = ",\n    ".join(json.dumps(run) for run in results["runs"])
    rest = json.dumps({**results, "runs": []}, indent=2)
    return rest.removesuffix("[]\n}") + f"[\n    {runs}\n  ]\n}}\n"


if __name__ == "__main__":
    sys.exit(main())
