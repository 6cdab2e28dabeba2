"""Sigmoid, as nodes: each class on its own.

The operator Sigmoid is not used: in float64 ONNX Runtime answers 0 for -40, and below -36 hardly a digit is right.
"""

from onnx import TensorProto

from service.heads.graph import Dim, Graph, scalar
from service.heads.masking import Shifted
from service.heads.softmax import output_logsumexp, sum_exponentials
from service.heads.stages import Stages
from service.heads.width import Width


def append_outputs(graph: Graph, width: Width, n: Dim, shifted: Shifted, temperature: str, _: Stages) -> None:
    """Append the outputs; the scores are the calibrated logits themselves."""
    z = graph.add("Div", shifted.scores, temperature, name="z")
    zero, one = graph.constant("zero", scalar(0)), graph.constant("one", scalar(1))
    x = graph.add("Div", shifted.logits, temperature, name="x")
    below = graph.add("Less", x, zero, name="x_below")
    e = graph.add("Exp", graph.add("Neg", graph.add("Abs", x, name="x_size"), name="x_down"), name="x_e")
    whole = graph.add("Add", e, one, name="x_whole")
    part = graph.add("Where", below, e, one, name="x_part")
    width.output("probabilities", n, graph.add("Div", part, whole, name="p"))
    least = graph.add("Min", x, zero, name="x_least")
    log_p = graph.add("Sub", least, graph.add("Log", whole, name="log_whole"), name="log_p")
    width.output("log_probabilities", n, log_p)
    output_logsumexp(graph, n, sum_exponentials(graph, shifted, temperature, z))
    width.output("scores", n, shifted.logits, TensorProto.DOUBLE)
