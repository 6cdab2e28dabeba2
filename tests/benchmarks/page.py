"""docs/benchmark.md from docs/benchmark.json: every number and every claim on the page follows from the figures."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.benchmarks.aims import DISTURBED

FIELDS: Final = ("cell", "server", "round", "requests", "errors", "rps", "cpu_us", "p50_us", "p99_us", "others")
OURS: Final = "Calibrant"
TIE: Final = 1.02
FEWEST_ROUNDS: Final = 5
TIMES: Final = {"cpu_us": "CPU a request", "p50_us": "median latency", "p99_us": "p99 latency"}
ALONE: Final = {"memory_mb": "memory", "start_s": "time to the first answer"}


@dataclass(frozen=True)
class Comparison:
    """One of our servers beside another one, in something of which less is better.

    Attributes:
        where: a cell or the shape of a request; empty for what has neither.
        ratio: ours to theirs; of times the median of the ratios within the rounds.
    """

    theirs: str
    what: str
    where: str
    ratio: float


class Results:
    """The figures, as the page asks for them."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.raw = raw
        self.places: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        for values in raw["runs"]:
            run = dict(zip(raw["fields"], values, strict=True))
            self.places[run["server"], run["cell"]].append(run)
        self.cells = list(dict.fromkeys(cell for _, cell in self.places))
        self.servers = {name: facts for name, facts in raw["servers"].items() if "failure" not in facts}
        self.ours = [name for name in self.servers if name.startswith(OURS)]
        self.theirs = [name for name in self.servers if name not in self.ours]

    def median(self, server: str, cell: str, field: str) -> float | None:
        """Over the rounds; None where one of them had no answer at all."""
        runs = self.places[server, cell]
        return statistics.median(run[field] for run in runs) if all(run["requests"] for run in runs) else None

    def comparisons(self, ours: str) -> list[Comparison]:
        """One of our servers beside each of the others, in all that was measured of both."""
        found = []
        for theirs in self.theirs:
            for cell in self.cells:
                for field, what in TIMES.items():
                    if self.median(ours, cell, field) is not None and self.median(theirs, cell, field) is not None:
                        found.append(Comparison(theirs, what, cell, self.ratio(ours, theirs, cell, field)))
            mine, other = self.servers[ours], self.servers[theirs]
            found += [Comparison(theirs, what, "", mine[name] / other[name]) for name, what in ALONE.items()]
            for shape, error in mine["errors"].items():
                ratio = error / max(other["errors"][shape], 1e-12)
                found.append(Comparison(theirs, "numeric error", shape, ratio))
        return found

    def ratio(self, ours: str, theirs: str, cell: str, field: str) -> float:
        """The median over the rounds of ours to theirs."""
        pairs = zip(self.places[ours, cell], self.places[theirs, cell], strict=True)
        return float(statistics.median(one[field] / max(other[field], 1e-9) for one, other in pairs))


def drawn(raw: Mapping[str, Any]) -> str:
    """The page, as Markdown."""
    results = Results(raw)
    parts = [
        f"# Benchmark\n\n{OURS} beside other servers of the same head, each on one core. `make benchmark` wrote this "
        f"page on {raw['date']} from the figures in [benchmark.json](benchmark.json), its sentences, too.",
        *warnings(results),
        f"## Where {OURS} loses\n\nA ratio is {OURS}'s figure to the other's; in brackets rows x classes, connections.",
        losses(results),
        "## CPU a request, microseconds\n\nOf all processes of a server, the median of "
        f"{count(raw['rounds'], 'round')}. Columns are rows x classes, connections.",
        times(results, "cpu_us", digits),
        "## Median latency, milliseconds",
        times(results, "p50_us", lambda us: digits(us / 1e3)),
        "## p99 latency, milliseconds",
        times(results, "p99_us", lambda us: digits(us / 1e3)),
        "## Memory, start, errors",
        alone(results),
        "## Latency against load",
        queue(raw["queue"]),
        "## What was measured",
        bullets(method(results)),
        "## The servers",
        bullets(described(raw["servers"])),
    ]
    return "\n\n".join(parts) + "\n"


def warnings(results: Results) -> Iterable[str]:
    """What a reader must know before anything else, if there is such a thing."""
    if results.raw["rounds"] < FEWEST_ROUNDS:
        seconds = results.raw["seconds"]
        yield f"**A short run, of {count(results.raw['rounds'], 'round')} of {seconds:g} s: it shows little.**"
    others = [run["others"] for runs in results.places.values() for run in runs]
    if (typical := statistics.median(others)) > DISTURBED:
        yield f"**A busy machine: other processes took {typical:.0%} of the servers' core, {max(others):.0%} at most.**"
    for name, facts in results.raw["servers"].items():
        if "failure" in facts:
            yield f"**{name} could not be measured:** {facts['failure'].strip().splitlines()[-1]}"


def losses(results: Results) -> str:
    """In words: for each of our servers, where others need less, the worst first; in full for the first of ours."""
    parts = []
    for ours in results.ours:
        compared = results.comparisons(ours)
        lost = sorted((one for one in compared if one.ratio > TIE), key=lambda one: -one.ratio)
        won = sum(one.ratio < 1 / TIE for one in compared)
        sentence = (
            f"**{ours}** ({results.servers[ours]['about']}) needs more than another server in {len(lost)} of "
            f"{count(len(compared), 'comparison')}, less in {won}, and as much within {TIE - 1:.0%} in "
            f"{len(compared) - len(lost) - won}"
        )
        if ours == results.ours[0]:
            parts.append(sentence + (":\n\n" + bullets(in_full(lost)) if lost else "."))
        else:
            parts.append(". ".join([sentence, *(["How often: " + "; ".join(worst(lost))] if lost else [])]) + ".")
    return "\n\n".join(parts)


def in_full(lost: Iterable[Comparison]) -> Iterable[str]:
    """A line for each thing in which others are better, with their names and the places."""
    lines: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for one in lost:
        lines[one.what][one.theirs].append(spelled_ratio(one))
    for what, servers in lines.items():
        same: dict[str, list[str]] = defaultdict(list)
        for theirs, places in servers.items():
            same[", ".join(places)].append(theirs)
        yield f"{what}: " + "; ".join(f"{places} to {' and '.join(names)}" for places, names in same.items())


def worst(lost: Iterable[Comparison]) -> Iterable[str]:
    """How often others are better in each thing, and the worst of it."""
    places: dict[str, list[Comparison]] = defaultdict(list)
    for one in lost:
        places[one.what].append(one)
    for what, some in places.items():
        yield f"{what} {len(some)}, at worst {spelled_ratio(some[0])} to {some[0].theirs}"


def spelled_ratio(one: Comparison) -> str:
    """`1.25 x (1x10, 16)`."""
    return f"{one.ratio:.2f} x" + (f" ({spelled(one.where)})" if one.where else "")


def times(results: Results, field: str, written: Callable[[float], str]) -> str:
    """A table of servers and cells."""
    rows = [["", *map(spelled, results.cells)]]
    for name in results.servers:
        medians = [results.median(name, cell, field) for cell in results.cells]
        rows.append([name, *("none" if median is None else written(median) for median in medians)])
    if results.ours and results.theirs:
        rows.append([f"best other to {results.ours[0]}", *(best(results, cell, field) for cell in results.cells)])
    return table(rows)


def best(results: Results, cell: str, field: str) -> str:
    """How many times as much the best other server needs."""
    ours = results.median(results.ours[0], cell, field)
    theirs = [median for name in results.theirs if (median := results.median(name, cell, field)) is not None]
    return f"{min(theirs) / ours:.2f} x" if ours and theirs else ""


def alone(results: Results) -> str:
    """A table of what was seen of each server by itself, and of the answers under load that failed."""
    shapes = list(next(iter(results.servers.values()))["errors"])
    rows = [["", "MB", "s to the first answer", *(f"error at {shape}" for shape in shapes), "failed under load"]]
    for name, facts in results.servers.items():
        failed = sum(run["errors"] for cell in results.cells for run in results.places[name, cell])
        errors = (f"{facts['errors'][shape]:.1e}" for shape in shapes)
        rows.append([name, digits(facts["memory_mb"]), f"{facts['start_s']:.1f}", *errors, f"{failed:,}"])
    return table(rows)


def queue(lines: Sequence[Mapping[str, Any]]) -> str:
    """What a model of the queue predicts, and the point that was measured."""
    point = next(line for line in lines if "measured_rps" in line)
    rows = [["load of a core", *(f"{line['load']:.0%}" for line in lines)]]
    for name, field in (("median, ms", "p50_us"), ("p99, ms", "p99_us")):
        rows.append([name, *(digits(line[field] / 1e3) for line in lines)])
    return (
        f"{OURS}, where requests of {lines[0]['cell'].partition('@')[0]} come by themselves (Poisson, open loop), as "
        "a model of the queue predicts it from the CPU time of a request at one connection and at many. Measured at "
        f"{point['load']:.0%}, {point['measured_rps']:,.0f} requests a second: median "
        f"{digits(point['measured_p50_us'] / 1e3)} ms, p99 {digits(point['measured_p99_us'] / 1e3)} ms, "
        f"{count(int(point['measured_errors']), 'error')}.\n\n{table(rows)}"
    )


def method(results: Results) -> Iterable[str]:
    """How, where, and how much the figures varied."""
    raw, facts = results.raw, results.raw["machine"]
    places = [
        [run["cpu_us"] for run in runs] for runs in results.places.values() if all(run["requests"] for run in runs)
    ]
    spreads = [(max(cpu) - min(cpu)) / statistics.median(cpu) for cpu in places]
    others = [run["others"] for runs in results.places.values() for run in runs]
    yield (
        "The same numbers for all, as JSON: logits of float32, a mask that allows 80 % of the classes, a temperature a "
        "row. One process runs the head, ONNX Runtime has one thread, all processes of a server share one core."
    )
    yield (
        f"Each server alone answers {raw['checked']} requests of each kind at the same time, and every answer is "
        "compared with numpy in float64: the table has the largest absolute error. A server that is off by more than "
        "1e-6, or by anything for a masked class, is not measured. One that prints a float32 with all digits of its "
        "float64 may be nearer than one that prints the fewest that name it. Then memory is read, PSS of all processes."
    )
    yield (
        f"Then all are up, one is loaded for {raw['seconds']:g} s while the others are stopped, then the next, and in "
        "the other order in the next round. Each connection sends as soon as it has its answer, from "
        f"{raw['generator']} on the other core; for 64x1000 from a generator in Python that waits for the last answers."
    )
    yield (
        f"Between rounds the CPU time of a request varied by {statistics.median(spreads):.0%} of its median, by "
        f"{max(spreads):.0%} at most. Other processes took {statistics.median(others):.1%} of the servers' core, "
        f"{max(others):.0%} at most."
    )
    yield (
        f"{facts['machine']}, a machine that may be shared; {facts['pinned']}; load at the start "
        f"{facts['load at the start']}. Take the ratios, and measure your own."
    )
    yield f"{facts['Python']}, for all servers; commit {facts['commit']}."
    yield (
        "To repeat it: `make benchmark`, with `wrk` installed. It makes the environments from hash-pinned files in "
        "`requirements/`, starts what is in `tests/benchmarks/servers/`, and writes this page and its figures anew."
    )


def described(servers: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    """What each server is; versions where they are other ones than the last server's."""
    last: Mapping[str, str] = {}
    for name, facts in servers.items():
        versions = facts.get("versions", {})
        packages = ", ".join(f"{package} {number}" for package, number in versions.items())
        yield f"**{name}**: {facts['about']}." + (f" {packages}." if versions != last else "")
        last = versions


def bullets(lines: Iterable[str]) -> str:
    """A list."""
    return "\n".join(f"- {line}" for line in lines)


def table(rows: Sequence[Sequence[str]]) -> str:
    """In Markdown; the first row is the head, and numbers stand at the right."""
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "| --- |" + " --: |" * (len(rows[0]) - 1), *body])


def spelled(cell: str) -> str:
    """`1x10@16` for people."""
    shape, _, connections = cell.partition("@")
    return f"{shape}, {connections}" if connections else shape


def count(n: int, what: str) -> str:
    """`1 round`, `2 rounds`."""
    return f"{n} {what}{'' if n == 1 else 's'}"


def digits(number: float) -> str:
    """About three of them."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}" if number >= 10 else f"{number:.2f}"
