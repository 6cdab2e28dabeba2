"""Heads of every family: the graph from the logits to the outputs, alone or as the end of another graph.

The order is the point. The mask writes -inf first, never a finite fill, so that nothing that stood under it is read;
the row maximum is subtracted before the temperature divides, so that no digit is lost to a large shift. What follows is
the family's own: see `GRAPHS`.
"""

from collections.abc import Callable, Mapping, Set
from types import MappingProxyType
from typing import Final

import numpy as np
from onnx import ModelProto, TensorProto, helper

from service import __version__
from service.errors import UsedWrongly
from service.heads import entmax, sigmoid, softmax, sparsemax, surgery
from service.heads.averaging import (
    append_mutual_information,
    average_members,
    average_probabilities,
    member_distributions,
)
from service.heads.graph import IR_VERSION, OPSET, Dim, Graph
from service.heads.masking import MASKING, Shifted, calibrate_scored, mask_logits, shift
from service.heads.nodes import group_factor
from service.heads.reading import is_as_fitted
from service.heads.stages import Stages
from service.heads.top_nodes import FITTED, apply_top
from service.heads.width import Width
from service.metadata import Metadata

# Outputs of nodes, and which input each of them equals where rows are of even width.
WIDENING: Final = {"wide": 0, "probabilities": 0, "log_probabilities": 0, "scores": 0}

# What each family makes of the shifted logits and the temperature: its outputs.
FamilyGraph = Callable[[Graph, Width, Dim, Shifted, str, Stages], None]
GRAPHS: Final[Mapping[str, FamilyGraph]] = {
    "softmax": softmax.append_outputs,
    "sigmoid": sigmoid.append_outputs,
    "sparsemax": sparsemax.append_outputs,
    "entmax15": entmax.append_entmax15,
    "entmax": entmax.append_outputs,
}


def build(stages: Stages, classes: int | None, metadata: Metadata) -> ModelProto:
    """A head on its own: `logits` float32 [N, K] in; for the other inputs and the outputs see `append`.

    `classes` is K, none for a head that serves any number. What the graph decides (classes, family, temperature,
    masks_first) is written over what `metadata` says.

    Raises:
        UsedWrongly: K contradicts the labels or the parameters.
    """
    k: Dim = "K" if classes is None else classes
    metadata = check_metadata(metadata, stages, classes).model_copy(update={"takes": "logits"})
    graph = Graph()
    shape: list[Dim] = ["N", k] if stages.members is None else ["N", stages.members.count or "M", k]
    append(graph, graph.input("logits", TensorProto.FLOAT, shape), stages, "N", k)
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(
        graph.finish("head"),
        opset_imports=opset,
        ir_version=IR_VERSION,
        producer_name="calibrant",
        producer_version=__version__,
    )
    return set_metadata(model, metadata)


def append(graph: Graph, logits: str, stages: Stages, n: Dim, k: Dim) -> None:
    """Put the head behind `logits`, a float32 tensor [n, k] of `graph`; of an ensemble [n, m, k].

    Inputs: `mask` bool [N, K], true = the class may be chosen, all by default; `temperature` float64 [N, 1];
    `group` int64 [N, 1] where groups have temperatures, 0 by default and for a number that names no group.
    Outputs: `probabilities` and `log_probabilities` float32 [N, K]; `logsumexp` float32 [N, 1], of the
    calibrated logits of the allowed classes; `scores` float64 [N, K], the calibrated logits minus the row
    maximum before the temperature, behind the top-label stage where there is one; of a sigmoid as they are. A row
    without an allowed class has zeros, and -inf in all but the first. Of an ensemble also `mutual_information` float32
    [N, 1].
    """
    mask = graph.input("mask", TensorProto.BOOL, [n, k], np.ones((1, k if isinstance(k, int) else 1), bool))
    fitted = np.array([[stages.temperature]], np.float64)
    temperature = graph.input("temperature", TensorProto.DOUBLE, [n, 1], fitted)
    width = Width(graph, logits, k)
    if stages.members is None:
        masked = mask_logits(graph, mask, logits, stages, width)
    else:
        row, members = average_members(graph, mask, logits, stages.members)
        each = member_distributions(graph, width, members)
        if stages.members.average == "probabilities":
            row = average_probabilities(graph, width, stages.members, each.log_p)
        masked = calibrate_scored(graph, row, stages, width) if stages.changes_logits else row
    shifted = shift(graph, width.pad(masked, "wide"))
    factor = None
    if stages.group_temperatures is not None:
        factor = group_factor(graph, logits, stages.group_temperatures, n)
    if stages.top is not None:
        scores, at_fitted = apply_top(graph, shifted.scores, stages, factor, temperature)
        shifted = shifted._replace(scores=scores, fitted=at_fitted)
    if factor is not None:
        temperature = graph.add("Mul", temperature, factor, name="temperature_of_group")
    GRAPHS[stages.family.name](graph, width, n, shifted, temperature, stages)
    if stages.members is not None:
        append_mutual_information(graph, n, stages.members, each)


def short_graph(model: ModelProto) -> ModelProto:
    """A head on its own, cut to what its `probabilities` need; see `cut_graph`.

    One with the top-label stage takes no temperature, and answers at the fitted one, where that is the default.
    """
    return cut_graph(model, {"probabilities"}, FITTED if is_as_fitted(model) else {})


def graph_without_logsumexp(model: ModelProto) -> ModelProto:
    """A head on its own, cut to all outputs but `logsumexp`; see `cut_graph`."""
    return cut_graph(model, {entry.name for entry in model.graph.output} - {"logsumexp"})


def cut_graph(model: ModelProto, outputs: Set[str], passing: Mapping[str, int] = MappingProxyType({})) -> ModelProto:
    """A head on its own, cut to what `outputs` need, which stay the same to the bit; `passing` is taken out as well.

    ONNX Runtime runs every node, whatever is fetched. A graph that masks first takes no mask here: -inf in the logits
    is the same. One for any number of classes takes rows of a multiple of `PACKET`, and answers as many.
    """
    metadata = Metadata.from_props({prop.key: prop.value for prop in model.metadata_props})
    logits = next(entry for entry in model.graph.input if entry.name == "logits")
    fixed = logits.type.tensor_type.shape.dim[-1].HasField("dim_value")
    dropped = {entry.name for entry in model.graph.output} - outputs
    widening = {} if fixed else {name: at for name, at in WIDENING.items() if name not in dropped}
    short = copy_graph(model)
    surgery.bypass(short.graph, {**(MASKING if metadata.masks_first else {}), **widening, **passing})
    surgery.keep_outputs(short.graph, outputs)
    return short


def copy_graph(model: ModelProto) -> ModelProto:
    """A model of the same graph that says nothing of itself."""
    copy = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    copy.graph.CopyFrom(model.graph)
    return copy


def check_metadata(metadata: Metadata, stages: Stages, classes: int | None) -> Metadata:
    """The metadata with what the graph decides: classes, family, temperature, whether it masks first.

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
            "family": stages.family.name,
            "alpha": stages.family.alpha if stages.family.name == "entmax" else None,
            "ensemble": None if stages.members is None else stages.members.to_metadata(),
            "masks_first": stages.masks_first or not stages.reads_under_mask,
        }
    )


def set_metadata(model: ModelProto, metadata: Metadata) -> ModelProto:
    """Put the metadata in, beside what else is there."""
    props = {prop.key: prop.value for prop in model.metadata_props}
    helper.set_model_props(model, props | metadata.to_props())
    return model
