"""Small classifiers such as users bring: each ends in logits [N, K]."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, helper, numpy_helper

Value = tuple[str, int, Sequence[str | int]]
"""Name, element type and shape of an input or output."""
RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(6, 3)).astype(np.float32)
BIAS = RNG.normal(size=3).astype(np.float32)
KERNEL = RNG.normal(size=(3, 1, 3, 3)).astype(np.float32)


def made(
    nodes: Sequence[NodeProto],
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    weights: Sequence[tuple[str, NDArray[Any]]] = (),
    opset: int = 18,
    ir_version: int = 8,
    others: Sequence[OperatorSetIdProto] = (),
) -> ModelProto:
    """A model; inputs and outputs are (name, type, shape), weights (name, array)."""
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info(*entry) for entry in inputs],
        [helper.make_tensor_value_info(*entry) for entry in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights],
    )
    opsets = [helper.make_opsetid("", opset), *others]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)


def linear(
    x: str = "x", y: str = "logits", n: int | str = "batch", k: int | str = 3, opset: int = 18, ir_version: int = 8
) -> ModelProto:
    """A Gemm: x float32 [n, 6] to logits [n, k]."""
    node = helper.make_node("Gemm", [x, "weights", "bias"], [y], name="gemm")
    weights = [("weights", WEIGHTS), ("bias", BIAS)]
    return made([node], [(x, 1, [n, 6])], [(y, 1, [n, k])], weights, opset, ir_version)


def of_type(type_: int) -> ModelProto:
    """The Gemm with its logits in another float type."""
    model = linear(y="wide")
    model.graph.node.append(helper.make_node("Cast", ["wide"], ["logits"], to=type_))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("logits", type_, ["batch", 3]))
    return model


def convolution() -> ModelProto:
    """An image [batch, 1, 4, 4] through a convolution and an average to logits [batch, 3]."""
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["features"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["features"], ["scores"]),
        helper.make_node("GlobalAveragePool", ["scores"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["logits"]),
    ]
    return made(nodes, [("image", 1, ["batch", 1, 4, 4])], [("logits", 1, ["batch", 3])], [("kernel", KERNEL)], 13)


def ending_in_softmax() -> ModelProto:
    """The Gemm, then `probabilities` and the best class; `wide` is what a head wants."""
    model = linear(y="wide")
    model.graph.node.append(helper.make_node("Softmax", ["wide"], ["probabilities"], axis=-1))
    model.graph.node.append(helper.make_node("ArgMax", ["probabilities"], ["best"], axis=-1, keepdims=0))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("probabilities", 1, ["batch", 3]))
    model.graph.output.append(helper.make_tensor_value_info("best", TensorProto.INT64, ["batch"]))
    return model


def from_sklearn() -> ModelProto:
    """A LinearClassifier of ai.onnx.ml: `label` int64 [batch] and `logits` float32 [batch, 3]."""
    node = helper.make_node(
        "LinearClassifier",
        ["x"],
        ["label", "logits"],
        domain="ai.onnx.ml",
        classlabels_ints=[0, 1, 2],
        coefficients=WEIGHTS.T.ravel().tolist(),
        intercepts=BIAS.tolist(),
        post_transform="NONE",
    )
    outputs: list[Value] = [("label", TensorProto.INT64, ["batch"]), ("logits", 1, ["batch", 3])]
    return made([node], [("x", 1, ["batch", 6])], outputs, opset=15, others=[helper.make_opsetid("ai.onnx.ml", 3)])


def branching() -> ModelProto:
    """Its branches read an outer weight called `scores`, a name that the head needs."""

    def branch(op: str) -> GraphProto:
        node = helper.make_node(op, ["wide", "scores"], [f"after_{op}"])
        return helper.make_graph([node], op, [], [helper.make_tensor_value_info(f"after_{op}", 1, ["batch", 3])])

    model = linear(y="wide")
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 2, 3], np.float32), "scores"))
    model.graph.input.append(helper.make_tensor_value_info("doubled", TensorProto.BOOL, []))
    choice = helper.make_node("If", ["doubled"], ["logits"], then_branch=branch("Mul"), else_branch=branch("Add"))
    model.graph.node.append(choice)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("logits", 1, ["batch", 3]))
    return model
