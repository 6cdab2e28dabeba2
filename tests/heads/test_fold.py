"""A centred calibrator goes into the classifier's last layer, and nothing else changes."""

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from service.heads.attach import attach
from service.heads.publish import serialize
from service.heads.stages import Stages
from service.metadata import Metadata
from tests.heads.running import head, run, session
from tests.heads.test_nodes import stages

LAYERS = ("Gemm", "Gemm transB", "MatMul", "MatMul Add")


def classifier(layer: str, k: int = 4, d: int = 3, scale: float = 1.0) -> ModelProto:
    """x [N, D] to logits z [N, K], and a Relu before that."""
    random = np.random.default_rng(0)
    weights = (random.normal(size=(d, k)) * scale).astype(np.float32)
    weights = weights.T.copy() if "transB" in layer else weights
    tensors = {"w": weights, "b": random.normal(size=k).astype(np.float32)}
    nodes = [helper.make_node("Relu", ["x"], ["h"])]
    if layer.startswith("Gemm"):
        nodes.append(helper.make_node("Gemm", ["h", "w", "b"], ["z"], transB=int("transB" in layer)))
    elif layer == "MatMul":
        nodes.append(helper.make_node("MatMul", ["h", "w"], ["z"]))
    else:
        nodes += [helper.make_node("MatMul", ["h", "w"], ["m"]), helper.make_node("Add", ["b", "m"], ["z"])]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", d])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", k])],
        [numpy_helper.from_array(values, name) for name, values in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def operators(model: ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("kind", ["scale", "matrix", "scale entropy", "matrix entropy laplace"])
def test_the_folded_head_answers_as_one_behind_the_logits(layer: str, kind: str) -> None:
    own = stages(kind, 4)
    folded = attach(classifier(layer), "z", own, Metadata())
    apart = attach(classifier(layer), "z", Stages(), Metadata())
    x = np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32)
    mask = np.random.default_rng(2).random((50, 4)) < 0.7
    logits = session(classifier(layer)).run(["z"], {"x": x})[0]
    wanted = run(head(own, 4), logits=logits, mask=mask)["log_probabilities"]
    found = run(session(folded), x=x, mask=mask)["log_probabilities"]
    assert np.allclose(found, wanted, rtol=1e-6, atol=4e-6)
    assert apart.graph.output == folded.graph.output


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("kind", ["scale", "matrix"])
def test_it_costs_nothing(layer: str, kind: str) -> None:
    folded = attach(classifier(layer), "z", stages(kind, 4), Metadata())
    plain = attach(classifier("Gemm"), "z", Stages(), Metadata())
    assert operators(folded) == operators(plain)
    assert serialize(folded)


@pytest.mark.parametrize(
    "own", [stages("log matrix", 4), stages("matrix", 4, masks_first=True), Stages(bias=np.ones(4)), Stages(2.0)]
)
def test_what_does_not_fold_stays_in_the_head(own: Stages) -> None:
    model = attach(classifier("Gemm"), "z", own, Metadata())
    assert not any("folded" in tensor.name for tensor in model.graph.initializer)
    assert serialize(model)


def test_weights_that_come_from_elsewhere_are_left_alone() -> None:
    model = classifier("MatMul")
    del model.graph.initializer[0]
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [3, 4]))
    attached = attach(model, "z", stages("matrix", 4), Metadata())
    assert "MatMul" in operators(attached)
    assert not any("folded" in tensor.name for tensor in attached.graph.initializer)


def test_the_story_says_that_it_is_folded() -> None:
    model = attach(classifier("Gemm"), "z", stages("scale", 4), Metadata(calibrator={"method": "vector"}))
    story = Metadata.from_props({prop.key: prop.value for prop in model.metadata_props})
    assert story.calibrator["folded"]
