"""Changes to a graph that somebody else made."""

import onnx

from service.heads import surgery
from tests.heads import classifiers


def test_a_tensor_is_renamed_in_branches_too() -> None:
    """`onnx.compose.add_prefix` leaves the branches behind."""
    model = classifiers.branching()
    surgery.rename(model.graph, {"scores": "weights of mine", "logits": "y"})
    onnx.checker.check_model(model, full_check=True)
    assert "scores" not in {name for node in model.graph.node for name in surgery.uses(node)}
    assert model.graph.output[0].name == "y"


def test_what_a_branch_reads_is_not_dropped() -> None:
    """A node or a weight may be used in a branch alone."""
    model = classifiers.branching()
    before = len(model.graph.node), len(model.graph.initializer)
    surgery.prune(model.graph)
    assert (len(model.graph.node), len(model.graph.initializer)) == before


def test_what_no_output_needs_is_dropped() -> None:
    """Nodes, weights and known shapes."""
    model = onnx.shape_inference.infer_shapes(classifiers.ending_in_softmax())
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info("wide", 1, ["batch", 3]))
    surgery.prune(model.graph)
    assert [node.op_type for node in model.graph.node] == ["Gemm"]
    onnx.checker.check_model(model, full_check=True)
