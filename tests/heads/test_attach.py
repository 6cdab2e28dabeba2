"""The head behind a classifier, in ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from service.errors import CannotStart, HeadError, UsedWrongly
from service.families.outputs import CLASSIFIER_LOGITS
from service.heads.attach import attach
from service.heads.publish import write
from service.heads.reading import read_stages
from service.heads.reference import expected
from service.heads.stages import Stages
from service.metadata import Metadata
from tests.heads import classifiers
from tests.heads.running import run, session

OUTPUTS = ["probabilities", "log_probabilities", "logsumexp", "scores", CLASSIFIER_LOGITS]
X = np.random.default_rng(1).normal(size=(5, 6)).astype(np.float32)
LOGITS = X @ classifiers.WEIGHTS + classifiers.BIAS
MASK = np.random.default_rng(2).random((5, 3)) < 0.7
TEMPERATURE = np.random.default_rng(3).uniform(0.5, 2, (5, 1))


def attached(
    classifier: ModelProto | Path,
    output: str = "logits",
    stages: Stages | None = None,
    metadata: Metadata | None = None,
) -> ModelProto:
    """The classifier with a head, T = 1.7 by default."""
    return attach(classifier, output, stages or Stages(1.7), metadata or Metadata())


def check(
    model: ModelProto, logits: NDArray[Any], stages: Stages | None = None, rtol: float = 1e-6, **inputs: NDArray[Any]
) -> None:
    """Run with and without mask and temperature, and hold both against the reference."""
    running, stages = session(model), stages or Stages(1.7)
    n = len(logits)
    defaults = (np.ones(logits.shape, bool), np.full((n, 1), stages.temperature))
    right = expected(stages, logits, *defaults)["probabilities"].astype(float)
    np.testing.assert_allclose(run(running, **inputs)["probabilities"], right, rtol)
    mask, temperature = MASK[:n, : logits.shape[1]], TEMPERATURE[:n]
    right = expected(stages, logits, mask, temperature)["probabilities"].astype(float)
    answer = run(running, **inputs, mask=mask, temperature=temperature)
    np.testing.assert_allclose(answer["probabilities"], right, rtol)


@pytest.mark.parametrize("opset", [9, 13, 18, 21])
@pytest.mark.parametrize("ir_version", [3, 8, 10])
def test_a_classifier_answers_calibrated_probabilities(opset: int, ir_version: int) -> None:
    """Old opsets are converted; in IR 3 every weight is an input too, which it does not stay."""
    classifier = classifiers.linear(opset=opset, ir_version=ir_version)
    if ir_version == 3:
        for name, shape in (("weights", [6, 3]), ("bias", [3])):
            classifier.graph.input.append(helper.make_tensor_value_info(name, 1, shape))
    model = attached(classifier)
    assert [entry.name for entry in model.graph.input] == ["x", "mask", "temperature"]
    assert [entry.name for entry in model.graph.output] == OUTPUTS
    check(model, LOGITS, x=X)


def test_the_same_bias_as_in_a_head_of_its_own() -> None:
    """And the classifier's own `bias` is not taken for it."""
    stages = Stages(0.8, np.array([1.0, -1.0, 0.5]))
    model = attached(classifiers.linear(), stages=stages)
    check(model, LOGITS, stages, x=X)
    assert np.all(read_stages(model).bias == stages.bias)
    assert read_stages(attached(classifiers.linear())).bias is None


@pytest.mark.parametrize("type_", [TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.FLOAT])
def test_logits_of_any_float_type_are_taken(type_: int) -> None:
    """They are cast to float32."""
    check(attached(classifiers.of_type(type_)), LOGITS, rtol=3e-3 if type_ == TensorProto.FLOAT16 else 1e-6, x=X)


def test_bfloat16_logits_pass_the_checker(tmp_path: Path) -> None:
    """ONNX Runtime has no bfloat16 Cast on every CPU, so only the file is checked."""
    write(attached(classifiers.of_type(TensorProto.BFLOAT16)), tmp_path / "model.onnx")


def test_a_convolution_of_opset_13_whose_inner_names_are_the_heads() -> None:
    """It has a tensor called `scores`."""
    image = np.random.default_rng(4).normal(size=(5, 1, 4, 4)).astype(np.float32)
    logits = run(session(classifiers.convolution()), image=image)["logits"]
    check(attached(classifiers.convolution()), logits, rtol=1e-5, image=image)


def test_operators_of_other_domains_are_kept() -> None:
    """The opset of ai.onnx.ml stays imported."""
    check(attached(classifiers.from_sklearn()), LOGITS, x=X)


@pytest.mark.parametrize("doubled", [True, False])
def test_branches_keep_their_outer_weights(doubled: bool) -> None:
    """Names are changed inside branches too."""
    logits = (np.multiply if doubled else np.add)(LOGITS, np.arange(1, 4, dtype=np.float32))
    check(attached(classifiers.branching()), logits, x=X, doubled=np.array(doubled))


def test_a_tensor_inside_can_be_named_and_what_comes_after_it_is_dropped() -> None:
    """A classifier that ends in a Softmax is served from the logits before it."""
    model = attached(classifiers.ending_in_softmax(), "wide")
    check(model, LOGITS, x=X)
    assert not {"Softmax", "ArgMax"} & {node.op_type for node in model.graph.node}


def test_a_fixed_batch_dimension_stays_visible() -> None:
    """It is refused where it is served, with a sentence of its own."""
    model = attached(classifiers.linear(n=1))
    assert {entry.type.tensor_type.shape.dim[0].dim_value for entry in model.graph.output} == {1}


def test_the_symbol_of_the_batch_is_the_classifiers() -> None:
    """So that the shapes of mask and logits agree."""
    mask = attached(classifiers.linear()).graph.input[1]
    assert mask.type.tensor_type.shape.dim[0].dim_param == "batch"


def test_the_labels_tell_a_number_of_classes_that_the_graph_leaves_open() -> None:
    """The mask then has a fixed width."""
    classifier = classifiers.linear(k="classes")
    classifier.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "features"
    del classifier.graph.node[:]
    classifier.graph.node.append(helper.make_node("Identity", ["x"], ["logits"]))
    model = attached(classifier, metadata=Metadata(labels=("a", "b", "c"), classes=3))
    assert model.graph.output[0].type.tensor_type.shape.dim[1].dim_value == 3
    check(attached(classifier), LOGITS, x=LOGITS)
    check(model, LOGITS, x=LOGITS)


def test_the_metadata_say_that_it_is_a_classifier() -> None:
    """The mask does not come first: the logits are inside. What else the file said stays."""
    classifier = classifiers.linear()
    helper.set_model_props(classifier, {"author": "somebody"})
    props = {prop.key: prop.value for prop in attached(classifier).metadata_props}
    metadata = Metadata.from_props(props)
    assert (metadata.takes, metadata.classes, metadata.masks_first) == ("inputs", 3, False)
    assert metadata.temperature == 1.7
    assert props["author"] == "somebody"


def test_the_classifier_is_left_as_it_was() -> None:
    """A copy is changed."""
    classifier = classifiers.linear(opset=13)
    attached(classifier)
    assert classifier == classifiers.linear(opset=13)


def test_a_head_that_computes_something_else_is_not_written_behind_a_classifier(tmp_path: Path) -> None:
    """The head is taken out and checked on its own."""
    model = attached(classifiers.convolution())
    write(model, tmp_path / "model.onnx")
    next(node for node in model.graph.node if node.op_type == "Exp").op_type = "Sigmoid"
    with pytest.raises(HeadError, match="further than"):
        write(model, tmp_path / "model.onnx")


def test_weights_beside_the_file_are_taken_in(tmp_path: Path) -> None:
    """One ONNX file is the whole truth."""
    path = tmp_path / "classifier.onnx"
    onnx.save(classifiers.linear(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (tmp_path / "weights.bin").exists()
    check(attached(path), LOGITS, x=X)


@pytest.mark.parametrize(
    ("classifier", "output", "sentence"),
    [
        (classifiers.linear(), "probs", "has no output probs, it has: logits"),
        (
            classifiers.from_sklearn(),
            "label",
            r"label is INT64 \[batch\]; expected logits: floats of the shape",
        ),
        (classifiers.convolution(), "pooled", r"pooled is FLOAT \[batch, 3, 1, 1\]; expected logits"),
    ],
)
def test_an_output_that_holds_no_logits_is_refused(classifier: ModelProto, output: str, sentence: str) -> None:
    """With what it is, and what was expected."""
    with pytest.raises(UsedWrongly, match=sentence):
        attached(classifier, output)


@pytest.mark.parametrize("name", ["mask", "temperature", "probabilities"])
def test_an_input_with_a_name_of_the_heads_is_refused(name: str) -> None:
    """A request could not tell them apart."""
    with pytest.raises(HeadError, match=f"has an input called {name}"):
        attached(classifiers.linear(x=name))


def test_labels_that_contradict_the_classifier_are_refused() -> None:
    """One label for each class."""
    with pytest.raises(UsedWrongly, match="logits has 3 classes; expected 2"):
        attached(classifiers.linear(), metadata=Metadata(labels=("a", "b"), classes=2))


@pytest.mark.parametrize("content", [b"", b"not onnx", b"\x08\x07", b"\xff" * 100])
def test_a_file_that_is_no_onnx_model_is_refused(tmp_path: Path, content: bytes) -> None:
    """Empty, text, cut off, garbage: one sentence."""
    path = tmp_path / "classifier.onnx"
    path.write_bytes(content)
    with pytest.raises(HeadError, match="is not an ONNX model: ") as raised:
        attached(path)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    """With its name."""
    with pytest.raises(CannotStart, match=r"classifier.onnx cannot be read: No such file"):
        attached(tmp_path / "classifier.onnx")


def test_an_opset_that_does_not_convert_is_said() -> None:
    """Upsample went away in opset 10 and its scales became an input."""
    classifier = classifiers.linear(opset=6)
    classifier.graph.node.append(helper.make_node("Nonsense", ["logits"], ["more"]))
    with pytest.raises(HeadError, match="opset 6 does not convert to 18, export it anew"):
        attached(classifier)
