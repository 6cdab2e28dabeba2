"""A classifier on a few rows: made-up ones of every kind that it may take, or its own."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

from service.errors import DataError, HeadError
from service.heads.trial import N_ROWS, Trial, read_inputs, run_reason
from tests.heads import classifiers

PATH = Path("classifier.onnx")
make = helper.make_node


def gathering(rows: int, steps: int | str = "steps") -> ModelProto:
    """Tokens below `rows` to logits [N, 3]."""
    nodes = [make("Gather", ["table", "ids"], ["words"]), make("ReduceMean", ["words", "axes"], ["logits"], keepdims=0)]
    table = np.random.default_rng(0).normal(size=(rows, 3)).astype(np.float32)
    weights: list[Any] = [("table", table), ("axes", np.array([1]))]
    return classifiers.made(nodes, [("ids", TensorProto.INT64, ["n", steps])], [("logits", 1, ["n", 3])], weights)


def encoding(words: list[str]) -> ModelProto:
    """A one-hot encoder that takes no other words, as scikit-learn's does."""
    nodes = [
        make("OneHotEncoder", ["text"], ["hot"], domain="ai.onnx.ml", cats_strings=words, zeros=0),
        make("Reshape", ["hot", "shape"], ["logits"]),
    ]
    inputs: list[classifiers.Value] = [("text", TensorProto.STRING, ["n", 1])]
    outputs: list[classifiers.Value] = [("logits", 1, ["n", len(words)])]
    others = [helper.make_opsetid("ai.onnx.ml", 3)]
    return classifiers.made(nodes, inputs, outputs, [("shape", np.array([0, -1]))], others=others)


@pytest.mark.parametrize("rows", [100, 10, 2])
def test_made_up_indices_get_smaller_until_the_classifier_takes_them(rows: int) -> None:
    trial = Trial(gathering(rows), PATH)
    feed = trial.made_up()
    assert feed["ids"].shape[0] == N_ROWS
    assert feed["ids"].max() == min(rows, 10) - 1
    assert trial.run(feed, ["logits"])["logits"].shape == (N_ROWS, 3)


def test_made_up_words_are_those_that_the_graph_lists_where_it_takes_no_others() -> None:
    trial = Trial(encoding(["Bern", "Köln"]), PATH)
    assert set(trial.made_up()["text"].ravel()) == {"Bern", "Köln"}
    example = trial.example({"text": np.array([["Köln"]], object)})
    assert example == {"text": ["Köln"]}


def test_a_classifier_that_serving_can_make_rows_up_for_needs_no_example() -> None:
    assert Trial(gathering(10), PATH).example({"ids": np.array([[3, 4]])}) is None


def test_a_fixed_shape_inside_is_found_by_growing_the_open_one() -> None:
    """As a classifier that pools 48 steps."""
    model = gathering(10)
    model.graph.node.insert(0, make("Split", ["ids", "parts"], ["first", "rest"], axis=1))
    model.graph.node[1].input[1] = "first"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([30, 18]), "parts"))
    assert Trial(model, PATH).made_up()["ids"].shape == (N_ROWS, 48)


def test_any_tensor_inside_can_be_looked_at() -> None:
    trial = Trial(gathering(10), PATH, ["words"])
    assert trial.run(trial.made_up(), ["words"])["words"].ndim == 3


def test_rows_of_a_file_run_in_batches_and_a_refusal_names_them() -> None:
    trial = Trial(gathering(10), PATH)
    ids = np.random.default_rng(0).integers(0, 10, (3000, 2))
    heard: list[str] = []
    found = trial.answers({"ids": ids, "labels": np.zeros(3000)}, "logits", heard.append)
    assert (found.shape, found.dtype.name) == ((3000, 3), "float32")
    assert heard == [f"the classifier, from row {start:,}" for start in (0, 1024, 2048)]
    ids[1500] = 10
    with pytest.raises(
        DataError, match=r"does not run on rows 1024 to 2047: indices element out of data bounds"
    ) as error:
        trial.answers({"ids": ids}, "logits")
    assert error.value.row == 1024


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (classifiers.linear(n=2), "the classifier's input x has a batch dimension fixed at 2: export the classifier"),
        (
            classifiers.made([make("Identity", ["x"], ["y"])], [("x", 1, [])], [("y", 1, [])]),
            "input x has no dimensions",
        ),
        (
            classifiers.made(
                [make("Identity", ["x"], ["y"])], [("x", TensorProto.COMPLEX64, ["n"])], [("y", 1, ["n"])]
            ),
            "input x is complex64; expected float, double, float16, int64, int32, uint8, bool, string",
        ),
    ],
    ids=["fixed", "scalar", "complex"],
)
def test_an_input_that_cannot_be_served_is_refused(model: ModelProto, sentence: str) -> None:
    with pytest.raises(HeadError, match=sentence):
        read_inputs(model)


def test_a_sequence_is_no_input() -> None:
    model = classifiers.linear()
    sequence = helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, ["n"]))
    model.graph.input.append(helper.make_value_info("many", sequence))
    with pytest.raises(HeadError, match="the classifier's input many is a sequence; expected a tensor"):
        read_inputs(model)


def test_a_reason_is_what_is_wrong_alone() -> None:
    text = "[ONNXRuntimeError] : 1 : FAIL : Non-zero status while running Gather. Status Message: x was false. idx=3"
    assert run_reason(RuntimeError(text)) == "idx=3"
