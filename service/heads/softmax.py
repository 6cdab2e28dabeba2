"""Softmax and log-softmax, as nodes.

LogSoftmax is not used: in float64 ONNX Runtime answers finite garbage for a row with a NaN.
"""

from onnx import TensorProto

from service.heads.graph import Dim, Graph, ints, scalar
from service.heads.masking import Shifted
from service.heads.nodes import mix_uniform
from service.heads.stages import Stages
from service.heads.width import Width


def append_outputs(graph: Graph, width: Width, n: Dim, shifted: Shifted, temperature: str, stages: Stages) -> None:
    """Append the outputs, from the shifted logits and `temperature` [n, 1]; for their shapes see `build.append`."""
    last = graph.constant("last", ints(-1))
    z = graph.add("Div", shifted.scores, temperature, name="z")
    e = graph.add("Exp", z, name="e")
    # the largest z is 0, so the sum is 1 or more: less is a row without an allowed class
    total = graph.add("ReduceSum", e, last, name="total", keepdims=1)
    total = graph.add("Max", total, graph.constant("one", scalar(1)), name="total_positive")
    # ReduceLogSum of one number is its logarithm; Log has the same packets as Exp, and [N, 1] is not even
    log_total = graph.add("ReduceLogSum", total, last, name="log_total", keepdims=1)
    highest_z = graph.add("Div", shifted.highest, temperature, name="highest_z")
    logsumexp = graph.add("Add", highest_z, log_total, name="logsumexp_wide")

    # one division a row; 1/T the same way would be NaN where T is tiny, and of one row where it is the default
    share = graph.add("Reciprocal", total, name="share")
    mix = stages.laplace and stages.top is None  # the top-label stage stands on the mix
    p = graph.add("Mul", e, share, name="p_plain" if mix else "p")
    if mix:
        p = mix_uniform(graph, p, shifted.scores, stages.laplace)
    width.output("probabilities", n, p)
    logs = ("Log", p) if mix else ("Sub", z, log_total)
    width.output("log_probabilities", n, graph.add(*logs, name="log_p"))
    graph.output("logsumexp", TensorProto.FLOAT, [n, 1], "Cast", logsumexp, to=TensorProto.FLOAT)
    width.output("scores", n, shifted.scores, TensorProto.DOUBLE)
