"""The top-label stage as nodes, behind the mask.

It sums exponentials of all classes, and so does the softmax behind it. At the fitted temperature, which is that of most
rows, the first do for both: Exp is a third of a run.
"""

from typing import Final, NamedTuple

import numpy as np

from service.heads.graph import Graph, ints, scalar
from service.heads.masking import Fitted
from service.heads.nodes import mix_uniform
from service.heads.stages import Stages
from service.heads.top import MARGIN, TopLabel

# Outputs of nodes, and which input each of them equals: at the fitted temperature.
FITTED: Final = {"p_known": 1}
EXPONENT: Final = 700.0
"""exp of this is a float64, its inverse is 0 in float32."""


class Others(NamedTuple):
    """Float64: the classes but the best, against the second best.

    e: [n, k], how likely each is, 1 for the second, 0 for the best.
    d: [n, k], the logarithm of e.
    total: [n, 1], the sum of e; 0 where no other class is left.
    log_total: [n, 1], its logarithm.
    rest: [n, 1], log-odds of all of them against the best.
    """

    e: str
    d: str
    total: str
    log_total: str
    rest: str


def apply_top(graph: Graph, scores: str, stages: Stages, factor: str | None, temperature: str) -> tuple[str, Fitted]:
    """The scores behind the stage, float64 [n, k]: softmax(scores / T) answers at the fitted T; and that answer.

    `factor` [n, 1] is that of the row's group, `temperature` [n, 1] the row's without it. The stage, and the Laplace
    mix below it, see what the fit has seen; a temperature that a request brings divides what comes out of them, so that
    it softens and never ranks anew.
    """
    assert stages.top is not None  # noqa: S101 - who calls has looked
    default = graph.constant("top_temperature", scalar(stages.temperature))
    z = scores
    if stages.temperature != 1:
        z = graph.add("Mul", z, graph.constant("top_beta", scalar(1 / stages.temperature)), name="top_z")
    if factor is not None:
        z = graph.add("Div", z, factor, name="top_z_of_group")
    # of equals the first; 0, and -inf in a row without an allowed class
    one = graph.constant("top_count", ints(1))
    highest, top = graph.add_all("TopK", scores, one, names=("top_score", "top"), axis=-1, largest=1, sorted=1)
    others = (
        mixed_others(graph, z, scores, stages.laplace, top) if stages.laplace else plain_others(graph, z, highest, top)
    )
    # how far the best is above the second afterwards
    gap = graph.add("Add", top_line(graph, others.rest, stages.top), others.log_total, name="top_gap")
    fitted = Fitted(
        graph.add("Equal", temperature, default, name="top_is_fitted"), top_softmax(graph, others, gap, highest, top)
    )
    gap = graph.add("Max", gap, graph.constant("top_margin", scalar(MARGIN)), name="top_gap_kept")
    z = graph.add("Sub", others.d, gap, name="top_lower")
    z = graph.add("ScatterElements", z, top, highest, name="top_z_after", axis=1)
    if stages.temperature != 1:
        z = graph.add("Mul", z, default, name="top_scores")
    if factor is not None:
        z = graph.add("Mul", z, factor, name="top_scores_of_group")
    return z, fitted


def top_softmax(graph: Graph, others: Others, gap: str, highest: str, top: str) -> str:
    """The probabilities at the fitted temperature, without one more exponential of every class."""
    bounds = graph.constant("top_margin", scalar(MARGIN)), graph.constant("top_bound", scalar(EXPONENT))
    gap = graph.add("Clip", gap, *bounds, name="top_gap_clipped")
    # Pow takes number by number, and so the same of one row and of many: Exp of [n, 1] does not
    best = graph.add("Pow", graph.constant("top_e", scalar(np.e)), gap, name="top_best_e")
    total = graph.add("Add", best, others.total, name="top_all")
    # infinite in a row without an allowed class: zeros
    second = graph.add("Reciprocal", graph.add("Sub", total, highest, name="top_all_or_none"), name="top_second_p")
    lower, first = (graph.add("Mul", e, second, name=f"top_{n}_p") for n, e in (("lower", others.e), ("best", best)))
    return graph.add("ScatterElements", lower, top, first, name="top_p", axis=1)


def plain_others(graph: Graph, z: str, highest: str, top: str) -> Others:
    """Of `z` [n, k], whose largest is 0."""
    last, lowest = graph.constant("last", ints(-1)), graph.constant("lowest", scalar(np.finfo(np.float64).min))
    gone = graph.add("Sub", highest, graph.constant("infinity", scalar(np.inf)), name="top_gone")
    others = graph.add("ScatterElements", z, top, gone, name="top_others", axis=1)
    second = graph.add("ReduceMax", others, last, name="top_second", keepdims=1)
    second = graph.add("Max", second, lowest, name="top_second_finite")
    d = graph.add("Sub", others, second, name="top_d")
    e = graph.add("Exp", d, name="top_others_e")
    total, log_total = sum_others(graph, e)
    return Others(e, d, total, log_total, graph.add("Add", second, log_total, name="top_rest"))


def mixed_others(graph: Graph, z: str, scores: str, weight: float, top: str) -> Others:
    """Of the probabilities of `z` [n, k] with the Laplace mix, none of which is as low as the bound here."""
    last, lowest = graph.constant("last", ints(-1)), graph.constant("top_tiny", scalar(np.finfo(np.float64).tiny))
    e = graph.add("Exp", z, name="below_e")
    total = graph.add("ReduceSum", e, last, name="below_total", keepdims=1)
    total = graph.add("Max", total, graph.constant("one", scalar(1)), name="below_total_positive")
    p = mix_uniform(graph, graph.add("Div", e, total, name="below_p"), scores, weight, "below_mixed")
    first = graph.add("GatherElements", p, top, name="top_first", axis=1)
    gone = graph.add("Sub", first, first, name="top_gone")
    others = graph.add("ScatterElements", p, top, gone, name="top_others", axis=1)
    second = graph.add("ReduceMax", others, last, name="top_second", keepdims=1)
    second = graph.add("Max", second, lowest, name="top_second_positive")
    e = graph.add("Div", others, second, name="top_others_e")
    total, log_total = sum_others(graph, e)
    ratio = graph.add("Div", graph.add("Max", first, lowest, name="top_first_positive"), second, name="top_ratio")
    log_ratio = graph.add("ReduceLogSum", ratio, last, name="top_log_ratio", keepdims=1)
    rest = graph.add("Sub", log_total, log_ratio, name="top_rest")
    return Others(e, graph.add("Log", e, name="top_d"), total, log_total, rest)


def sum_others(graph: Graph, e: str) -> tuple[str, str]:
    """The sum of `e` [n, k], and its logarithm: ReduceLogSum of one number, the same in any batch."""
    last = graph.constant("last", ints(-1))
    total = graph.add("ReduceSum", e, last, name="top_total", keepdims=1)
    return total, graph.add("ReduceLogSum", total, last, name="top_log_total", keepdims=1)


def top_line(graph: Graph, rest: str, stage: TopLabel) -> str:
    """f of the log-odds -`rest` [n, 1]: four pieces, one of them the offset, all with the sign of `rest`."""
    lower, upper, weights = stage.pieces
    pieces = graph.add("Max", rest, graph.constant("top_lowest", -upper[None]), name="top_least")
    pieces = graph.add("Min", pieces, graph.constant("top_highest", -lower[None]), name="top_pieces")
    return graph.add("MatMul", pieces, graph.constant("top_weights", -weights[:, None]), name="top_line")
