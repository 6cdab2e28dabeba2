"""Sparsemax, as nodes: the best `FEW` classes tell the threshold, and Newton's steps where more can be in the support.

No If: it reads tensors from outside without naming them as inputs, and a graph that is cut would lose them. The Loop's
body reads x alone, which the probabilities read as well.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from onnx import TensorProto, helper

from service.heads.graph import Dim, Graph, ints, scalar
from service.heads.masking import Shifted
from service.heads.softmax import output_logsumexp, sum_exponentials
from service.heads.stages import Stages
from service.heads.width import Width

FEW: Final = 16
MOST_STEPS: Final = 100
CLOSE: Final = 1e-13
"""A sum this near to 1 is right: a row that the best classes solved is within it, and stays as it is in any batch."""


class Terms(NamedTuple):
    """What Newton's steps add up, of r = max(x - tau, 0).

    power: q, of the terms r^q whose sum shall be 1.
    append: appends to the body of the loop r^q and r^(q-1), of r [n, k]; what is outside the support is 0 in both.
    """

    power: float
    append: Callable[[Graph, str], tuple[str, str]]


class Best(NamedTuple):
    """Tensors of the best classes, best first: s and their ranks, float64 [n, few] and [few]; few itself, int64 [1]."""

    s: str
    ranks: str
    n: str


def append_outputs(graph: Graph, width: Width, n: Dim, shifted: Shifted, temperature: str, _: Stages) -> None:
    """Append the outputs, from the shifted logits and `temperature` [n, 1]; for their shapes see `build.append`."""
    x = graph.add("Div", shifted.scores, temperature, name="z")
    best = append_best(graph, x)
    one, least = graph.constant("one", scalar(1)), graph.constant("least", scalar(-1))
    total = graph.add("CumSum", best.s, graph.constant("axis", np.asarray(1, np.int64)), name="best_sums")
    t = graph.add("Div", graph.add("Sub", total, one, name="best_over"), best.ranks, name="best_t")
    above = graph.add("Greater", best.s, least, name="best_above")
    first = graph.add("Where", above, t, least, name="best_tau")

    def terms(body: Graph, r: str) -> tuple[str, str]:
        count = body.add(
            "Cast",
            body.add("Greater", r, graph.constant("zero", scalar(0)), name="in"),
            name="in_ones",
            to=TensorProto.DOUBLE,
        )
        return r, count

    tau = append_threshold(graph, n, x, best, first, Terms(1, terms))
    r = graph.add("Sub", x, tau, name="over")
    append_sparse(
        graph, width, n, graph.add("Max", r, graph.constant("zero", scalar(0)), name="p"), shifted, temperature, x
    )


def append_best(graph: Graph, x: str) -> Best:
    """The best `FEW` classes of each row, or all where there are fewer."""
    last = graph.add("Shape", x, name="x_width", start=-1)
    few = graph.add("Min", last, graph.constant("few", ints(FEW)), name="n_best")
    s, _ = graph.add_all("TopK", x, few, names=("best", "best_classes"), axis=-1, largest=1, sorted=1)
    ranks = graph.constant("every_rank", np.arange(1, FEW + 1, dtype=np.float64))
    start = graph.constant("start", ints(0))
    return Best(s, graph.add("Slice", ranks, start, few, start, name="ranks"), few)


def append_threshold(graph: Graph, n: Dim, x: str, best: Best, first: str, terms: Terms) -> str:
    """tau [n, 1]: the largest of `first` [n, few] or [n, 1], or by Newton's steps, where all the best exceed it."""
    last = graph.constant("last", ints(-1))
    tau = graph.add("ReduceMax", first, last, name="tau_first", keepdims=1)
    # of fewer than `FEW` classes there are no others; of exactly so many in the support a step finds nothing to do
    exceeding = graph.add(
        "Cast", graph.add("Greater", best.s, tau, name="exceeding"), name="exceeding_ones", to=TensorProto.DOUBLE
    )
    count = graph.add("ReduceSum", exceeding, last, name="n_exceeding", keepdims=1)
    most = graph.add("ReduceMax", count, name="most_exceeding", keepdims=0)
    more = graph.add("Equal", most, graph.constant("n_few", scalar(FEW)), name="more")
    return append_loop(graph, n, x, tau, more, terms)


def append_loop(
    graph: Graph,
    n: Dim,
    x: str,
    tau: str,
    more: str,
    terms: Terms,
    name: str = "tau",
) -> str:
    """Newton's steps from the left of a convex falling function, which never overshoot; none unless `more`."""
    body = Graph(f"{graph.prefix}{name}_step/")
    last, zero = graph.constant("last", ints(-1)), graph.constant("zero", scalar(0))
    before = f"{body.prefix}tau"
    r = body.add("Max", body.add("Sub", x, before, name="x_over"), zero, name="r")
    powers, slopes = terms.append(body, r)
    total = body.add("ReduceSum", powers, last, name="sum", keepdims=1)
    slope = body.add("ReduceSum", slopes, last, name="slope", keepdims=1)
    far = body.add("Greater", total, graph.constant("close", scalar(1 + CLOSE)), name="far")
    over = body.add("Sub", total, append_target(graph, body, total, terms.power), name="excess")
    moved = body.add("Add", before, body.add("Div", over, slope, name="move"), name="moved")
    after = body.add("Where", far, moved, before, name="tau_after")
    any_far = body.add(
        "ReduceMax", body.add("Cast", far, name="far_ones", to=TensorProto.DOUBLE), name="any_far", keepdims=0
    )
    again = body.add("Greater", any_far, zero, name="again")
    names = [f"{body.prefix}{part}" for part in ("step", "before", "tau")]
    types: tuple[tuple[int, list[Dim]], ...] = (
        (TensorProto.INT64, []),
        (TensorProto.BOOL, []),
        (TensorProto.DOUBLE, [n, 1]),
    )
    body.inputs = [helper.make_tensor_value_info(part, *type_) for part, type_ in zip(names, types, strict=True)]
    body.outputs = [
        helper.make_tensor_value_info(again, TensorProto.BOOL, []),
        helper.make_tensor_value_info(after, TensorProto.DOUBLE, [n, 1]),
    ]
    most = graph.constant("most_steps", np.asarray(MOST_STEPS, np.int64))
    return graph.add("Loop", most, more, tau, name=name, body=body.finish("newton"))


def append_target(graph: Graph, body: Graph, total: str, power: float) -> str:
    """What a step takes off the sum S of r^q before it divides by that of r^(q-1): S^(1-1/q), which is 1 for q = 1.

    That is Newton's step for the q-norm of r: as convex in tau as S, but nearly a line, so that fewer steps get there.
    """
    if power == 1:
        return graph.constant("one", scalar(1))
    if power == 2:
        return body.add("Sqrt", total, name="target")
    return body.add("Pow", total, graph.constant("target_power", scalar(1 - 1 / power)), name="target")


def append_sparse(graph: Graph, width: Width, n: Dim, p: str, shifted: Shifted, temperature: str, z: str) -> None:
    """Append the outputs of a sparse family, from its probabilities `p` and the scores over T `z`, [n, k]."""
    width.output("probabilities", n, p)
    width.output("log_probabilities", n, graph.add("Log", p, name="log_p"))
    output_logsumexp(graph, n, sum_exponentials(graph, shifted, temperature, z))
    width.output("scores", n, shifted.scores, TensorProto.DOUBLE)
