"""Measure this project: `python -m tests.benchmarks [BENCHMARK ...]`, or `make bench`.

benchmarks:
  micro       microseconds a stage: decode, check, hand-over, run, encode
  families    microseconds a run of each family of heads, beside numpy, torch and the entmax package
  race        both transports, a bare ASGI app and two FastAPI servers, end to end, as ratios
  batching    batching on against off: latency at one connection, throughput at 64
  expensive   the same behind a classifier with a 4,096 x 4,096 matmul
  queueing    latency against load: a model of the queue, and an open-loop point beside it
  mixed       small requests' times while large ones run
  idle        CPU and memory over a while after a load
  coldstart   CPU, time and memory until the first answer
  all         all of them
"""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from tests.benchmarks import aims, batching, families, life, machine, micro, mixed, queueing, race
from tests.benchmarks.load import chosen
from tests.benchmarks.options import Options, console
from tests.benchmarks.processes import SPECS, cores

BENCHMARKS: Final[dict[str, Callable[[Options], dict[str, Any]]]] = {
    "micro": micro.run,
    "families": families.run,
    "race": race.run,
    "batching": batching.run,
    "expensive": batching.run_expensive,
    "queueing": queueing.run,
    "mixed": mixed.run,
    "idle": life.run_idle,
    "coldstart": life.run_coldstart,
}
USUAL: Final = ("micro", "families", "race")
TRANSPORTS: Final = ("fast", "asgi")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what is asked for, print tables, and write a file if one is named."""
    parser = arguments()
    given = parser.parse_args(argv)
    names = list(given.benchmarks or USUAL)
    if "all" in names:
        names = list(BENCHMARKS)
    if unknown := set(names) - BENCHMARKS.keys():
        parser.error(f"there is no benchmark {min(unknown)}; {', '.join(BENCHMARKS)} and all are")
    if unknown := set(given.servers or ()) - SPECS.keys():
        parser.error(f"there is no server {min(unknown)}; {', '.join(SPECS)} are")
    for text in given.cells or ():
        try:
            race.Cell.read(text)
        except ValueError as error:
            parser.error(str(error))
    results = measure(names, given)
    if given.json:
        given.json.write_bytes(orjson.dumps(results, option=orjson.OPT_INDENT_2))
    return 0


def arguments() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def names(text: str) -> tuple[str, ...]:
        return tuple(filter(None, text.split(",")))

    parser.add_argument(
        "benchmarks", nargs="*", metavar="BENCHMARK", help=f"what to measure (default: {' '.join(USUAL)})"
    )
    parser.add_argument("--cells", type=names, metavar="CELL,...", help="SHAPE@CONNECTIONS: 64x1000@16, 1x10/logits@1")
    parser.add_argument("--servers", type=names, metavar="NAME,...", help=f"of {', '.join(SPECS)}")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds that are timed (default: 5)")
    parser.add_argument("--seconds", type=float, default=2.0, metavar="S", help="load in a round (default: 2)")
    parser.add_argument(
        "--retries", type=int, default=2, metavar="N", help="runs instead of one that others disturbed (default: 2)"
    )
    parser.add_argument("--idle-s", type=float, default=60.0, metavar="S", help="how long to look on (default: 60)")
    parser.add_argument(
        "--generator", choices=("auto", "wrk", "python"), default="auto", help="auto takes wrk where it is installed"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there, too")
    return parser


def measure(names: Sequence[str], given: argparse.Namespace) -> dict[str, Any]:
    """One benchmark after the other."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are stopped
    server_core, client_core = cores()
    generator = chosen(given.generator)
    results: dict[str, Any] = {"machine": machine.described(), "generator": generator}
    told(results["machine"], generator)
    for name in names:
        console.rule(name, align="left")
        options = Options(
            cells=given.cells or (),
            servers=given.servers or (tuple(SPECS) if name == "race" else TRANSPORTS),
            rounds=given.rounds,
            seconds=given.seconds,
            retries=given.retries,
            idle_s=given.idle_s,
            generator=generator,
            server_core=server_core,
            client_core=client_core,
        )
        results[name] = BENCHMARKS[name](options)
    if (drawn := aims.table(results)) is not None:
        console.rule("aims", align="left")
        console.print(drawn)
    return results


def told(facts: dict[str, str], generator: str) -> None:
    """Say what it runs on."""
    for name in ("machine", "pinned", "load at the start", "commit"):
        console.print(f"{name}: {facts[name]}")
    console.print(", ".join(f"{name} {value}" for name, value in list(facts.items())[3:] if name != "commit"))
    if generator == "python":
        console.print(
            "[yellow]The generator is the one in Python, which a fast server waits for: install wrk for 1x10.[/yellow]"
        )


if __name__ == "__main__":
    sys.exit(main())
