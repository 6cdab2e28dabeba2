"""What exporters do to a file is undone before anything else looks at it."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

from service.errors import HeadError
from service.heads import classifier
from service.heads.logits import Link
from tests.heads import classifiers
from tests.heads.running import run, session

X = np.random.default_rng(1).normal(size=(5, 6)).astype(np.float32)
LOGITS = X @ classifiers.WEIGHTS + classifiers.BIAS


def test_a_domain_that_is_imported_twice_is_imported_once_in_its_highest_version() -> None:
    model = classifiers.from_sklearn()
    model.opset_import.extend([helper.make_opsetid("", 9), helper.make_opsetid("ai.onnx", 13)])
    versions = {entry.domain: entry.version for entry in classifier.uniform(model).opset_import}
    assert versions == {"": 15, "ai.onnx.ml": 3}
    del model.opset_import[:]
    assert classifier.uniform(model).opset_import[0].domain == ""


@pytest.mark.parametrize("size", [-1, 0])
def test_an_open_dimension_that_is_written_as_a_number_is_open(size: int) -> None:
    model = classifiers.linear(n=size)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == size
    dim = classifier.uniform(model).graph.input[0].type.tensor_type.shape.dim[0]
    assert (dim.dim_param, dim.HasField("dim_value")) == ("N", False)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == size  # a copy was changed


def transforming(transform: str) -> ModelProto:
    """The LinearClassifier with a softmax or a logistic function inside."""
    model = classifiers.from_sklearn()
    next(one for one in model.graph.node[0].attribute if one.name == "post_transform").s = transform.encode()
    return model


@pytest.mark.parametrize(("transform", "link"), [("SOFTMAX", "softmax"), ("LOGISTIC", "sigmoid")])
def test_a_transform_inside_a_classifier_becomes_nodes_behind_its_logits(transform: str, link: str) -> None:
    model = transforming(transform)
    apart = classifier.uniform(model)
    apart.graph.output.append(onnx.ValueInfoProto(name="logits_logits"))
    answers = run(session(apart), x=X)
    np.testing.assert_allclose(answers["logits"], run(session(model), x=X)["logits"], rtol=1e-5)
    own = LOGITS if link == "softmax" else -np.log1p(np.exp(-LOGITS))
    np.testing.assert_allclose(answers["logits_logits"], own, rtol=1e-4)


def test_a_zip_map_gives_the_tensor_that_it_is_made_of_under_its_name() -> None:
    model = classifiers.from_sklearn()
    model.graph.node[0].output[1] = "scores"
    model.graph.node.append(
        helper.make_node("ZipMap", ["scores"], ["logits"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2])
    )
    del model.graph.output[:]
    key_map = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(1, []))
    sequence = helper.make_sequence_type_proto(key_map)
    model.graph.output.append(helper.make_value_info("logits", sequence))
    np.testing.assert_allclose(run(session(classifier.uniform(model)), x=X)["logits"], LOGITS, rtol=1e-5)


def test_two_probabilities_of_a_sigmoid_get_logits_beside_them() -> None:
    nodes = [
        helper.make_node("Sigmoid", ["z"], ["p"]),
        helper.make_node("Sub", ["one", "p"], ["q"]),
        helper.make_node("Concat", ["q", "p"], ["both"], axis=1),
    ]
    one = [("one", np.array([1], np.float32))]
    model = classifiers.made(nodes, [("z", 1, ["batch", 1])], [("both", 1, ["batch", 2])], one)
    apart = classifier.uniform(model)
    apart.graph.output.append(onnx.ValueInfoProto(name="both_logits"))
    z = np.array([[-3], [0.5]], np.float32)
    np.testing.assert_array_equal(run(session(apart), z=z)["both_logits"], np.hstack([np.zeros_like(z), z]))


def test_words_are_lowered_as_a_machine_without_languages_can() -> None:
    node = helper.make_node("StringNormalizer", ["x"], ["y"], case_change_action="LOWER", locale="en_US")
    model = classifiers.made([node], [("x", TensorProto.STRING, ["n"])], [("y", TensorProto.STRING, ["n"])])
    words = np.array(["Köln", "ÉTÉ"], object)
    assert run(session(classifier.uniform(model)), x=words)["y"].tolist() == ["köln", "été"]


def test_a_name_that_is_taken_gets_longer() -> None:
    model = classifiers.linear()
    assert classifier.free_name(model.graph, "x") == "x_"
    assert classifier.free_name(model.graph, "y") == "y"


@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
def test_probabilities_get_their_logits_and_0_counts_as_a_small_number(link: Link) -> None:
    node = helper.make_node("Identity", ["x"], ["p"])
    model = classifiers.made([node], [("x", 1, ["n", 3])], [("p", 1, ["n", 3])])
    tensor = classifier.invert(model, "p", link)
    short = classifier.cut(model, tensor, ("N", 3), TensorProto.FLOAT)
    answer = run(session(short), x=np.array([[0, 0.25, 1]], np.float32))[tensor]
    least = np.log(1e-12)
    expected = [least, np.log(0.25), 0] if link == "softmax" else [least, np.log(0.25 / 0.75), -least]
    np.testing.assert_allclose(answer, [expected], rtol=1e-6)


def test_what_is_cut_has_nothing_that_its_output_does_not_need() -> None:
    model = classifiers.ending_in_softmax()
    short = classifier.cut(model, "wide", ("N", 3), TensorProto.FLOAT)
    assert [node.op_type for node in short.graph.node] == ["Gemm"]
    assert [entry.name for entry in short.graph.output] == ["wide"]
    np.testing.assert_allclose(run(session(short), x=X)["wide"], LOGITS, rtol=1e-5)


TOO_MUCH = 2_200_000_000  # bytes, of which none is on the disk


def too_large(path: Path, where: str) -> None:
    """Make a classifier of more than protobuf's 2 GiB."""
    model = classifiers.linear()
    if where == "the file":
        onnx.save(model, path)
        os.truncate(path, TOO_MUCH)
        return
    weights = onnx.TensorProto(name="heavy", data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    weights.dims[:] = [TOO_MUCH // 4]
    for key, value in (("location", "weights.bin"), ("length", str(TOO_MUCH))):
        weights.external_data.add(key=key, value=value)
    graph = model.graph
    if where == "a constant in a branch":
        constant = helper.make_node("Constant", [], ["heavy"], value=weights)
        branch = helper.make_graph([constant], "branch", [], [helper.make_tensor_value_info("heavy", 1, None)])
        graph.node.append(helper.make_node("If", ["yes"], ["what"], then_branch=branch, else_branch=branch))
    else:
        graph.initializer.append(weights)
    onnx.save(model, path)
    path.with_name("weights.bin").touch()
    os.truncate(path.with_name("weights.bin"), TOO_MUCH)


@pytest.mark.parametrize("where", ["the file", "an initializer", "a constant in a branch"])
def test_weights_that_no_head_file_holds_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    path = tmp_path / "classifier.onnx"
    too_large(path, where)
    monkeypatch.setattr(onnx, "load_external_data_for_model", pytest.fail)
    with pytest.raises(
        HeadError, match=r"has [24]\.[24]0 GB with its weights; expected 2 GB at most, for a head is one"
    ):
        classifier.load(path)


@pytest.mark.parametrize("data", [b"short", None], ids=["short", "missing"])
def test_data_beside_the_file_that_is_not_all_there_is_refused_in_one_sentence(
    tmp_path: Path, data: bytes | None
) -> None:
    path = tmp_path / "classifier.onnx"
    onnx.save(classifiers.linear(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    weights = tmp_path / "weights.bin"
    weights.unlink() if data is None else weights.write_bytes(data)
    with pytest.raises(HeadError, match=r"classifier.onnx is not an ONNX model: "):
        classifier.load(path)


def test_a_file_with_its_data_beside_it_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "classifier.onnx"
    onnx.save(classifiers.linear(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    np.testing.assert_allclose(run(session(classifier.load(path)), x=X)["logits"], LOGITS, rtol=1e-5)


def test_a_head_is_no_classifier_and_neither_is_text(tmp_path: Path) -> None:
    onnx.save(classifiers.linear(), tmp_path / "model.onnx")
    assert classifier.is_classifier(tmp_path / "model.onnx")
    assert not classifier.is_classifier(Path("models/softmax/1/model.onnx"))
    (tmp_path / "text.onnx").write_text("text")
    assert not classifier.is_classifier(tmp_path / "text.onnx")
