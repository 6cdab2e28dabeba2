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
    first = stages.masks_first or stages.slope is not None
    if first:
        logits = graph.add("Where", mask, logits, graph.constant("unseen", scalar(-np.inf, np.float32)), name="seen")
    x = calibrate_scored(graph, to_float64(graph, logits, "logits_64"), stages, width)
    if first:
        return x
    return graph.add("Where", mask, x, graph.constant("masked", scalar(-np.inf)), name="allowed")


def calibrate_scored(graph: Graph, logits: str, stages: Stages, width: Width) -> str:
    """`calibrate`, which leaves a class without a score at -inf: a slope below 0 would make it +inf."""
    x = calibrate(graph, logits, stages, width)
    if stages.slope is None:
        return x
    missing = graph.add("IsInf", logits, name="missing", detect_positive=0)
    return graph.add("Where", missing, graph.constant("masked", scalar(-np.inf)), x, name="scored")


def to_float64(graph: Graph, tensor: str, name: str) -> str:
    """The tensor in float64."""
    return graph.add("Cast", tensor, name=name, to=TensorProto.DOUBLE)


class Fitted(NamedTuple):
    """What is known of the rows at the fitted temperature.

    rows: bool [n, 1], whether the row is.
    p: float64 [n, k], of the padded width: its probabilities.
    """

    rows: str
    p: str


class Shifted(NamedTuple):
    """Tensors in float64, of the padded width.

    logits: [n, k], calibrated, -inf where a class is masked.
    scores: [n, k], the same less the row maximum.
    highest: [n, 1], the row maximum; -inf where no class is allowed.
    fitted: behind the top-label stage.
    """

    logits: str
    scores: str
    highest: str
    fitted: Fitted | None = None


def shift(graph: Graph, wide: str) -> Shifted:
    """Subtract the row maximum of masked logits `wide` [n, k]."""
    highest = graph.add("ReduceMax", wide, graph.constant("last", ints(-1)), name="highest", keepdims=1)
    # an empty row's maximum is -inf, and -inf minus -inf would be NaN
    lowest = graph.constant("lowest", scalar(np.finfo(np.float64).min))
    finite = graph.add("Max", highest, lowest, name="highest_finite")
    return Shifted(wide, graph.add("Sub", wide, finite, name="shifted"), highest)
