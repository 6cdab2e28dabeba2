"""The head: masked softmax and log-softmax with a temperature, float64 inside, the same in any batch.

The order is the point. The mask writes -inf first, never a finite fill, so that nothing that stood under it
is read; the row maximum is subtracted before the temperature divides, so that no digit is lost to a large
shift. LogSoftmax is not used: in float64 ONNX Runtime answers finite garbage for a row with a NaN.
"""

from typing import Final

import numpy as np
from onnx import ModelProto, TensorProto, helper

from service import __version__
from service.errors import UsedWrongly
from service.heads import surgery
from service.heads.graph import IR_VERSION, OPSET, Dim, Graph, ints, scalar
from service.heads.nodes import calibrated, grouped, mixed
from service.heads.stages import Stages
from service.heads.width import Width
from service.metadata import Metadata

# Outputs of nodes, and which input each of them equals: where every class is allowed, and where rows are of even width.
MASKING: Final = {"allowed": 1, "seen": 1}
WIDENING: Final = {"wide": 0, "probabilities": 0}


def build(stages: Stages, classes: int | None, metadata: Metadata) -> ModelProto:
    """A head on its own: `logits` float32 [N, K] in; for the other inputs and the outputs see `append`.

    `classes` is K, none for a head that serves any number. What the graph decides (kind, classes,
    temperature, masks_first) is written over what `metadata` says.

    Raises:
        UsedWrongly: K contradicts the labels or the parameters.
    """
    k: Dim = "K" if classes is None else classes
    story = agreed(metadata, stages, classes).model_copy(update={"kind": "softmax", "takes": "logits"})
    graph = Graph()
    append(graph, graph.input("logits", TensorProto.FLOAT, ["N", k]), stages, "N", k)
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(
        graph.finish("head"),
        opset_imports=opset,
        ir_version=IR_VERSION,
        producer_name="calibrant",
        producer_version=__version__,
    )
    return describe(model, story)


def append(graph: Graph, logits: str, stages: Stages, n: Dim, k: Dim) -> None:
    """Put the head behind `logits`, a float32 tensor [n, k] of `graph`.

    Inputs: `mask` bool [N, K], true = the class may be chosen, all by default; `temperature` float64 [N, 1];
    `group` int64 [N, 1] where groups have temperatures, 0 by default and for a number that is no group's.
    Outputs: `probabilities` and `log_probabilities` float32 [N, K]; `logsumexp` float32 [N, 1], of the
    calibrated logits of the allowed classes; `scores` float64 [N, K], the calibrated logits minus the row
    maximum before the temperature. A row without an allowed class has zeros, and -inf in all but the first.
    """
    mask = graph.input("mask", TensorProto.BOOL, [n, k], np.ones((1, k if isinstance(k, int) else 1), bool))
    fitted = np.array([[stages.temperature]], np.float64)
    temperature = graph.input("temperature", TensorProto.DOUBLE, [n, 1], fitted)
    last = graph.constant("last", ints(-1))
    width = Width(graph, logits, k)
    wide = width.pad(masked(graph, mask, logits, stages, width), "wide")

    highest = graph.add("ReduceMax", wide, last, name="highest", keepdims=1)
    # an empty row's maximum is -inf, and -inf minus -inf would be NaN
    lowest = graph.constant("lowest", scalar(np.finfo(np.float64).min))
    finite = graph.add("Max", highest, lowest, name="highest_finite")
    scores = graph.add("Sub", wide, finite, name="shifted")
    if stages.group_temperatures is not None:
        temperature = grouped(graph, temperature, logits, stages.group_temperatures, n)
    z = graph.add("Div", scores, temperature, name="z")
    e = graph.add("Exp", z, name="e")
    # the largest z is 0, so the sum is 1 or more: less is a row without an allowed class
    total = graph.add("ReduceSum", e, last, name="total", keepdims=1)
    total = graph.add("Max", total, graph.constant("one", scalar(1)), name="total_positive")
    # ReduceLogSum of one number is its logarithm; Log has the same packets as Exp, and [N, 1] is not even
    log_total = graph.add("ReduceLogSum", total, last, name="log_total", keepdims=1)
    highest_z = graph.add("Div", highest, temperature, name="highest_z")
    logsumexp = graph.add("Add", highest_z, log_total, name="logsumexp_wide")

    # one division a row; 1/T the same way would be NaN where T is tiny, and of one row where it is the default
    share = graph.add("Reciprocal", total, name="share")
    p = graph.add("Mul", e, share, name="p_plain" if stages.laplace else "p")
    if stages.laplace:
        p = mixed(graph, p, scores, stages.laplace)
    width.output("probabilities", n, p)
    logs = ("Log", p) if stages.laplace else ("Sub", z, log_total)
    width.output("log_probabilities", n, graph.add(*logs, name="log_p"))
    graph.output("logsumexp", TensorProto.FLOAT, [n, 1], "Cast", logsumexp, to=TensorProto.FLOAT)
    width.output("scores", n, scores, TensorProto.DOUBLE)


def masked(graph: Graph, mask: str, logits: str, stages: Stages, width: Width) -> str:
    """The calibrated logits where the mask allows, -inf elsewhere: float64 [N, K].

    Where nothing stands before the mask it goes into the float32 logits: half the bytes.
    """
    if not stages.changes_logits:
        fill = graph.constant("masked", scalar(-np.inf, np.float32))
        return cast(graph, graph.add("Where", mask, logits, fill, name="allowed"), "allowed_64")
    if stages.masks_first:
        logits = graph.add("Where", mask, logits, graph.constant("unseen", scalar(-np.inf, np.float32)), name="seen")
    x = calibrated(graph, cast(graph, logits, "logits_64"), stages, width)
    if stages.masks_first:
        return x
    return graph.add("Where", mask, x, graph.constant("masked", scalar(-np.inf)), name="allowed")


def cast(graph: Graph, tensor: str, name: str) -> str:
    """The tensor in float64."""
    return graph.add("Cast", tensor, name=name, to=TensorProto.DOUBLE)


def short_graph(model: ModelProto) -> ModelProto:
    """A head on its own, cut to what its `probabilities` need, which stay the same to the bit.

    ONNX Runtime runs every node, whatever is fetched. A graph that masks first takes no mask here: -inf in the logits
    is the same. One for any number of classes takes rows of a multiple of `LANES`, and answers as many.
    """
    story = Metadata.from_props({prop.key: prop.value for prop in model.metadata_props})
    logits = next(entry for entry in model.graph.input if entry.name == "logits")
    fixed = logits.type.tensor_type.shape.dim[1].HasField("dim_value")
    short = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    short.graph.CopyFrom(model.graph)
    surgery.bypass(short.graph, (MASKING if story.masks_first else {}) | ({} if fixed else WIDENING))
    surgery.keep_outputs(short.graph, ("probabilities",))
    return short


def agreed(metadata: Metadata, stages: Stages, classes: int | None) -> Metadata:
    """The metadata with what the graph decides: classes, temperature, whether it masks first.

    Raises:
        UsedWrongly: K contradicts the labels or the parameters.
    """
    if classes is not None and classes < 1:
        raise UsedWrongly(f"the number of classes is {classes}; expected 1 or more")
    for what, n in (
        ("labels", metadata.labels and len(metadata.labels)),
        ("numbers in the bias" if stages.bias is not None else "classes in the parameters", stages.classes),
    ):
        if n is not None and n != classes:
            raise UsedWrongly(
                f"there are {n} {what}; expected one for each of the {classes or 'fixed number of'} classes"
            )
    return metadata.model_copy(
        update={
            "classes": classes,
            "calibrator": metadata.calibrator | {"temperature": stages.temperature},
            "masks_first": stages.masks_first or not stages.changes_logits,
        }
    )


def describe(model: ModelProto, metadata: Metadata) -> ModelProto:
    """Put the metadata in, beside what else stands there."""
    props = {prop.key: prop.value for prop in model.metadata_props}
    helper.set_model_props(model, props | metadata.to_props())
    return model
