"""The graph of each family as a ratio to that of the softmax, beside what it took when it was designed.

Whole graphs with their mask, cut to the outputs that are named: what a service runs is shorter, and can be compared
with nothing else. One base for all, as a ratio to a graph's own twin gets worse where the twin gets better.
"""

import statistics
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import numpy as np
from rich.table import Table

from service.engine.session import InferenceSession, open_session
from service.heads import surgery
from service.heads.build import build, copy_graph
from service.heads.stages import Stages
from service.metadata import Metadata
from tests.benchmarks.micro import SHAPES, calls_within, seconds_of
from tests.benchmarks.options import Options
from tests.benchmarks.peers import Call
from tests.benchmarks.processes import ROOT

N_MEMBERS: Final = 5
LEEWAY: Final = 1.15
LOG: Final = "log_probabilities"
INFORMATION: Final = "mutual_information"
# Microseconds of CPU of one run at SHAPES, on another machine, by ONNX Runtime 1.32 on one thread: of probabilities
# alone, and with a further output. Logits are normal, of scale 1.
DESIGNED: Final[dict[str, dict[str, tuple[float, ...]]]] = {
    "softmax": {"": (6.8, 10.9, 277, 213), LOG: (7.9, 12.3, 294, 228)},
    "sigmoid": {"": (6.9, 12.2, 523, 386), LOG: (8.3, 17.4, 791, 604)},
    "sparsemax": {"": (10.3, 15.4, 221, 123), LOG: (12.5, 22.0, 505, 312)},
    "entmax15": {"": (12.5, 42, 572, 388), LOG: (14.6, 51, 872, 576)},
    "entmax 1.25": {"": (39, 74, 3854, 2120)},
    "entmax 1.75": {"": (34, 20, 1594, 335)},  # 20 is of one draw, with few classes above 0
    "ensemble, mean of logits": {"": (10.1, 22, 632, 661), INFORMATION: (18.8, 60, 2741, 2303)},
    "ensemble, mean of p": {"": (15.5, 65, 3166, 2691), INFORMATION: (21.0, 83, 4367, 3528)},
}

Line = dict[str, Any]


def measure(heads: Mapping[str, Stages], options: Options) -> list[Line]:
    """A line for each graph: its ratios by shape, `to_softmax`, and those that it was designed with, `designed`."""
    designed = {(family, extra): us for family, all_us in DESIGNED.items() for extra, us in all_us.items()}
    sessions = {(family, extra): open_cut(heads[family], extra) for family, extra in designed}
    lines: list[Line] = [
        {
            "family": family,
            "with": extra,
            "to_softmax": {},
            "designed": dict(zip(map(spelled, SHAPES), np.divide(us, DESIGNED["softmax"][""]).tolist(), strict=True)),
        }
        for (family, extra), us in designed.items()
    ]
    for n, k in SHAPES:
        counts = [calls_within(call, options.seconds / 40) for call in draw(sessions, n, k, 0)]
        ratios = [ratios_of(draw(sessions, n, k, i), counts, i) for i in range(options.rounds)]
        for line, some in zip(lines, zip(*ratios, strict=True), strict=True):
            line["to_softmax"][spelled((n, k))] = statistics.median(some)
    return lines


def spelled(shape: tuple[int, int]) -> str:
    return f"{shape[0]}x{shape[1]}"


def open_cut(stages: Stages, extra: str) -> InferenceSession:
    """A session of the graph for any number of classes, cut to `probabilities` and, where it is named, `extra`."""
    model = copy_graph(build(stages, None, Metadata(classes=None)))
    surgery.keep_outputs(model.graph, {"probabilities", extra})
    return open_session(ROOT, model.SerializeToString(), "cpu", 1)


def draw(sessions: Mapping[tuple[str, str], InferenceSession], n: int, k: int, number: int) -> list[Call]:
    """A call of each session, all on the same logits; an ensemble has more of them."""
    members = np.random.default_rng([n, k, number]).standard_normal((n, N_MEMBERS, k)).astype(np.float32)
    rows = np.ascontiguousarray(members[:, 0])
    return [
        partial(session.run, None, {"logits": members if family.startswith("ensemble") else rows})
        for (family, _), session in sessions.items()
    ]


def ratios_of(calls: list[Call], counts: list[int], number: int) -> list[float]:
    """The seconds of each to the first's, the softmax's, in one round; the order turns around every round."""
    seconds = [0.0] * len(calls)
    for i in range(len(calls))[:: -1 if number % 2 else 1]:
        seconds[i] = seconds_of(calls[i], counts[i]) / counts[i]
    return [each / seconds[0] for each in seconds]


def table(lines: list[Line]) -> Table:
    """The lines, for the terminal."""
    drawn = Table(title="The whole graph, to the softmax's (as designed)", title_justify="left", caption_justify="left")
    for title in ("family", "probabilities"):
        drawn.add_column(title)
    for shape in lines[0]["designed"]:
        drawn.add_column(shape, justify="right")
    for line in lines:
        cells = [
            f"{'[red]' if is_slow(ratio, aim) else '[green]'}{ratio:.2f}[/] ({aim:.2f})"
            for ratio, aim in zip(line["to_softmax"].values(), line["designed"].values(), strict=True)
        ]
        drawn.add_row(line["family"], line["with"] and f"and {line['with']}", *cells)
    drawn.caption = f"medians of ratios; red is more than {LEEWAY:g} times what it was designed with"
    return drawn


def is_slow(ratio: float, designed: float) -> bool:
    return ratio > LEEWAY * designed
