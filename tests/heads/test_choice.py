"""Which tensor a head stands behind: the logits, and never what a softmax or a sigmoid made of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper

from service.errors import HeadError, UsedWrongly
from service.heads.choice import Chosen, choose
from tests.heads import classifiers
from tests.heads.running import run, session

make = helper.make_node
ROWS = {"x": np.random.default_rng(1).normal(size=(5, 6)).astype(np.float32)}
LOGITS = ROWS["x"] @ classifiers.WEIGHTS + classifiers.BIAS
AXES = ("axes", np.array([1]))
SIGMOIDS = [make("Sigmoid", ["wide"], ["out"])]
SPELT_OUT = [
    make("Exp", ["wide"], ["e"]),
    make("ReduceSum", ["e", "axes"], ["sum"]),
    make("Div", ["e", "sum"], ["out"]),
]
HIDDEN = [
    make("Abs", ["wide"], ["votes"]),
    make("ReduceSum", ["votes", "axes"], ["sum"]),
    make("Div", ["votes", "sum"], ["out"]),
]
HALVES = [make("Abs", ["wide"], ["size"]), make("Softsign", ["size"], ["out"])]
SHAPES: Mapping[str, Sequence[int | str]] = {
    "ArgMax": ("batch", 1),
    "ReduceSum": ("batch", 1),
    "Unsqueeze": ("batch", 1, 3),
}


def ending(nodes: Sequence[NodeProto], shape: Sequence[int | str] = ("batch", 3), **more: Any) -> ModelProto:
    """The Gemm with something behind its logits, `wide`; what it answers is called `out`."""
    gemm = make("Gemm", ["x", "weights", "bias"], ["wide"])
    weights: list[tuple[str, NDArray[Any]]] = [("weights", classifiers.WEIGHTS), ("bias", classifiers.BIAS), AXES]
    return classifiers.made([gemm, *nodes], [("x", 1, ["batch", 6])], [("out", 1, shape)], weights, **more)


def chosen(folder: Path, model: ModelProto, output: str | None = None, **more: Any) -> Chosen:
    path = folder / "classifier.onnx"
    onnx.save(model, path)
    return choose(path, output, **more)


@pytest.mark.parametrize(
    "nodes",
    [
        [make("Softmax", ["wide"], ["out"])],
        [make("LogSoftmax", ["wide"], ["out"])],
        SPELT_OUT,
        [make("Softmax", ["wide"], ["p"]), make("Cast", ["p"], ["c"], to=11), make("Cast", ["c"], ["out"], to=1)],
    ],
    ids=["softmax", "log-softmax", "spelt out", "cast"],
)
def test_the_logits_are_found_without_a_name_and_are_the_only_output(tmp_path: Path, nodes: list[NodeProto]) -> None:
    found = chosen(tmp_path, ending(nodes))
    assert (found.output, found.example) == ("wide", None)
    answers = run(session(found.model), **ROWS)
    assert list(answers) == ["wide"]
    np.testing.assert_allclose(answers["wide"], LOGITS, rtol=1e-5)
    assert found.alone < 1e-6


@pytest.mark.parametrize(
    ("nodes", "output", "sentence"),
    [
        (SPELT_OUT, "out", "out holds probabilities, rows that add up to 1; expected logits: take --output wide"),
        (
            HIDDEN,
            "out",
            "holds probabilities, rows that add up to 1; expected logits, which the graph does not have: "
            "--from-probabilities takes their logarithm",
        ),
        (HIDDEN, None, "--from-probabilities takes their logarithm"),
        (
            SIGMOIDS,
            None,
            "out holds numbers from 0 to 1 that do not add up to 1, as a sigmoid answers for single labels; expected "
            "logits: take --family sigmoid --output wide",
        ),
        (SIGMOIDS, "out", "as a sigmoid answers for single labels"),
        (SPELT_OUT, "nothing", "the classifier has no output nothing, it has: out"),
        ([make("ArgMax", ["wide"], ["out"], axis=1)], "out", r"out is int64 \[N, 1\]; expected logits"),
        (
            [make("ArgMax", ["wide"], ["out"], axis=1)],
            None,
            r"has no logits, .* among its outputs: out, int64 \[N, 1\]",
        ),
        ([make("Unsqueeze", ["wide", "axes"], ["out"])], None, r"float32 \[N, 1, 3\], answers at several places"),
        (
            [make("ReduceSum", ["wide", "axes"], ["out"])],
            "out",
            "has one class, whose softmax is always 1; expected 2 or more, or --family sigmoid",
        ),
        ([make("ReduceSum", ["wide", "axes"], ["out"])], None, "has one class, .*, or --family sigmoid"),
    ],
)
def test_what_holds_no_logits_is_refused_with_what_to_do(
    tmp_path: Path, nodes: list[NodeProto], output: str | None, sentence: str
) -> None:
    model = ending(nodes, SHAPES.get(nodes[0].op_type, ("batch", 3)))
    if nodes[0].op_type == "ArgMax":
        model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    with pytest.raises(UsedWrongly, match=sentence):
        chosen(tmp_path, model, output)


def test_probabilities_without_logits_get_a_logarithm_behind_them(tmp_path: Path) -> None:
    found = chosen(tmp_path, ending(HIDDEN), from_probabilities=True)
    p = np.abs(LOGITS) / np.abs(LOGITS).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(run(session(found.model), **ROWS)[found.output], np.log(p), rtol=1e-4)


@pytest.mark.parametrize("output", [None, "wide"])
def test_a_head_for_single_labels_stands_before_the_sigmoid(tmp_path: Path, output: str | None) -> None:
    assert chosen(tmp_path, ending(SIGMOIDS), output, link="sigmoid").output == "wide"


def test_a_head_for_single_labels_stands_behind_logits_of_one_class_too(tmp_path: Path) -> None:
    total = ending([make("ReduceSum", ["wide", "axes"], ["out"])], ("batch", 1))
    assert chosen(tmp_path, total, link="sigmoid").output == "out"


@pytest.mark.parametrize(
    ("nodes", "output", "sentence"),
    [
        (SIGMOIDS, "out", "as a sigmoid answers for single labels; expected logits: take --output wide"),
        (HALVES, None, "which the graph does not have: --from-probabilities takes their logarithm"),
        (SPELT_OUT, None, "out holds probabilities, rows that add up to 1; expected logits: take --output wide"),
    ],
)
def test_a_head_for_single_labels_stands_behind_no_sigmoid(
    tmp_path: Path, nodes: list[NodeProto], output: str | None, sentence: str
) -> None:
    with pytest.raises(UsedWrongly, match=sentence):
        chosen(tmp_path, ending(nodes), output, link="sigmoid")


def test_single_labels_without_logits_get_them_behind(tmp_path: Path) -> None:
    with pytest.raises(UsedWrongly, match="which the graph does not have: --family sigmoid --from-probabilities"):
        chosen(tmp_path, ending(HALVES))
    with pytest.raises(UsedWrongly, match="expected probabilities with --from-probabilities; --family sigmoid takes"):
        chosen(tmp_path, ending(HALVES), "out", from_probabilities=True)
    found = chosen(tmp_path, ending(HALVES), link="sigmoid", from_probabilities=True)
    p = np.abs(LOGITS) / (1 + np.abs(LOGITS))
    np.testing.assert_allclose(run(session(found.model), **ROWS)[found.output], np.log(p / (1 - p)), rtol=1e-4)


def test_logits_are_no_probabilities_to_take_the_logarithm_of(tmp_path: Path) -> None:
    with pytest.raises(UsedWrongly, match="out holds logits; expected probabilities with --from-probabilities"):
        chosen(tmp_path, ending([make("Neg", ["wide"], ["out"])]), "out", from_probabilities=True)
    with pytest.raises(UsedWrongly, match="has outputs that hold probabilities: none"):
        chosen(tmp_path, ending([make("Neg", ["wide"], ["out"])]), from_probabilities=True)


def test_logits_that_are_all_nan_are_not_taken_for_logits(tmp_path: Path) -> None:
    """Zero over zero: no rows that can be made up show what comes out."""
    nodes = [make("Sub", ["wide", "wide"], ["zero"]), make("Div", ["zero", "zero"], ["out"])]
    with pytest.raises(UsedWrongly, match="the output out is NaN in every row; expected numbers: --inputs FILE"):
        chosen(tmp_path, ending(nodes))


def test_a_classifier_that_takes_the_logarithm_of_its_inputs_is_looked_at_with_positive_ones(tmp_path: Path) -> None:
    model = ending([make("Log", ["x"], ["logs"]), *SPELT_OUT])
    model.graph.node[0].input[0] = "logs"
    model.graph.node.insert(0, model.graph.node.pop(1))
    assert chosen(tmp_path, model).output == "wide"
    with pytest.raises(UsedWrongly, match="take --output wide"):
        chosen(tmp_path, model, "out")


@pytest.mark.parametrize("end", ["Identity", "Softmax", "LogSoftmax"])
def test_a_class_without_a_score_hides_nothing(tmp_path: Path, end: str) -> None:
    """Its logit is -inf in every row, as where a class is masked inside."""
    hidden = ("hidden", np.array([0, -np.inf, 0], np.float32))
    model = ending([make("Add", ["wide", "hidden"], ["some"]), make(end, ["some"], ["out"])])
    model.graph.initializer.append(onnx.numpy_helper.from_array(hidden[1], hidden[0]))
    assert chosen(tmp_path, model).output == ("out" if end == "Identity" else "some")


def test_several_tensors_that_can_be_logits_are_named(tmp_path: Path) -> None:
    model = ending(
        [make("Softmax", ["wide"], ["out"]), make("Neg", ["wide"], ["less"]), make("Softmax", ["less"], ["p"])]
    )
    model.graph.output.append(helper.make_tensor_value_info("p", 1, ["batch", 3]))
    with pytest.raises(UsedWrongly, match="several tensors that can be logits: wide, less; name one: --output"):
        chosen(tmp_path, model)
    assert chosen(tmp_path, model, "less").output == "less"


def test_an_inner_tensor_can_be_named(tmp_path: Path) -> None:
    assert chosen(tmp_path, ending(SPELT_OUT), "wide").output == "wide"


def test_an_inner_tensor_of_probabilities_is_refused_as_an_output_is(tmp_path: Path) -> None:
    model = ending([make("Softmax", ["wide"], ["p"]), make("Neg", ["p"], ["out"])])
    with pytest.raises(UsedWrongly, match=r"the output p holds probabilities, .* take --output wide"):
        chosen(tmp_path, model, "p")


def test_a_softmax_that_is_not_over_the_classes_is_none(tmp_path: Path) -> None:
    """The nodes look right, the numbers are others."""
    found = chosen(
        tmp_path,
        ending([make("Softmax", ["wide"], ["p"]), make("Log", ["p"], ["l"]), make("Mul", ["l", "l"], ["out"])]),
    )
    assert found.output == "out"


def test_a_classifier_that_takes_no_made_up_rows_takes_its_own(tmp_path: Path) -> None:
    """Row 0 of its own is kept, for the warm-up of serving."""
    nodes = [make("Gather", ["table", "x"], ["words"]), make("ReduceSum", ["words", "axes"], ["out"], keepdims=0)]
    table = classifiers.WEIGHTS
    shift = [make("Sub", ["ids", "far"], ["x"])]
    inputs: list[classifiers.Value] = [("ids", onnx.TensorProto.INT32, ["batch", 4])]
    weights: list[tuple[str, NDArray[Any]]] = [("table", table), AXES, ("far", np.array(1000, np.int32))]
    model = classifiers.made([*shift, *nodes], inputs, [("out", 1, ["batch", 3])], weights)
    with pytest.raises(
        HeadError, match=r"does not run on made-up rows, .*; expected rows that it takes: --inputs FILE"
    ):
        chosen(tmp_path, model)
    rows: Mapping[str, NDArray[Any]] = {"ids": np.array([[1000, 1001, 1002, 1003], [1004] * 4], np.int32)}
    found = chosen(tmp_path, model, rows=rows)
    assert found.example == {"ids": [1000, 1001, 1002, 1003]}
