"""Changes to a graph that somebody else made."""

import numpy as np
import onnx
import pytest

from service.families.outputs import GRAPH_OUTPUTS
from service.heads import surgery
from service.heads.build import build
from service.heads.stages import Stages
from service.metadata import Metadata
from tests.heads import classifiers
from tests.heads.running import session


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


STAGES = [Stages(1.7), Stages(1.7, np.arange(5.0)), Stages(0.3, matrix=np.eye(5) * 0.1)]


@pytest.mark.parametrize("stages", STAGES, ids=["plain", "bias", "matrix"])
@pytest.mark.parametrize("output", GRAPH_OUTPUTS[:-1])
def test_a_graph_of_one_output_is_whole_and_answers_the_same_bits(stages: Stages, output: str) -> None:
    whole, model = (build(stages, 5, Metadata()) for _ in range(2))
    surgery.keep_outputs(model.graph, (output,))
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.output] == [output]
    assert len(model.graph.node) < len(whole.graph.node)
    logits = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    answers = [session(one).run([output], {"logits": logits})[0] for one in (whole, model)]
    assert answers[0].tobytes() == answers[1].tobytes()


def test_all_outputs_leave_all_nodes() -> None:
    whole, model = (build(Stages(), None, Metadata()) for _ in range(2))
    surgery.keep_outputs(model.graph, GRAPH_OUTPUTS)
    assert model == whole


def test_inputs_that_no_output_needs_are_dropped_with_their_defaults() -> None:
    """An input that lost its default would have to be given."""
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 18]>
        g (float[N] x, float[1] w = {1}, float[1] v = {2}) => (float[N] y, float[N] z) {
            y = Add(x, w)
            z = Add(x, v)
        }"""
    )
    surgery.keep_outputs(model.graph, ("y",))
    assert [entry.name for entry in model.graph.input] == ["x", "w"]
    assert [tensor.name for tensor in model.graph.initializer] == ["w"]


def test_who_reads_what_a_passing_node_made_reads_what_it_read() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 18]>
        g (float[N] x, float[N] unread) => (float[N] y, float[N] other) {
            a = Identity(x)
            b = Identity(a)
            c = Add(a, b)
            d = Neg(c)
            e = Identity(d)
            y = Identity(e)
            other = Add(e, unread)
        }"""
    )
    surgery.bypass(model.graph, dict.fromkeys("abey", 0))
    onnx.checker.check_model(model, full_check=True)
    assert [(node.op_type, *node.input, *node.output) for node in model.graph.node] == [
        ("Add", "x", "x", "c"),
        ("Neg", "c", "y"),
        ("Add", "y", "unread", "other"),
    ]
