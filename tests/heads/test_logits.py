"""Where nodes say that the logits are."""

from collections.abc import Sequence

import numpy as np
import pytest
from onnx import NodeProto, helper

from service.heads.logits import guess_logits
from tests.heads import classifiers

make = helper.make_node
SOFTMAX = [make("Softmax", ["z"], ["p"])]
SPELT_OUT = [
    make("ReduceMax", ["z"], ["most"], axes=[1]),
    make("Sub", ["z", "most"], ["less"]),
    make("Exp", ["less"], ["e"]),
    make("ReduceSum", ["e", "axes"], ["sum"]),
    make("Div", ["e", "sum"], ["p"]),
]
SIMPLY = [make("Exp", ["z"], ["e"]), make("ReduceSum", ["e", "axes"], ["sum"]), make("Div", ["e", "sum"], ["p"])]
TIMES = [*SIMPLY[:2], make("Reciprocal", ["sum"], ["share"]), make("Mul", ["e", "share"], ["p"])]
LOGS = [make("ReduceLogSumExp", ["z"], ["sum"]), make("Sub", ["z", "sum"], ["p"])]
LOGS_TWICE = [
    make("Sub", ["z", "most"], ["less"]),
    make("Exp", ["less"], ["e"]),
    make("ReduceSum", ["e", "axes"], ["sum"]),
    make("Log", ["sum"], ["log"]),
    make("Sub", ["less", "log"], ["p"]),
]
SIGMOID = [make("Neg", ["z"], ["minus"]), make("Exp", ["minus"], ["e"]), make("Add", ["one", "e"], ["more"])]
CASES = {
    "softmax": (SOFTMAX, "softmax"),
    "log-softmax": ([make("LogSoftmax", ["z"], ["p"])], "softmax"),
    "exp of a log-softmax": ([make("LogSoftmax", ["z"], ["log"]), make("Exp", ["log"], ["p"])], "softmax"),
    "log of a softmax": ([make("Softmax", ["z"], ["q"]), make("Log", ["q"], ["p"])], "softmax"),
    "spelt out": (SPELT_OUT, "softmax"),
    "without the maximum": (SIMPLY, "softmax"),
    "by a reciprocal": (TIMES, "softmax"),
    "logarithms": (LOGS, "softmax"),
    "logarithms less the maximum": (LOGS_TWICE, "softmax"),
    "sigmoid": ([make("Sigmoid", ["z"], ["p"])], "sigmoid"),
    "sigmoid as a quotient": ([*SIGMOID, make("Div", ["one", "more"], ["p"])], "sigmoid"),
    "sigmoid as a reciprocal": ([*SIGMOID, make("Reciprocal", ["more"], ["p"])], "sigmoid"),
}
PASSING = [make("Cast", ["p"], ["p1"], to=1), make("Reshape", ["p1", "shape"], ["p2"]), make("Flatten", ["p2"], ["y"])]


@pytest.mark.parametrize("behind", [[make("Identity", ["p"], ["y"])], PASSING], ids=["alone", "behind others"])
@pytest.mark.parametrize(("nodes", "link"), CASES.values(), ids=CASES)
def test_the_logits_are_the_first_guess(nodes: Sequence[NodeProto], link: str, behind: Sequence[NodeProto]) -> None:
    model = classifiers.made([*nodes, *behind], [("z", 1, ["n", 3])], [("y", 1, ["n", 3])])
    assert guess_logits(model.graph, "y")[0] == ("z", link)


@pytest.mark.parametrize("op", ["Relu", "Gemm", "Concat", "Normalizer", "ReduceSum"])
def test_no_guess_is_made_where_no_node_tells(op: str) -> None:
    model = classifiers.made([make(op, ["z"], ["y"])], [("z", 1, ["n", 3])], [("y", 1, ["n", 3])])
    assert guess_logits(model.graph, "y") == []


def test_a_chain_of_nodes_is_not_followed_for_ever() -> None:
    chain = [make("Identity", [f"t{i}"], [f"t{i + 1}"]) for i in range(200)]
    model = classifiers.made(chain, [("t0", 1, ["n", 3])], [("t200", 1, ["n", 3])])
    assert guess_logits(model.graph, "t200") == []
    assert np.all([node.op_type == "Identity" for node in model.graph.node])
