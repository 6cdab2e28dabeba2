"""The calibrators as nodes: what stands between the logits and the mask, and the stages behind it.

All in float64 and of an even width, so that a row's answer is bitwise the same in any batch: Exp, Log and
ReduceSum want that; MatMul in float64 gives each row the same bits for any number of rows, which is tested.
A class whose logit is not finite takes no part, and a NaN stays a NaN: see `read`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from service.heads.entropy import EntropyTemperature
from service.heads.graph import Dim, Graph, ints, scalar
from service.heads.stages import Stages
from service.heads.width import Width


class Seen(NamedTuple):
    """Tensors of an even width.

    z: float64 [n, k], the logits, 0 where they are not read.
    read: bool [n, k], whether the class takes part.
    n_read: float64 [n, 1], how many do, 1 at least.
    """

    z: str
    read: str
    n_read: str


def calibrate(graph: Graph, logits: str, stages: Stages, width: Width) -> str:
    """Affine stages and entropy temperature on float64 `logits` [n, k]."""
    if not stages.reads_rows:
        x = logits
        if stages.slope is not None:
            x = graph.add("Mul", x, graph.constant("slope", stages.vector("slope")), name="sloped")
        if stages.bias is not None:
            x = graph.add("Add", x, graph.constant("bias", stages.vector("bias")), name="biased")
        return x
    wide = width.pad(logits, "logits_wide")
    seen = read(graph, wide)
    y = affine(graph, seen, stages, width)
    if stages.entropy is not None:
        y = graph.add("Div", y, row_temperature(graph, y, seen, stages.entropy), name="cooled")
    # minus infinity: -inf for a class without a score, NaN for what is none
    infinite = graph.add("Sub", wide, graph.constant("infinity", scalar(np.inf)), name="infinite")
    y = graph.add("Where", seen.read, y, infinite, name="calibrated_wide")
    return width.crop(y, "calibrated")


def read(graph: Graph, wide: str) -> Seen:
    """Which classes take part, and their logits."""
    zero, one, last = (
        graph.constant("zero", scalar(0)),
        graph.constant("one", scalar(1)),
        graph.constant("last", ints(-1)),
    )
    finite = graph.add(
        "Less", graph.add("Abs", wide, name="size"), graph.constant("infinity", scalar(np.inf)), name="read"
    )
    z = graph.add("Where", finite, wide, zero, name="read_logits")
    ones = graph.add("Cast", finite, name="read_ones", to=TensorProto.DOUBLE)
    count = graph.add("ReduceSum", ones, last, name="read_count", keepdims=1)
    return Seen(z, finite, graph.add("Max", count, one, name="count"))


def affine(graph: Graph, seen: Seen, stages: Stages, width: Width) -> str:
    """Scale or matrix on centred logits or log-probabilities, and the bias."""
    y = seen.z
    if stages.scale is not None or stages.matrix is not None:
        y = centre(graph, seen) if stages.log_input is None else logs(graph, seen, stages.log_input)
    if stages.matrix is not None:
        transposed = width.widened(np.asarray(stages.matrix, np.float64).T)
        y = graph.add("MatMul", y, graph.constant("matrix", transposed), name="mixed_classes")
    elif stages.scale is not None:
        y = graph.add("Mul", y, graph.constant("scale", width.widened(stages.vector("scale"))), name="scaled")
    if stages.bias is not None:
        y = graph.add("Add", y, graph.constant("bias", width.widened(stages.vector("bias"))), name="biased")
    return y


def centre(graph: Graph, seen: Seen) -> str:
    """The logits less their mean over the classes that take part."""
    total = graph.add("ReduceSum", seen.z, graph.constant("last", ints(-1)), name="sum", keepdims=1)
    less = graph.add("Sub", seen.z, graph.add("Div", total, seen.n_read, name="mean"), name="less_mean")
    return graph.add("Where", seen.read, less, graph.constant("zero", scalar(0)), name="centred")


def logs(graph: Graph, seen: Seen, temperature: float) -> str:
    """The log-probabilities of the logits over `temperature`."""
    z = graph.add("Div", seen.z, graph.constant("log_input", scalar(temperature)), name="log_input_z")
    d, _, total = exponentials(graph, z, seen, "log_input")
    log_total = graph.add("ReduceLogSum", total, graph.constant("last", ints(-1)), name="log_input_total", keepdims=1)
    less = graph.add("Sub", d, log_total, name="log_input_p")
    return graph.add("Where", seen.read, less, graph.constant("zero", scalar(0)), name="log_inputs")


def exponentials(graph: Graph, z: str, seen: Seen, name: str) -> tuple[str, str, str]:
    """z less the row maximum, its exponential and their sum; 0 where a class takes no part."""
    last, zero = graph.constant("last", ints(-1)), graph.constant("zero", scalar(0))
    there = graph.add("Where", seen.read, z, graph.constant("fill", scalar(-np.inf)), name=f"{name}_there")
    highest = graph.add("ReduceMax", there, last, name=f"{name}_highest", keepdims=1)
    lowest = graph.constant("lowest", scalar(np.finfo(np.float64).min))
    finite = graph.add("Max", highest, lowest, name=f"{name}_highest_finite")
    shifted = graph.add("Sub", there, finite, name=f"{name}_shifted")
    e = graph.add("Exp", shifted, name=f"{name}_e")
    total = graph.add("ReduceSum", e, last, name=f"{name}_sum", keepdims=1)
    total = graph.add("Max", total, graph.constant("one", scalar(1)), name=f"{name}_sum_positive")
    return graph.add("Where", seen.read, shifted, zero, name=f"{name}_d"), e, total


def row_temperature(graph: Graph, y: str, seen: Seen, line: EntropyTemperature) -> str:
    """T(x) [n, 1]: a line in the log of the row's normalised entropy, Balanya et al. 2022."""
    last = graph.constant("last", ints(-1))
    d, e, total = exponentials(graph, y, seen, "entropy")
    energy = graph.add("ReduceSum", graph.add("Mul", e, d, name="entropy_ed"), last, name="energy", keepdims=1)
    log_total = graph.add("ReduceLogSum", total, last, name="entropy_log_total", keepdims=1)
    entropy = graph.add("Sub", log_total, graph.add("Div", energy, total, name="mean_energy"), name="entropy")
    count = graph.add("Max", seen.n_read, graph.constant("two", scalar(2)), name="count_of_2")
    log_count = graph.add("ReduceLogSum", count, last, name="log_count", keepdims=1)
    share = graph.add("Div", entropy, log_count, name="entropy_share")
    share = graph.add("Max", share, graph.constant("entropy_floor", scalar(line.floor)), name="entropy_floored")
    feature = graph.add("ReduceLogSum", share, last, name="log_entropy", keepdims=1)
    slope = graph.constant("entropy_slope", scalar(line.slope / line.deviation))
    offset = graph.constant("entropy_offset", scalar(line.intercept - line.slope * line.mean / line.deviation))
    log_t = graph.add("Add", graph.add("Mul", feature, slope, name="entropy_sloped"), offset, name="log_t")
    bound = (
        graph.constant("entropy_bound", scalar(line.bound)),
        graph.constant("entropy_bound_below", scalar(-line.bound)),
    )
    log_t = graph.add("Max", graph.add("Min", log_t, bound[0], name="log_t_most"), bound[1], name="log_t_clipped")
    # Exp of two numbers, one of them -inf: one number alone would depend on how many rows there are
    pair = graph.add(
        "Pad",
        log_t,
        graph.constant("one_more", ints(0, 1)),
        graph.constant("fill", scalar(-np.inf)),
        last,
        name="log_t_pair",
    )
    return graph.add("ReduceMax", graph.add("Exp", pair, name="t_pair"), last, name="t", keepdims=1)


def group_factor(graph: Graph, logits: str, group_temperatures: NDArray[np.float64], n: Dim) -> str:
    """What the temperature of the row's group is to that of all [n, 1]; groups count from 1, any other is of none."""
    table = np.concatenate([[1.0], group_temperatures])
    group = graph.input("group", TensorProto.INT64, [n, 1], np.zeros((1, 1), np.int64))
    # the default is one row whatever the batch, and ONNX Runtime would put its buffers to use for [n, 1]
    rows = graph.add("Shape", logits, name="n_rows", start=0, end=1)
    shape = graph.add("Concat", rows, graph.constant("one_column", ints(1)), name="group_shape", axis=0)
    group = graph.add("Expand", group, shape, name="group_rows")
    temperatures = graph.constant("group_temperatures", table)
    end = graph.constant("n_groups", np.asarray(len(table), np.int64))
    zero = graph.constant("no_group", np.asarray(0, np.int64))
    low = graph.add("Less", group, zero, name="group_low")
    high = graph.add("GreaterOrEqual", group, end, name="group_high")
    unknown = graph.add("Or", low, high, name="group_unknown")
    known = graph.add("Where", unknown, zero, group, name="group_known")
    return graph.add("Gather", temperatures, known, name="group_temperature", axis=0)


def mix_uniform(graph: Graph, p: str, scores: str, weight: float, name: str = "p") -> str:
    """(1 - weight) p + weight times the uniform distribution over the allowed classes, float64 [n, k]."""
    last = graph.constant("last", ints(-1))
    allowed = graph.add("Greater", scores, graph.constant("fill", scalar(-np.inf)), name="has_score")
    ones = graph.add("Cast", allowed, name="has_score_ones", to=TensorProto.DOUBLE)
    count = graph.add("ReduceSum", ones, last, name="n_allowed", keepdims=1)
    count = graph.add("Max", count, graph.constant("one", scalar(1)), name="n_allowed_positive")
    share = graph.add("Div", graph.constant("laplace", scalar(weight)), count, name="laplace_share")
    kept = graph.add("Mul", p, graph.constant("laplace_kept", scalar(1 - weight)), name="p_kept")
    return graph.add("Add", kept, graph.add("Mul", ones, share, name="laplace_p"), name=name)
