"""The ensemble stage as nodes: see `members`."""

from typing import NamedTuple

import numpy as np
from onnx import TensorProto

from service.heads.graph import Dim, Graph, ints, scalar
from service.heads.members import Members
from service.heads.width import Width


class Averaged(NamedTuple):
    """Tensors in float64.

    logits: [n, k], -inf where a class is masked or a member has no score for it.
    members: [n, m, k], those of the members, the same classes -inf.
    """

    logits: str
    members: str


def average_members(graph: Graph, mask: str, logits: str, members: Members) -> Averaged:
    """Average the members' `logits` float32 [n, m, k] where `mask` [n, k] allows."""
    middle = graph.constant("member_axis", ints(1))
    every = graph.add("Unsqueeze", mask, middle, name="mask_members")
    fill = graph.constant("unseen", scalar(-np.inf, np.float32))
    seen = graph.add("Where", every, logits, fill, name="seen")
    least = graph.add("ReduceMin", seen, middle, name="member_least", keepdims=1)
    gone = graph.add("IsInf", least, name="members_gone", detect_positive=0)
    wide = graph.add("Cast", seen, name="members_64", to=TensorProto.DOUBLE)
    zero, lowest = graph.constant("zero", scalar(0)), graph.constant("masked", scalar(-np.inf))
    if members.weights is None:  # a sum with -inf is -inf by itself
        row = average_over(graph, wide, members, "averaged")
    else:  # 0 in the place of what is gone, so that no weight of 0 meets it
        there = graph.add("Where", gone, zero, wide, name="members_there")
        mean = average_over(graph, there, members, "member_mean")
        row = graph.add("Where", graph.add("Squeeze", gone, middle, name="row_gone"), lowest, mean, name="averaged")
    # a Where of all members would cost as much as their exponentials
    most = graph.add("Where", gone, lowest, graph.constant("infinity", scalar(np.inf)), name="member_most")
    return Averaged(row, graph.add("Min", wide, most, name="members_left"))


def average_over(graph: Graph, tensor: str, members: Members, name: str, *, keeps: bool = False) -> str:
    """The mean over the members of `tensor` [n, m, ...], weighted where they have weights."""
    middle = graph.constant("member_axis", ints(1))
    if members.weights is None:
        return graph.add("ReduceMean", tensor, middle, name=name, keepdims=int(keeps))
    weights = graph.constant("member_weights", np.asarray(members.weights, np.float64)[:, None])
    weighted = graph.add("Mul", tensor, weights, name=f"{name}_weighted")
    return graph.add("ReduceSum", weighted, middle, name=name, keepdims=int(keeps))


class Distributions(NamedTuple):
    """Of the members' softmax, float64 of an even width: p [n, m, k], its logarithm, and its entropy [n, m, 1]."""

    p: str
    log_p: str
    entropy: str


def member_distributions(graph: Graph, width: Width, members: str) -> Distributions:
    """The softmax of each member's logits [n, m, k]."""
    last = graph.constant("last", ints(-1))
    wide = width.pad(members, "members_wide")
    highest = graph.add("ReduceMax", wide, last, name="member_highest", keepdims=1)
    lowest = graph.constant("lowest", scalar(np.finfo(np.float64).min))
    finite = graph.add("Max", highest, lowest, name="member_highest_finite")
    d = graph.add("Sub", wide, finite, name="member_shifted")
    e = graph.add("Exp", d, name="member_e")
    total = graph.add("ReduceSum", e, last, name="member_total", keepdims=1)
    total = graph.add("Max", total, graph.constant("one", scalar(1)), name="member_total_positive")
    log_total = graph.add("ReduceLogSum", total, last, name="member_log_total", keepdims=1)
    log_p = graph.add("Sub", d, log_total, name="member_log_p")
    p = graph.add("Mul", e, graph.add("Reciprocal", total, name="member_share"), name="member_p")
    # p of what is gone is 0, and so are its terms
    terms = graph.add("Mul", p, graph.add("Max", d, lowest, name="member_d"), name="member_pd")
    energy = graph.add("ReduceSum", terms, last, name="member_energy", keepdims=1)
    return Distributions(p, log_p, graph.add("Sub", log_total, energy, name="member_entropy"))


def average_probabilities(graph: Graph, width: Width, members: Members, log_p: str) -> str:
    """log of the mean of p, [n, k], by a logsumexp over the members: where every p is 0 it is finite still."""
    middle = graph.constant("member_axis", ints(1))
    highest = graph.add("ReduceMax", log_p, middle, name="logs_highest", keepdims=1)
    lowest = graph.constant("lowest", scalar(np.finfo(np.float64).min))
    finite = graph.add("Max", highest, lowest, name="logs_highest_finite")
    e = graph.add("Exp", graph.add("Sub", log_p, finite, name="logs_shifted"), name="logs_e")
    mean = average_over(graph, e, members, "logs_mean", keeps=True)
    logs = graph.add("Add", graph.add("Log", mean, name="log_mean"), finite, name="logs_of_mean")
    return width.crop(graph.add("Squeeze", logs, middle, name="logs_row"), "averaged_p")


def append_mutual_information(graph: Graph, n: Dim, members: Members, each: Distributions) -> None:
    """Append the output: H of the mean of p less the mean of H, of the members' softmax at T = 1, float32 [n, 1]."""
    last = graph.constant("last", ints(-1))
    zero = graph.constant("zero", scalar(0))
    mean = average_over(graph, each.p, members, "mean_p")
    there = graph.add("Max", mean, graph.constant("smallest", scalar(np.finfo(np.float64).tiny)), name="mean_p_there")
    terms = graph.add("Mul", mean, graph.add("Log", there, name="log_mean_p"), name="mean_p_terms")
    energy = graph.add("ReduceSum", terms, last, name="mean_p_energy", keepdims=1)
    apart = average_over(graph, each.entropy, members, "mean_entropy")
    information = graph.add("Sub", graph.add("Neg", energy, name="entropy_of_mean"), apart, name="information")
    # an empty row has none, and rounding shall not make it less
    information = graph.add("Max", information, zero, name="information_positive")
    graph.output("mutual_information", TensorProto.FLOAT, [n, 1], "Cast", information, to=TensorProto.FLOAT)
