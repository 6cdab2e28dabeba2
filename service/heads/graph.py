"""A graph under construction: nodes are appended one by one, each call returns the tensor it makes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

OPSET: Final = 18
IR_VERSION: Final = 10

Dim = int | str


@dataclass
class Graph:
    """Nodes, initializers, inputs and outputs, in the order in which they were added.

    `prefix` stands before the name of every inner tensor, never before an input's or an output's.
    """

    prefix: str = ""
    nodes: list[NodeProto] = field(default_factory=list)
    initializers: dict[str, TensorProto] = field(default_factory=dict)
    inputs: list[ValueInfoProto] = field(default_factory=list)
    outputs: list[ValueInfoProto] = field(default_factory=list)

    def input(self, name: str, type_: int, shape: Sequence[Dim], default: NDArray[Any] | None = None) -> str:
        """Declare an input; with a `default` it is also an initializer, and a caller may leave it out."""
        self.inputs.append(helper.make_tensor_value_info(name, type_, shape))
        if default is not None:
            self.initializers[name] = numpy_helper.from_array(default, name)
        return name

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Put a constant in; the same name twice is the same constant."""
        name = self.prefix + name
        self.initializers.setdefault(name, numpy_helper.from_array(value, name))
        return name

    def add(self, op: str, *inputs: str, name: str, **attributes: Any) -> str:
        """Append one node with one output."""
        return self._append(op, inputs, self.prefix + name, attributes)

    def add_all(self, op: str, *inputs: str, names: Sequence[str], **attributes: Any) -> list[str]:
        """Append one node with an output for each of `names`."""
        outputs = [self.prefix + name for name in names]
        self.nodes.append(helper.make_node(op, inputs, outputs, name=outputs[0], **attributes))
        return outputs

    def output(self, name: str, type_: int, shape: Sequence[Dim], op: str, *inputs: str, **attributes: Any) -> None:
        """Append the node that makes an output of the graph."""
        self.outputs.append(helper.make_tensor_value_info(name, type_, shape))
        self._append(op, inputs, name, attributes)

    def _append(self, op: str, inputs: Sequence[str], output: str, attributes: dict[str, Any]) -> str:
        node = helper.make_node(op, inputs, [output], name=self.prefix + output.removeprefix(self.prefix), **attributes)
        self.nodes.append(node)
        return output

    def finish(self, name: str) -> GraphProto:
        """The graph as ONNX."""
        return helper.make_graph(self.nodes, name, self.inputs, self.outputs, list(self.initializers.values()))


def scalar(value: float, type_: type[np.floating[Any]] = np.float64) -> NDArray[Any]:
    """A constant of rank 0."""
    return np.asarray(value, type_)


def ints(*values: int) -> NDArray[np.int64]:
    """A constant int64 vector, as axes, pads and slices want them."""
    return np.asarray(values, np.int64)
