"""What a classifier's file is told to be."""

from pathlib import Path

import onnx
import pytest
from onnx import ModelProto, NodeProto, helper

from service.heads.description import describe
from tests.heads import classifiers
from tests.heads.test_choice import HALVES, HIDDEN, SHAPES, SIGMOIDS, ending, make


def saved(folder: Path, model: ModelProto) -> Path:
    onnx.save(model, folder / "classifier.onnx")
    return folder / "classifier.onnx"


def test_a_classifier_is_told_with_the_way_to_its_logits(tmp_path: Path) -> None:
    model = classifiers.ending_in_softmax()
    model.producer_name, model.producer_version = "mine", "1.2"
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    about = describe(saved(tmp_path, model))
    assert about.producer == "mine 1.2"
    assert about.opsets == {"ai.onnx": 18, "ai.onnx.ml": 3}
    assert about.inputs == {"x": "float32 [N, 6]"}
    assert about.outputs == {"probabilities": "float32 [N, 3], probabilities", "best": "int64 [N]"}
    assert about.logits == {"wide": "probabilities"}
    assert (about.options, about.refusal) == ([["--output", "wide"]], None)


def test_where_there_are_only_probabilities_the_way_is_their_logarithm(tmp_path: Path) -> None:
    about = describe(saved(tmp_path, ending(HIDDEN)))
    assert (about.logits, about.options) == ({}, [["--from-probabilities"]])
    assert "which the graph does not have" in (about.refusal or "")


@pytest.mark.parametrize(
    ("nodes", "logits", "options"),
    [
        (SIGMOIDS, {"wide": "out"}, ["--output", "wide"]),
        (HALVES, {}, ["--from-probabilities"]),
        ([make("ReduceSum", ["wide", "axes"], ["out"])], {}, ["--output", "out"]),
    ],
    ids=["before the sigmoid", "behind it", "one"],
)
def test_single_labels_are_told_with_their_family(
    tmp_path: Path, nodes: list[NodeProto], logits: dict[str, str], options: list[str]
) -> None:
    about = describe(saved(tmp_path, ending(nodes, SHAPES.get(nodes[0].op_type, ("batch", 3)))))
    assert (about.logits, about.options) == (logits, [["--family", "sigmoid", *options]])


def test_where_there_is_no_way_the_reason_is_told(tmp_path: Path) -> None:
    about = describe(saved(tmp_path, classifiers.linear(n=4)))
    assert about.options == []
    assert "a batch dimension fixed at 4" in (about.refusal or "")
