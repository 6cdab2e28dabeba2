"""Entmax, as nodes: the threshold from the best classes, as sparsemax's; but for alpha 1.5 by Newton's steps."""

import numpy as np

from service.families.entmax import Entmax
from service.heads.graph import Dim, Graph, ints, scalar
from service.heads.masking import Shifted
from service.heads.sparsemax import FEW, Best, Terms, append_best, append_loop, append_sparse, append_threshold
from service.heads.stages import Stages
from service.heads.width import Width


def append_entmax15(graph: Graph, width: Width, n: Dim, shifted: Shifted, temperature: str, _: Stages) -> None:
    """Append the outputs, from the shifted logits and `temperature` [n, 1]; for their shapes see `build.append`."""
    z = graph.add("Div", shifted.scores, temperature, name="z")
    x = graph.add("Mul", z, graph.constant("half", scalar(0.5)), name="x")
    best = append_best(graph, x)
    axis, least = graph.constant("axis", np.asarray(1, np.int64)), graph.constant("least", scalar(-1))
    mean = append_means(graph, best)
    squares = graph.add("CumSum", graph.add("Mul", best.s, best.s, name="best_squares"), axis, name="best_square_sums")
    square = graph.add("Div", squares, best.ranks, name="best_mean_square")
    variance = graph.add("Sub", square, graph.add("Mul", mean, mean, name="best_square_mean"), name="best_variance")
    left = graph.add("Sub", graph.add("Reciprocal", best.ranks, name="shares"), variance, name="best_left")
    root = graph.add(
        "Sqrt", graph.add("Max", left, graph.constant("zero", scalar(0)), name="best_left_positive"), name="best_root"
    )
    t = graph.add("Sub", mean, root, name="best_t")
    above = graph.add("Greater", best.s, graph.add("Max", t, least, name="best_t_least"), name="best_above")
    first = graph.add("Where", above, t, least, name="best_tau")

    def terms(body: Graph, r: str) -> tuple[str, str]:
        return body.add("Mul", r, r, name="r_squared"), r

    tau = append_threshold(graph, n, x, best, first, Terms(2, terms))
    r = graph.add("Max", graph.add("Sub", x, tau, name="over"), graph.constant("zero", scalar(0)), name="r")
    append_sparse(graph, width, n, graph.add("Mul", r, r, name="p"), shifted, temperature, z)


def append_means(graph: Graph, best: Best) -> str:
    """The mean of the j best classes, for each j: float64 [n, few]."""
    sums = graph.add("CumSum", best.s, graph.constant("axis", np.asarray(1, np.int64)), name="best_sums")
    return graph.add("Div", sums, best.ranks, name="best_mean")


def append_outputs(graph: Graph, width: Width, n: Dim, shifted: Shifted, temperature: str, stages: Stages) -> None:
    """Append the outputs of entmax at an alpha above 1 and below 2."""
    family = stages.family
    assert isinstance(family, Entmax)  # noqa: S101 - the register says so
    power = 1 / (family.alpha - 1)
    z = graph.add("Div", shifted.scores, temperature, name="z")
    x = graph.add("Mul", z, graph.constant("alpha_less_1", scalar(family.alpha - 1)), name="x")
    best = append_best(graph, x)

    def terms(body: Graph, r: str) -> tuple[str, str]:
        # one Pow, which takes most of the time
        less = body.add("Pow", r, graph.constant("power_less_1", scalar(power - 1)), name="r_power_less")
        return body.add("Mul", less, r, name="r_power"), less

    # the steps start near: of the j best, the mean of r^power is the power of the mean of r or more
    leads = graph.constant("every_lead", np.arange(1, FEW + 1, dtype=np.float64) ** (-1 / power))
    start = graph.constant("start", ints(0))
    lead = graph.add("Slice", leads, start, best.n, start, name="leads")
    t = graph.add("Sub", append_means(graph, best), lead, name="best_t")
    highest = graph.add("ReduceMax", t, graph.constant("last", ints(-1)), name="best_highest", keepdims=1)
    least = graph.add("Max", highest, graph.constant("least", scalar(-1)), name="tau_least")  # of an empty row -1
    always = graph.constant("always", np.asarray(True, np.bool_))
    sums = Terms(power, terms)
    first = append_loop(graph, n, best.s, least, always, sums, "tau_best")
    tau = append_threshold(graph, n, x, best, first, sums)
    r = graph.add("Max", graph.add("Sub", x, tau, name="over"), graph.constant("zero", scalar(0)), name="r")
    p = graph.add("Pow", r, graph.constant("power", scalar(power)), name="p")
    append_sparse(graph, width, n, p, shifted, temperature, z)
