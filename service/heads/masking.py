"""What every family starts from: the calibrated logits, -inf where a class is masked, less the row maximum."""

from typing import Final, NamedTuple

import numpy as np
from onnx import TensorProto

from service.heads.graph import Graph, ints, scalar
from service.heads.nodes import calibrate
from service.heads.stages import Stages
from service.heads.width import Width

# Outputs of nodes, and which input each of them equals: where every class is allowed.
MASKING: Final = {"allowed": 1, "seen": 1}


def mask_logits(graph: Graph, mask: str, logits: str, stages: Stages, width: Width) -> str:
    """The calibrated logits where the mask allows, -inf elsewhere: float64 [N, K].

    Where nothing stands before the mask it goes into the float32 logits: half the bytes.
    """
    if not stages.changes_logits:
        fill = graph.constant("masked", scalar(-np.inf, np.float32))
        return to_float64(graph, graph.add("Where", mask, logits, fill, name="allowed"), "allowed_64")
    if stages.masks_first:
        logits = graph.add("Where", mask, logits, graph.constant("unseen", scalar(-np.inf, np.float32)), name="seen")
    x = calibrate(graph, to_float64(graph, logits, "logits_64"), stages, width)
    if stages.masks_first:
        return x
    return graph.add("Where", mask, x, graph.constant("masked", scalar(-np.inf)), name="allowed")


def to_float64(graph: Graph, tensor: str, name: str) -> str:
    """The tensor in float64."""
    return graph.add("Cast", tensor, name=name, to=TensorProto.DOUBLE)


class Shifted(NamedTuple):
    """Tensors in float64, of the padded width.

    scores: [n, k], the calibrated logits less the row maximum, -inf where a class is masked.
    highest: [n, 1], the row maximum; -inf where no class is allowed.
    """

    scores: str
    highest: str


def shift(graph: Graph, wide: str) -> Shifted:
    """Subtract the row maximum of masked logits `wide` [n, k]."""
    highest = graph.add("ReduceMax", wide, graph.constant("last", ints(-1)), name="highest", keepdims=1)
    # an empty row's maximum is -inf, and -inf minus -inf would be NaN
    lowest = graph.constant("lowest", scalar(np.finfo(np.float64).min))
    finite = graph.add("Max", highest, lowest, name="highest_finite")
    return Shifted(graph.add("Sub", wide, finite, name="shifted"), highest)
