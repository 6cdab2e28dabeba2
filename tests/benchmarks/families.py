"""Microseconds of one run of a head of each family, beside numpy, torch and the entmax package where they are there.

Rounds are interleaved, the order turned around every round, and each round draws its logits anew, from a normal
distribution; nothing is masked, T is 1, one thread. Nothing that answers something else than the head is timed.
"""

import statistics
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from service.engine.head import Head
from service.families import find_family
from service.families.outputs import graph_bits
from service.heads.build import build
from service.heads.members import Members
from service.heads.publish import write
from service.heads.stages import Stages
from service.metadata import Metadata
from tests.benchmarks import graphs, peers
from tests.benchmarks.graphs import N_MEMBERS
from tests.benchmarks.micro import SHAPES, calls_within, seconds_of, spoken
from tests.benchmarks.options import Options, console
from tests.benchmarks.peers import Call, Way
from tests.benchmarks.work import WrongAnswer

TOLERANCE: Final = 1e-5  # torch and the entmax package answer in float32, and bisect to a few 1e-6
SCALES: Final = (1.0, 5.0, 0.05)  # all classes within T of the best at the last, which is the worst for a sparse head
SPARSE: Final = ("sparsemax", "entmax15")
HEADS: Final[dict[str, Stages]] = {
    **{name: Stages(family=find_family(name)) for name in ("softmax", "sigmoid", *SPARSE)},
    "entmax 1.25": Stages(family=find_family("entmax", 1.25)),
    "entmax 1.75": Stages(family=find_family("entmax", 1.75)),
    "ensemble, mean of logits": Stages(members=Members("logits")),
    "ensemble, mean of p": Stages(members=Members("probabilities")),
}


class Contest(NamedTuple):
    """Who computes the same.

    Attributes:
        family: what is computed.
        scale: of the logits.
        ways: each by name; the first is the head.
    """

    family: str
    scale: float
    ways: dict[str, Way]

    def draw(self, n: int, k: int, number: int) -> NDArray[np.float32]:
        """The logits of a round: `[n, k]`, of an ensemble `[n, N_MEMBERS, k]`."""
        lead = (n, N_MEMBERS) if self.family.startswith("ensemble") else (n,)
        return (self.scale * np.random.default_rng([k, number]).standard_normal((*lead, k))).astype(np.float32)

    def calls(self, logits: NDArray[np.float32]) -> list[Call]:
        """A call for each way, whose answers are the same.

        Raises:
            WrongAnswer: they are not.
        """
        calls = [way(logits) for way in self.ways.values()]
        first, *others = map(probabilities, calls)
        for name, p in zip(list(self.ways)[1:], others, strict=True):
            if not np.allclose(p, first, rtol=0, atol=TOLERANCE):
                raise WrongAnswer(
                    f"{name} of {self.family} is off by {np.abs(p - first).max():.1e}; expected the head's"
                )
        return calls

    def seconds(self, n: int, k: int, rounds: int, budget_s: float) -> list[list[float]]:
        """Seconds of CPU of one call: a list a way, a number a round."""
        counts = [calls_within(call, budget_s) for call in self.calls(self.draw(n, k, 0))]
        seconds: list[list[float]] = [[] for _ in counts]
        for number in range(rounds):
            calls = self.calls(self.draw(n, k, number))
            for i in range(len(calls))[:: -1 if number % 2 else 1]:
                seconds[i].append(seconds_of(calls[i], counts[i]) / counts[i])
        return seconds


def probabilities(call: Call) -> NDArray[Any]:
    """What a call answers; a head does so by name."""
    answer = call()
    return np.asarray(answer["probabilities"] if isinstance(answer, dict) else answer)


def run(options: Options) -> dict[str, Any]:
    """Measure all shapes, and print."""
    if absent := [name for name in ("torch", "entmax") if find_spec(name) is None]:
        console.print(f"[yellow]Nothing is timed beside {' and '.join(absent)}: pip install torch entmax[/yellow]")
    lines: list[dict[str, Any]] = []
    with TemporaryDirectory() as folder:
        for contest in contests(Path(folder)):
            new = [{"family": contest.family, "scale": contest.scale, "by": name} for name in contest.ways]
            figures: list[dict[str, dict[str, float]]] = [{"us": {}, "to_head": {}} for _ in new]
            for n, k in SHAPES:
                seconds = contest.seconds(n, k, options.rounds, options.seconds / 40)
                for figure, some in zip(figures, seconds, strict=True):
                    figure["us"][f"{n}x{k}"] = 1e6 * statistics.median(some)
                    ratios = [one / head for one, head in zip(some, seconds[0], strict=True)]
                    figure["to_head"][f"{n}x{k}"] = statistics.median(ratios)
            lines += [line | figure for line, figure in zip(new, figures, strict=True)]
    console.print(table(lines))
    console.print(graphs.table(whole := graphs.measure(HEADS, options)))
    return {"runs": lines, "graphs": whole}


def table(lines: list[dict[str, Any]]) -> Table:
    """The lines, for the terminal."""
    drawn = Table(title="One run, microseconds of CPU (to the head's)", title_justify="left", caption_justify="left")
    for title in ("family", "by"):
        drawn.add_column(title)
    for shape in lines[0]["us"]:
        drawn.add_column(shape, justify="right")
    for line in lines:
        head = line["by"] == "head"
        if head:
            drawn.add_section()
        family = line["family"] if line["scale"] == 1 else f"{line['family']}, scale {line['scale']:g}"
        cells = [
            spoken(us) + ("" if head else f" ({to_head:.2f})")
            for us, to_head in zip(line["us"].values(), line["to_head"].values(), strict=True)
        ]
        drawn.add_row(family if head else "", line["by"], *cells)
    drawn.caption = (
        f"medians; logits of scale 1 unless another is named; an ensemble has {N_MEMBERS} members\n"
        "for more than its probabilities a head computes all other outputs; logsumexp only where it is a softmax"
    )
    return drawn


def contests(folder: Path) -> Iterator[Contest]:
    """The heads, for any number of classes, and who else computes the same."""
    for i, (family, stages) in enumerate(HEADS.items()):
        head = Head(write(build(stages, None, Metadata(classes=None)), folder / f"{i}.onnx"))
        extra = "log_probabilities" if stages.members is None else "mutual_information"
        ways = {
            "head": with_head(head, "probabilities"),
            f"head, with {extra}": with_head(head, "probabilities", extra),
        }
        for scale in SCALES if family in SPARSE else SCALES[:1]:
            yield Contest(family, scale, ways | peers.ways(family))


def with_head(head: Head, *outputs: str) -> Way:
    bits = graph_bits(outputs, head.signature.family, head.signature.averages)
    return lambda logits: partial(head.run, {"logits": logits}, bits)
