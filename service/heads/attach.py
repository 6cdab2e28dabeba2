"""The head behind a classifier: the user's own ONNX graph that ends in logits, served whole."""

from pathlib import Path
from typing import Final, NamedTuple

import onnx
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, version_converter

from service.errors import HeadError, UsedWrongly
from service.heads import surgery
from service.heads.build import append, check_metadata, set_metadata
from service.heads.choice import Chosen
from service.heads.classifier import load, uniform
from service.heads.fold import fold
from service.heads.graph import IR_VERSION, OPSET, Dim, Graph
from service.heads.reading import HEAD
from service.heads.stages import Stages
from service.metadata import Metadata

FLOATS: Final = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
RESERVED: Final = ("mask", "temperature", "group", "probabilities", "log_probabilities", "logsumexp", "scores")


class Shape(NamedTuple):
    """[n, k] of the logits: a number where it is fixed, else a symbol."""

    n: Dim
    k: Dim


def attach_chosen(chosen: Chosen, stages: Stages, metadata: Metadata) -> ModelProto:
    """Put the head behind a classifier whose logits were looked at; see `attach`."""
    metadata = metadata.model_copy(update={"example": chosen.example})
    return attach(chosen.model, chosen.output, stages, metadata)


def attach(classifier: ModelProto | Path, output: str, stages: Stages, metadata: Metadata) -> ModelProto:
    """Put the head behind the classifier's `output`, logits [N, K] of any float type.

    A centred scale or matrix goes into the classifier's last layer where it can: see `fold`. The inputs are the
    classifier's, as they were, and the head's `mask` and `temperature`; the outputs are
    the head's, and the logits, which serving looks at. `output` may also name a tensor inside, such as what goes into a
    final Softmax.

    Raises:
        CannotStart: the file cannot be read.
        HeadError: the classifier is not ONNX, or not one that a head can stand behind.
        UsedWrongly: no such output, one that holds no logits, or K contradicts the labels or the parameters.
    """
    model = to_current_opset(uniform(classifier) if isinstance(classifier, ModelProto) else load(classifier))
    shape = shape_of(model, output, metadata.classes)
    classes = shape.k if isinstance(shape.k, int) else None
    rest = fold(model, output, stages)
    metadata = check_metadata(metadata, rest, classes)
    if rest is not stages:
        metadata = metadata.model_copy(update={"calibrator": metadata.calibrator | {"folded": True}})
    taken = {entry.name for entry in model.graph.input} & set(RESERVED)
    if taken:
        raise HeadError(f"the classifier has an input called {min(taken)}, a name of the head's: rename it")
    inner = {name: f"classifier/{name}" for name in RESERVED}
    surgery.rename(model.graph, inner)

    graph = Graph(HEAD)
    logits = graph.add("Cast", inner.get(output, output), name="logits", to=TensorProto.FLOAT)
    append(graph, logits, rest, *shape)
    graph.outputs.append(helper.make_tensor_value_info(logits, TensorProto.FLOAT, shape))
    surgery.extend(model.graph, graph)
    return set_metadata(model, metadata.model_copy(update={"takes": "inputs", "masks_first": False}))


def to_current_opset(model: ModelProto) -> ModelProto:
    """Copy the classifier, in an opset that the head's operators are in."""
    copy = ModelProto()
    copy.CopyFrom(model)
    opset = next(entry.version for entry in copy.opset_import if not entry.domain)
    copy.ir_version = max(copy.ir_version, IR_VERSION)
    if opset < OPSET:
        try:
            copy = version_converter.convert_version(copy, OPSET)
        except Exception as error:  # the converter raises what it likes
            reason = surgery.first_line(error)
            message = f"the classifier's opset {opset} does not convert to {OPSET}, export it anew: {reason}"
            raise HeadError(message) from error
        copy.ir_version = max(copy.ir_version, IR_VERSION)
    return copy


def shape_of(model: ModelProto, output: str, classes: int | None) -> Shape:
    """The shape of the logits; where the graph leaves K open it is `classes`.

    Raises:
        UsedWrongly: no such tensor, or not logits.
    """
    tensor = find(model, output)
    tensor_type = tensor.type.tensor_type
    if tensor_type.elem_type not in FLOATS or len(tensor_type.shape.dim) != 2:
        raise UsedWrongly(f"the output {output} is {type_text(tensor)}; expected logits: floats of the shape [N, K]")
    n, k = (dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in tensor_type.shape.dim)
    if isinstance(k, int) and classes not in (None, k):
        raise UsedWrongly(f"the output {output} has {k} classes; expected {classes} as the labels or the bias have")
    return Shape(n if n != "" else "N", k if isinstance(k, int) else classes or "K")


def find(model: ModelProto, name: str) -> ValueInfoProto:
    """The type of an output, or of a tensor inside as far as its type can be inferred."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    tensors: dict[str, ValueInfoProto] = {entry.name: entry for entry in (*inferred.value_info, *inferred.output)}
    if name not in tensors:
        there = ", ".join(entry.name for entry in model.graph.output)
        raise UsedWrongly(f"the classifier has no output {name}, it has: {there}")
    return tensors[name]


def type_text(tensor: ValueInfoProto) -> str:
    """Say type and shape, as in `INT64 [N]`."""
    tensor_type = tensor.type.tensor_type
    if not tensor_type.HasField("shape"):
        return "of no known shape"
    dims = ", ".join(str(dim.dim_value or dim.dim_param or "?") for dim in tensor_type.shape.dim)
    return f"{TensorProto.DataType.Name(tensor_type.elem_type)} [{dims}]"
