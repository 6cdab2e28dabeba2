"""Softmax and log-softmax, as nodes.

LogSoftmax is not used: in float64 ONNX Runtime answers finite garbage for a row with a NaN.
"""

from typing import NamedTuple

from onnx import TensorProto

from service.heads.graph import Dim, Graph, ints, scalar
from service.heads.masking import Shifted
from service.heads.nodes import mix_uniform
from service.heads.stages import Stages
from service.heads.width import Width


def append_outputs(graph: Graph, width: Width, n: Dim, shifted: Shifted, temperature: str, stages: Stages) -> None:
    """Append the outputs, from the shifted logits and `temperature` [n, 1]; for their shapes see `build.append`."""
    z = graph.add("Div", shifted.scores, temperature, name="z")
    sums = sum_exponentials(graph, shifted, temperature, z)

    # one division a row; 1/T the same way would be NaN where T is tiny, and of one row where it is the default
    share = graph.add("Reciprocal", sums.total, name="share")
    known = shifted.fitted
    mix = stages.laplace and known is None  # the top-label stage stands on the mix
    p = graph.add("Mul", sums.e, share, name="p_plain" if mix else "p")
    if mix:
        p = mix_uniform(graph, p, shifted.scores, stages.laplace)
    if known is not None:
        p = graph.add("Where", known.rows, known.p, p, name="p_known")
    width.output("probabilities", n, p)
    logs = ("Log", p) if mix else ("Sub", z, sums.log_total)
    width.output("log_probabilities", n, graph.add(*logs, name="log_p"))
    output_logsumexp(graph, n, sums)
    width.output("scores", n, shifted.scores, TensorProto.DOUBLE)


class Sums(NamedTuple):
    """Float64: exp(z) [n, k], its sum, the logarithm of that, and the logsumexp of the logits over T [n, 1]."""

    e: str
    total: str
    log_total: str
    logsumexp: str


def sum_exponentials(graph: Graph, shifted: Shifted, temperature: str, z: str) -> Sums:
    """Sum the exponentials of `z` [n, k], the shifted scores over the temperature."""
    last = graph.constant("last", ints(-1))
    e = graph.add("Exp", z, name="e")
    # the largest z is 0, so the sum is 1 or more: less is a row without an allowed class
    total = graph.add("ReduceSum", e, last, name="total", keepdims=1)
    total = graph.add("Max", total, graph.constant("one", scalar(1)), name="total_positive")
    # ReduceLogSum of one number is its logarithm; Log has the same packets as Exp, and [N, 1] is not even
    log_total = graph.add("ReduceLogSum", total, last, name="log_total", keepdims=1)
    highest_z = graph.add("Div", shifted.highest, temperature, name="highest_z")
    return Sums(e, total, log_total, graph.add("Add", highest_z, log_total, name="logsumexp_wide"))


def output_logsumexp(graph: Graph, n: Dim, sums: Sums) -> None:
    """Append the output `logsumexp`, which every family has."""
    graph.output("logsumexp", TensorProto.FLOAT, [n, 1], "Cast", sums.logsumexp, to=TensorProto.FLOAT)
