"""A classifier's file, as exporters leave it, read and made uniform; and cut to the tensor that a head stands behind.

What differs from exporter to exporter ends here: an opset that is imported twice, an open dimension written as -1 or 0,
weights that are inputs too, data beside the file, and a softmax inside a classifier of ai.onnx.ml.
"""

import math
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from service.errors import CannotStart, HeadError
from service.heads import surgery
from service.heads.graph import OPSET
from service.heads.logits import Link
from service.metadata import KEY

DEFAULT_DOMAINS: Final = ("", "ai.onnx")
ML: Final = "ai.onnx.ml"
TRANSFORMING: Final = ("LinearClassifier", "SVMClassifier", "TreeEnsembleClassifier")
MOST_BYTES: Final = 2**31 - 2**20  # of protobuf's 2 GiB, less the head
LOCALE: Final = "C.UTF-8"
SMALLEST: Final = 1e-12
"""A smaller probability counts as this one, as in `datasets.files`: with -inf no temperature could mend it."""


def load(path: Path) -> ModelProto:
    """Read a classifier, with the data beside it where it has some, and make it uniform.

    Raises:
        CannotStart: the file cannot be read.
        HeadError: it is not ONNX.
    """
    try:
        size = path.stat().st_size
        refuse_large(path, size)
        model = onnx.load(path, load_external_data=False)
        refuse_large(path, size + n_outside_bytes(model.graph))
        onnx.load_external_data_for_model(model, str(path.parent))
        merge_opsets(model)
        onnx.checker.check_model(model)
    except OSError as error:
        raise CannotStart(f"{error.filename or path} cannot be read: {error.strerror or error}") from error
    except (DecodeError, onnx.checker.ValidationError, ValueError) as error:
        raise HeadError(f"{path} is not an ONNX model: {surgery.first_line(error)}") from error
    return uniform(model)


def is_classifier(path: Path) -> bool:
    """Whether the file is ONNX, and not a head."""
    try:
        return KEY not in {prop.key for prop in onnx.load(path, load_external_data=False).metadata_props}
    except (OSError, DecodeError):
        return False


def refuse_large(path: Path, size: int) -> None:
    """Refuse more than one file of protobuf holds, before it is read: a head and its classifier are one file.

    Raises:
        HeadError: its `size`, bytes with the weights beside it, is larger.
    """
    if size > MOST_BYTES:
        raise HeadError(
            f"{path} has {size / 1e9:.2f} GB with its weights; expected 2 GB at most, for a head is one file"
        )


def n_outside_bytes(graph: GraphProto) -> int:
    """Bytes of the weights that lie beside the file; protobuf neither counts nor copies more than 2 GiB."""
    tensors = [*graph.initializer, *(one.t for node in graph.node for one in node.attribute)]
    sizes = [
        math.prod(map(int, tensor.dims)) * item_size(tensor.data_type)
        for tensor in tensors
        if tensor.data_location == TensorProto.EXTERNAL
    ]
    inner = [n_outside_bytes(one) for node in graph.node for one in surgery.subgraphs(node)]
    return sum(sizes) + sum(inner)


def item_size(type_: int) -> int:
    """Bytes of one number; of smaller ones than a byte, one."""
    return int(helper.tensor_dtype_to_np_dtype(type_).itemsize)


def uniform(classifier: ModelProto) -> ModelProto:
    """Copy a classifier without its exporter's habits."""
    model = ModelProto()
    model.CopyFrom(classifier)
    merge_opsets(model)
    if model.ir_version < 4:  # where every weight had to be an input too
        surgery.drop_inputs(model.graph, {tensor.name for tensor in model.graph.initializer})
    for entry in (*model.graph.input, *model.graph.output):
        for axis, dim in enumerate(entry.type.tensor_type.shape.dim):
            if dim.HasField("dim_value") and dim.dim_value < 1:
                dim.dim_param = "N" if axis == 0 else f"{entry.name}_{axis}"
    for node in list(model.graph.node):
        if node.domain == ML and node.op_type in TRANSFORMING:
            take_transform_out(model.graph, node)
        elif node.op_type == "Concat" and len(node.input) == 2:
            add_two_logits(model.graph, node)
        elif node.op_type == "ZipMap":
            unzip(model.graph, node)
        elif node.op_type == "StringNormalizer":
            set_locale(node)
    return model


def merge_opsets(model: ModelProto) -> None:
    """Import each domain once, in its highest version, and the default domain in any case."""
    versions: dict[str, int] = {}
    for entry in model.opset_import:
        domain = "" if entry.domain in DEFAULT_DOMAINS else entry.domain
        versions[domain] = max(entry.version, versions.get(domain, 0))
    versions.setdefault("", OPSET)
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in versions.items())


def unzip(graph: GraphProto, node: NodeProto) -> None:
    """Let the output that a ZipMap makes be the tensor that it makes it of."""
    (output,) = node.output
    tensor = node.input[0]
    entry = next((entry for entry in graph.output if entry.name == output), None)
    if entry is None or any(one.name == tensor for one in graph.output):
        return
    graph.node.remove(node)
    surgery.rename(graph, {tensor: output})
    entry.CopyFrom(ValueInfoProto(name=output))


def set_locale(node: NodeProto) -> None:
    """Lower and upper case as every Linux knows them: `en_US` is missing where no languages are installed."""
    attributes = [one for one in node.attribute if one.name != "locale"]
    del node.attribute[:]
    node.attribute.extend([*attributes, helper.make_attribute("locale", LOCALE)])


def take_transform_out(graph: GraphProto, node: NodeProto) -> None:
    """Make the softmax or the logistic function inside a classifier nodes of their own, behind a tensor of logits.

    The logits of a logistic function are its logarithm: their softmax is the share of each class, which is what follows
    or what two classes are anyway.
    """
    transform = next((one for one in node.attribute if one.name == "post_transform"), None)
    if transform is None or transform.s not in (b"SOFTMAX", b"LOGISTIC"):
        return
    scores = node.output[1]
    logits = free_name(graph, f"{scores}_logits")
    if transform.s == b"SOFTMAX":
        node.output[1] = logits
        nodes = [helper.make_node("Softmax", [logits], [scores], axis=1)]
    else:
        node.output[1] = raw = free_name(graph, f"{scores}_raw")
        nodes = [*log_sigmoid(raw, logits), helper.make_node("Exp", [logits], [scores])]
    transform.s = b"NONE"
    insert_behind(graph, node, nodes)


def log_sigmoid(tensor: str, output: str) -> list[NodeProto]:
    """The nodes of log sigmoid(x) = -softplus(-x)."""
    return [
        helper.make_node("Neg", [tensor], [f"{output}_negative"]),
        helper.make_node("Softplus", [f"{output}_negative"], [f"{output}_softplus"]),
        helper.make_node("Neg", [f"{output}_softplus"], [output]),
    ]


def add_two_logits(graph: GraphProto, node: NodeProto) -> None:
    """Put the logits [0, z] beside the two probabilities [1 - sigmoid(z), sigmoid(z)], whose logits they are."""
    made = surgery.producers(graph)
    first, second = (made.get(name) for name in node.input)
    if first is None or second is None or (first.op_type, second.op_type) != ("Sub", "Sigmoid"):
        return
    if first.input[1] != node.input[1]:
        return
    logits = free_name(graph, f"{node.output[0]}_logits")
    z = second.input[0]
    nodes = [
        helper.make_node("Sub", [z, z], [f"{logits}_zero"]),
        helper.make_node("Concat", [f"{logits}_zero", z], [logits], axis=1),
    ]
    insert_behind(graph, node, nodes)


def insert_behind(graph: GraphProto, node: NodeProto, nodes: list[NodeProto]) -> None:
    at = list(graph.node).index(node) + 1
    for i, new in enumerate(nodes):
        graph.node.insert(at + i, new)


def free_name(graph: GraphProto, name: str) -> str:
    """The name, or a longer one where that is taken."""
    taken = {tensor for node in graph.node for tensor in (*node.input, *node.output)}
    while name in taken:
        name += "_"
    return name


def invert(model: ModelProto, probabilities: str, link: Link) -> str:
    """Append the logits, float32, of probabilities, and return their tensor: log p, less log(1 - p) for a sigmoid's."""
    logits = free_name(model.graph, f"{probabilities}_logits")
    p, smallest = f"{logits}_float", f"{logits}_smallest"
    model.graph.initializer.append(numpy_helper.from_array(np.array(SMALLEST, np.float32), smallest))
    model.graph.node.append(helper.make_node("Cast", [probabilities], [p], to=onnx.TensorProto.FLOAT))
    if link == "softmax":
        model.graph.node.extend(logarithm(p, smallest, logits))
        return logits
    one, rest = f"{logits}_one", f"{logits}_rest"
    model.graph.initializer.append(numpy_helper.from_array(np.array(1, np.float32), one))
    model.graph.node.extend(
        [
            *logarithm(p, smallest, f"{logits}_log"),
            helper.make_node("Sub", [one, p], [rest]),
            *logarithm(rest, smallest, f"{rest}_log"),
            helper.make_node("Sub", [f"{logits}_log", f"{rest}_log"], [logits]),
        ]
    )
    return logits


def logarithm(tensor: str, smallest: str, output: str) -> list[NodeProto]:
    """The nodes of log max(x, smallest)."""
    return [
        helper.make_node("Max", [tensor, smallest], [f"{output}_positive"]),
        helper.make_node("Log", [f"{output}_positive"], [output]),
    ]


def cut(model: ModelProto, output: str, shape: tuple[str, int | str], elem_type: int) -> ModelProto:
    """A copy that ends in the tensor `output`, its only output, of that type and shape, and has nothing more."""
    short = ModelProto()
    short.CopyFrom(model)
    graph = short.graph
    known = next((entry for entry in (*graph.output, *graph.value_info) if entry.name == output), None)
    if known is None or not known.type.tensor_type.HasField("shape"):
        known = helper.make_tensor_value_info(output, elem_type, shape)
    kept = ValueInfoProto()
    kept.CopyFrom(known)
    del graph.output[:], graph.value_info[:]
    graph.output.append(kept)
    surgery.prune(graph)
    surgery.drop_unused_inputs(graph)
    return short
