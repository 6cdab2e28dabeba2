"""A centred affine calibrator disappears into the linear layer before it: W' = A C W, b' = A C b + bias.

C = I - 11'/K takes the mean away. What cannot be folded stays in the head: a fit on log-probabilities, one that masks
first, a classifier that does not end in a linear layer with float32 or float64 weights of its own.
"""

from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from service.heads.stages import Stages

FOLDED: Final = "calibrant_folded"


class Linear(NamedTuple):
    """The last layer: the node that makes the logits, and its weights [K, D] and bias [K] in float64."""

    node: NodeProto
    weights: NDArray[np.float64]
    bias: NDArray[np.float64]
    dtype: np.dtype[Any]


def fold(model: ModelProto, output: str, stages: Stages) -> Stages:
    """Change the last layer of `model`, which makes `output`, and return the stages that remain.

    The same stages come back where they cannot be folded; then the model is as it was.
    """
    matrix = stages.matrix
    if matrix is None and stages.scale is not None:
        matrix = np.diag(stages.vector("scale"))
    if matrix is None or stages.log_input is not None or stages.masks_first:
        return stages
    linear = last_layer(model.graph, output)
    if linear is None or len(linear.weights) != len(matrix):
        return stages
    whole = matrix - matrix.mean(axis=1, keepdims=True)  # A C
    bias = whole @ linear.bias + (0 if stages.bias is None else stages.vector("bias"))
    put(model.graph, linear, whole @ linear.weights, bias)
    return replace(stages, bias=None, scale=None, matrix=None)


def last_layer(graph: GraphProto, output: str) -> Linear | None:
    """The Gemm, or the MatMul with or without an Add behind it, that makes `output`."""
    made = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    node = made.get(output)
    given = {entry.name for entry in graph.input}

    def constant(name: str) -> NDArray[Any] | None:
        if name not in constants or name in given:
            return None
        values = numpy_helper.to_array(constants[name])
        return values if values.dtype in (np.float32, np.float64) else None

    if node is None:
        return None
    bias: NDArray[Any] | None = np.zeros(1)
    last = node
    if node.op_type == "Add":
        before, bias = next(((one, constant(two)) for one, two in pairs(node) if one in made), ("", None))
        node = made.get(before, node)
    if node.op_type == "Gemm" and len(node.input) == 3:
        bias = None if last is not node else constant(node.input[2])
    weights = constant(node.input[1]) if node.op_type in ("Gemm", "MatMul") else None
    settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    plain = settings.get("alpha", 1) == 1 and settings.get("beta", 1) == 1 and not settings.get("transA", 0)
    if weights is None or bias is None or weights.ndim != 2 or not plain:
        return None
    weights = weights if settings.get("transB", 0) else weights.T
    if bias.size not in (1, len(weights)):
        return None
    spread = np.broadcast_to(bias.reshape(-1), len(weights))
    first = helper.make_node("Gemm", [node.input[0], "", ""], [output], name=last.name or FOLDED, transB=1)
    return Linear(first, weights.astype(np.float64), spread.astype(np.float64), weights.dtype)


def pairs(node: NodeProto) -> tuple[tuple[str, str], tuple[str, str]]:
    """The two inputs of a node, either way round."""
    return (node.input[0], node.input[1]), (node.input[1], node.input[0])


def put(graph: GraphProto, linear: Linear, weights: NDArray[np.float64], bias: NDArray[np.float64]) -> None:
    """One Gemm in the place of the last layer; what is no longer needed is left to `surgery`."""
    names = f"{FOLDED}_weights", f"{FOLDED}_bias"
    for name, values in zip(names, (weights, bias), strict=True):
        graph.initializer.append(numpy_helper.from_array(values.astype(linear.dtype), name))
    linear.node.input[1], linear.node.input[2] = names
    at = next(i for i, node in enumerate(graph.node) if linear.node.output[0] in node.output)
    del graph.node[at]
    graph.node.insert(at, linear.node)
