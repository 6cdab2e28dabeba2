"""Model files that nobody should serve, one of each kind: made by onnx, as anybody could make them."""

import os
from base64 import b64encode
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from service.metadata import SHORT_KEY, Metadata
from tests.conftest import ROOT

SHIPPED: Final = ROOT / "models/softmax/1/model.onnx"
FITTED: Final = ROOT / "models/digits/1/model.onnx"
FLOAT: Final = TensorProto.FLOAT
TRAP: Final = 1000.0


def save(path: Path, nodes: list[Any], initializers: list[Any] | None = None, opset: Any = ()) -> None:
    """A model whose output `probabilities` comes from `logits` through the nodes."""
    graph = helper.make_graph(
        nodes,
        "hostile",
        [helper.make_tensor_value_info("logits", FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("probabilities", FLOAT, None)],
        initializers or [],
    )
    opsets = [helper.make_opsetid("", 18), *(helper.make_opsetid(name, 1) for name in opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    helper.set_model_props(model, Metadata(classes=3).to_props())
    path.write_bytes(model.SerializeToString())


def poison(path: Path, nodes: list[Any], initializers: list[Any]) -> None:
    """A real head, before which the nodes make `poisoned` of `logits`."""
    model = onnx.load(FITTED)
    for node in model.graph.node:
        node.input[:] = ["poisoned" if name == "logits" else name for name in node.input]
    old = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *old])
    model.graph.initializer.extend(initializers)
    kept = [prop for prop in model.metadata_props if prop.key != SHORT_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    path.write_bytes(model.SerializeToString())


def softmax(source: str = "logits") -> Any:
    return helper.make_node("Softmax", [source], ["probabilities"])


def loop(condition: str) -> Any:
    """A loop from `logits` to `poisoned` that never ends where the condition is true."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Identity", ["x"], ["x_out"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x_out", FLOAT, None),
        ],
    )
    return helper.make_node("Loop", ["", condition, "logits"], ["poisoned"], body=body)


def endless(path: Path) -> None:
    """A loop whose condition stays true."""
    poison(path, [loop("true")], [numpy_helper.from_array(np.array(True), "true")])


def trap(path: Path) -> None:
    """A head that is what it was, until a logit above `TRAP` comes: then its run never ends."""
    nodes = [
        helper.make_node("ReduceMax", ["logits"], ["largest"], keepdims=0),
        helper.make_node("Greater", ["largest", "bound"], ["trapped"]),
        loop("trapped"),
    ]
    poison(path, nodes, [numpy_helper.from_array(np.array(TRAP, np.float32), "bound")])


def greedy(path: Path) -> None:
    """A head that is what it was, until a logit above `TRAP` comes: then its run asks for more than there is."""
    nodes = [
        helper.make_node("ReduceMax", ["logits"], ["largest"], keepdims=0),
        helper.make_node("Div", ["largest", "bound"], ["times"]),
        helper.make_node("Floor", ["times"], ["whole"]),
        helper.make_node("Mul", ["whole", "many"], ["numbers"]),
        helper.make_node("Abs", ["numbers"], ["size"]),
        helper.make_node("Cast", ["size"], ["count"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["count", "flat"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0),
        helper.make_node("Add", ["logits", "sum"], ["poisoned"]),
    ]
    constants = {"bound": np.array(TRAP, np.float32), "many": np.array(1e14, np.float32), "flat": np.array([1])}
    poison(path, nodes, [numpy_helper.from_array(value, name) for name, value in constants.items()])


def nan_above(path: Path, most: float = 100.0) -> None:
    """A head that is what it was, but that a row with a logit above `most` becomes NaN."""
    nodes = [
        helper.make_node("Sub", ["most", "logits"], ["less"]),
        helper.make_node("Log", ["less"], ["log"]),
        helper.make_node("Mul", ["log", "zero"], ["nan"]),
        helper.make_node("Add", ["logits", "nan"], ["poisoned"]),
    ]
    constants = {"most": np.array(most, np.float32), "zero": np.array(0, np.float32)}
    poison(path, nodes, [numpy_helper.from_array(value, name) for name, value in constants.items()])


def raised(path: Path) -> None:
    """A head whose probabilities are 1 more than they were."""
    model = onnx.load(FITTED)
    for node in model.graph.node:
        node.output[:] = ["low" if name == "probabilities" else name for name in node.output]
        node.input[:] = ["low" if name == "probabilities" else name for name in node.input]
    model.graph.node.append(helper.make_node("Add", ["low", "lift"], ["probabilities"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array(1, np.float32), "lift"))
    path.write_bytes(model.SerializeToString())


def lucky(path: Path) -> None:
    """A loop that never ends, one time in two."""
    nodes = [
        helper.make_node("RandomUniform", [], ["chance"], shape=[1]),
        helper.make_node("Less", ["chance", "half"], ["unlucky"]),
        loop("unlucky"),
    ]
    poison(path, nodes, [numpy_helper.from_array(np.array(0.5, np.float32), "half")])


def dropped(path: Path, *, training: bool = True) -> None:
    """Half of the logits left out, others each time."""
    inputs = ["logits", "ratio", "training"] if training else ["logits", "ratio"]
    constants = {"ratio": np.array(0.5, np.float32), "training": np.array(True)}
    nodes = [helper.make_node("Dropout", inputs, ["poisoned"])]
    poison(path, nodes, [numpy_helper.from_array(constants[name], name) for name in inputs[1:]])


def bomb(path: Path) -> None:
    """A few bytes that are 64 GB when they run."""
    shape = numpy_helper.from_array(np.array([2**32, 4], np.int64), "shape")
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0),
        helper.make_node("Add", ["logits", "sum"], ["poisoned"]),
    ]
    poison(path, nodes, [shape])


def external(path: Path) -> None:
    """Weights that lie in a file of the system."""
    tensor = onnx.TensorProto(name="w", data_type=TensorProto.UINT8, dims=[16])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../../../../etc/passwd")
    nodes = [
        helper.make_node("Cast", ["w"], ["floats"], to=FLOAT),
        helper.make_node("ReduceSum", ["floats"], ["sum"], keepdims=0),
        helper.make_node("Add", ["logits", "sum"], ["more"]),
        softmax("more"),
    ]
    save(path, nodes, [tensor])


def external_inside(path: Path) -> None:
    """The same in a constant, where no initializer shows it."""
    tensor = onnx.TensorProto(name="w", data_type=FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights")
    nodes = [
        helper.make_node("Constant", [], ["w"], value=tensor),
        helper.make_node("Add", ["logits", "w"], ["more"]),
        softmax("more"),
    ]
    save(path, nodes)


def many_nodes(path: Path) -> None:
    """10,000 nodes in a row."""
    names = ["logits", *(f"x{i}" for i in range(10_000))]
    save(path, [*(helper.make_node("Neg", [a], [b]) for a, b in pairwise(names)), softmax(names[-1])])


def many_constants(path: Path) -> None:
    """10,000 initializers that nobody uses."""
    save(path, [softmax()], [numpy_helper.from_array(np.array(0, np.float32), f"x{i}") for i in range(10_000)])


def calls(name: str, n: int) -> list[Any]:
    """`n` nodes in a row, from `logits` to `y`, each of which calls the function `name`."""
    names = ["logits", *(f"x{i}" for i in range(1, n)), "y"]
    return [helper.make_node(name, [a], [b], domain="com.microsoft") for a, b in pairwise(names)]


def nested_functions(path: Path, n: int = 10, levels: int = 4) -> None:
    """Functions that call functions: `n` to the power of `levels` nodes, out of `n` times `levels`."""
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    save(path, [*calls("f1", n), softmax("y")], opset=["com.microsoft"])
    model = onnx.load(path)
    for level in range(1, levels):
        nodes = calls(f"f{level + 1}", n)
        if level == levels - 1:
            nodes = [helper.make_node("Neg", node.input, node.output) for node in nodes]
        model.functions.append(helper.make_function("com.microsoft", f"f{level}", ["logits"], ["y"], nodes, opsets))
    path.write_bytes(model.SerializeToString())


def endless_functions(path: Path) -> None:
    """A function that calls itself."""
    save(path, [*calls("f", 1), softmax("y")], opset=["com.microsoft"])
    model = onnx.load(path)
    opsets = [helper.make_opsetid("com.microsoft", 1)]
    model.functions.append(helper.make_function("com.microsoft", "f", ["logits"], ["y"], calls("f", 1), opsets))
    path.write_bytes(model.SerializeToString())


def in_short(path: Path, make: Callable[[Path], None]) -> None:
    """A real head whose short graph is the file that `make` makes."""
    make(path)
    short = path.read_bytes()
    model = onnx.load(FITTED)
    props = {prop.key: prop.value for prop in model.metadata_props}
    helper.set_model_props(model, props | {SHORT_KEY: b64encode(short).decode()})
    path.write_bytes(model.SerializeToString())


def short_without_base64(path: Path) -> None:
    """A real head whose short graph cannot be unpacked."""
    model = onnx.load(FITTED)
    helper.set_model_props(model, {prop.key: prop.value for prop in model.metadata_props} | {SHORT_KEY: "no base64!"})
    path.write_bytes(model.SerializeToString())


def deep(path: Path) -> None:
    """Graphs within graphs."""
    cond = numpy_helper.from_array(np.array(True), "true")
    out = [helper.make_tensor_value_info("y", FLOAT, None)]
    leaf = helper.make_graph([helper.make_node("Identity", ["logits"], ["y"])], "g", [], out)
    inner = leaf
    for _ in range(20):
        node = helper.make_node("If", ["true"], ["y"], then_branch=inner, else_branch=leaf)
        inner = helper.make_graph([node], "g", [], out)
    save(path, [helper.make_node("If", ["true"], ["y"], then_branch=inner, else_branch=leaf), softmax("y")], [cond])


def custom(path: Path) -> None:
    """An operator that a library would have to bring."""
    save(path, [helper.make_node("Evil", ["logits"], ["more"], domain="org.evil"), softmax("more")], opset=["org.evil"])


def long_name(path: Path) -> None:
    """What nobody made, under a name of 16 MB of what a terminal obeys."""
    save(path, [softmax("\x1b[31mred" * 2_000_000)])


def wrong_types(path: Path) -> None:
    """Softmax of strings."""
    save(path, [helper.make_node("Cast", ["logits"], ["text"], to=TensorProto.STRING), softmax("text")])


def wrong_shapes(path: Path) -> None:
    """Rows that become columns."""
    poison(path, [helper.make_node("Transpose", ["logits"], ["poisoned"])], [])


def cycle(path: Path) -> None:
    """Two nodes that wait for each other."""
    save(path, [helper.make_node("Neg", ["b"], ["a"]), helper.make_node("Neg", ["a"], ["b"]), softmax("a")])


def no_outputs(path: Path) -> None:
    """A model without a graph."""
    path.write_bytes(onnx.ModelProto(ir_version=9).SerializeToString())


def truncated(path: Path) -> None:
    """Half a head."""
    content = SHIPPED.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def fifo(path: Path) -> None:
    """What never ends to be read."""
    os.mkfifo(path)


def symlink_out(path: Path) -> None:
    """A good file, elsewhere."""
    path.symlink_to(SHIPPED)


def large(path: Path) -> None:
    """3 GB of nothing, on a disk that knows holes."""
    with path.open("wb") as file:
        file.truncate(3 * 2**30)


KINDS: Final[dict[str, tuple[Callable[[Path], Any], str]]] = {
    "endless loop": (endless, r"did not load and run within \S+ s \(--load-timeout-s\)"),
    "NaN": (lambda path: nan_above(path, -10), "answers NaN in its "),
    "probabilities above 1": (raised, r"answers probabilities from 1\.\d+ to 1\.\d+; expected 0 to 1"),
    "random numbers": (lucky, "has the operator RandomUniform, which is random; expected the same answer"),
    "dropout in training": (dropped, "has a Dropout with a training mode, which is random; expected a file exported"),
    "memory bomb": (bomb, r"took more than \d+ MB while it was loaded and run \(--load-memory-mb\)"),
    "external data": (external, "has data in another file"),
    "external data in a constant": (external_inside, "has data in another file"),
    "external data in a short graph": (lambda path: in_short(path, external), "has data in another file"),
    "custom operator in a short graph": (lambda path: in_short(path, custom), "domain 'org.evil'; expected ai.onnx"),
    "short graph without base64": (short_without_base64, "has a short graph that is not base64"),
    "10,000 nodes in a short graph": (lambda path: in_short(path, many_nodes), r"more than 8192 nodes"),
    "10,000 nodes": (many_nodes, r"more than 8192 nodes, the most that are run \(--max-model-nodes\)"),
    "10,000 constants": (
        many_constants,
        r"more than 8192 constants, .*, the most that are loaded \(--max-model-nodes\)",
    ),
    "functions that call functions": (nested_functions, r"more than 8192 nodes, the most that are run"),
    "a function that calls itself": (endless_functions, "or functions that call functions, more than 16 deep"),
    "graphs within graphs": (deep, "graphs within graphs"),
    "custom operator": (custom, "domain 'org.evil'; expected ai.onnx"),
    "name of 16 MB": (long_name, r"is not an ONNX model that can be loaded .*\\x1b\[31mred.*\.\.\.$"),
    "wrong types": (wrong_types, "is not an ONNX model that can be loaded"),
    "wrong shapes": (wrong_shapes, "."),
    "cycle": (cycle, "is not an ONNX model that can be loaded"),
    "no graph": (no_outputs, "is not an ONNX model that can be loaded"),
    "truncated": (truncated, "breaks off"),
    "empty": (lambda path: path.write_bytes(b""), "is not an ONNX model that can be loaded"),
    "noise": (lambda path: path.write_bytes(np.random.default_rng(1).bytes(100_000)), "is not an ONNX model"),
    "text": (lambda path: path.write_text("<html>404</html>" * 10), "is not an ONNX model"),
    "FIFO": (fifo, "is not a file"),
    "folder": (lambda path: path.mkdir(), "is not a file"),
    "symlink out": (symlink_out, "leads out of the models folder"),
    "3 GB": (large, r"is larger than 2048 MB, the most that is loaded \(--max-model-mb\)"),
}
