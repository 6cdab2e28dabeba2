"""Entmax, as nodes: at alpha 1.5 from the best classes, as sparsemax; at any other by Newton's steps."""

import numpy as np
from onnx import TensorProto

from service.families.entmax import Entmax
from service.heads.graph import Dim, Graph, ints, scalar
from service.heads.masking import Shifted
from service.heads.sparsemax import append_best, append_loop, append_sparse, append_threshold
from service.heads.stages import Stages
from service.heads.width import Width


def append_entmax15(graph: Graph, width: Width, n: Dim, shifted: Shifted, temperature: str, _: Stages) -> None:
    """Append the outputs, from the shifted logits and `temperature` [n, 1]; for their shapes see `build.append`."""
    z = graph.add("Div", shifted.scores, temperature, name="z")
    x = graph.add("Mul", z, graph.constant("half", scalar(0.5)), name="x")
    best = append_best(graph, x)
    axis, least = graph.constant("axis", np.asarray(1, np.int64)), graph.constant("least", scalar(-1))
    mean = graph.add("Div", graph.add("CumSum", best.s, axis, name="best_sums"), best.ranks, name="best_mean")
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

    def step(body: Graph, r: str) -> tuple[str, str]:
        return body.add("Mul", r, r, name="r_squared"), body.add("Add", r, r, name="r_twice")

    tau = append_threshold(graph, n, x, first, step)
    r = graph.add("Max", graph.add("Sub", x, tau, name="over"), graph.constant("zero", scalar(0)), name="r")
    append_sparse(graph, width, n, graph.add("Mul", r, r, name="p"), shifted, temperature, z)


def append_outputs(graph: Graph, width: Width, n: Dim, shifted: Shifted, temperature: str, stages: Stages) -> None:
    """Append the outputs of entmax at an alpha above 1 and below 2."""
    family = stages.family
    assert isinstance(family, Entmax)  # noqa: S101 - the register says so
    power = 1 / (family.alpha - 1)
    z = graph.add("Div", shifted.scores, temperature, name="z")
    x = graph.add("Mul", z, graph.constant("alpha_less_1", scalar(family.alpha - 1)), name="x")
    last, zero, least = (
        graph.constant("last", ints(-1)),
        graph.constant("zero", scalar(0)),
        graph.constant("least", scalar(-1)),
    )
    # all that can be in the support of any row; a row's sums run one by one, so that more of them change no bit
    near = graph.add("Cast", graph.add("Greater", x, least, name="near"), name="near_ones", to=TensorProto.INT64)
    most = graph.add(
        "ReduceMax", graph.add("ReduceSum", near, last, name="n_near", keepdims=1), name="most_near", keepdims=0
    )
    some = graph.add("Max", most, graph.constant("one_class", np.asarray(1, np.int64)), name="n_best_any")
    few = graph.add("Reshape", some, graph.constant("one_number", ints(1)), name="n_best")
    s, _classes = graph.add_all("TopK", x, few, names=("best", "best_classes"), axis=-1, largest=1, sorted=1)
    axis = graph.constant("axis", np.asarray(1, np.int64))
    exponents = {
        name: graph.constant(name, scalar(value)) for name, value in (("power", power), ("power_less_1", power - 1))
    }

    def step(body: Graph, r: str) -> tuple[str, str]:
        terms = body.add("Pow", r, exponents["power"], name="r_power")
        slopes = body.add(
            "Mul", body.add("Pow", r, exponents["power_less_1"], name="r_power_less"), exponents["power"], name="slopes"
        )
        sums = [
            body.add("CumSum", one, axis, name=f"{name}_sums") for one, name in ((terms, "term"), (slopes, "slope"))
        ]
        # sums of what is not negative: the largest is the last
        return tuple(
            body.add("ReduceMax", one, last, name=f"{name}_sum", keepdims=1)
            for one, name in zip(sums, ("term", "slope"), strict=True)
        )  # type: ignore[return-value]

    rows = graph.add("Shape", x, name="n_rows", start=0, end=1)
    shape = graph.add("Concat", rows, graph.constant("one_number", ints(1)), name="tau_shape", axis=0)
    tau = graph.add("Expand", least, shape, name="tau_first")
    always = graph.constant("always", np.asarray(True, np.bool_))
    tau = append_loop(graph, n, s, tau, always, step)
    r = graph.add("Max", graph.add("Sub", x, tau, name="over"), zero, name="r")
    append_sparse(graph, width, n, graph.add("Pow", r, exponents["power"], name="p"), shifted, temperature, z)
